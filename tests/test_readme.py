"""The README's Python example runs as it stands, and its claim is the certificate's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.command import Zoo
from zoo.certificate.certify import CLAIM
from zoo.data import samples

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    samples.draw(tmp_path)
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code
    assert len([line for line in code[1].splitlines() if line]) <= 10
    exec(compile(code[1], "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("3\n")


def test_the_command_that_draws_its_pictures_says_a_mistake_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    for argument, code in (("--help", 0), ("--no", 2), (str(tmp_path / "file"), 2), (str(tmp_path / "new"), 0)):
        done = Zoo(monkeypatch, capsys)("samples", argument)
        assert (done.code, done.err.count("\n")) == (code, int(code == 2))
    assert {path.name for path in tmp_path.iterdir()} == {"file", "new"}
    assert len(list((tmp_path / "new").glob("*.png"))) == 18


def test_the_claim_is_worded_as_the_certificate_words_it():
    quoted = " ".join(line.removeprefix("> ") for line in README.splitlines() if line.startswith("> "))
    assert CLAIM in quoted
