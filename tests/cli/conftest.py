"""The command line, and pictures for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .command import Zoo


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Zoo:
    return Zoo(monkeypatch, capsys)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three pictures in a folder whose name is short enough for a table of 80 columns."""
    folder = tmp_path_factory.mktemp("p")
    paths = [folder / f"{index}.png" for index in range(3)]
    for index, path in enumerate(paths):
        Image.fromarray(np.random.default_rng(index).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    return paths
