"""Runs `zoo` in the process of a test."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from zoo import cli


class Result(NamedTuple):
    code: int
    out: str
    err: str


class Zoo:
    """Runs `zoo` in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        self.monkeypatch, self.capsys = monkeypatch, capsys
        monkeypatch.setenv("COLUMNS", "80")

    def __call__(self, *arguments: str | Path) -> Result:
        self.monkeypatch.setattr(sys, "argv", ["zoo", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = self.capsys.readouterr()
        return Result(end.value.code, out, err)

    def fails(self, *arguments: str | Path) -> str:
        """The one line of a mistake."""
        result = self(*arguments)
        assert result.code == 2
        assert re.fullmatch(r"zoo: .+\n", result.err)
        return result.err


def names(source: Path) -> str:
    return f"local-dir:{source}"
