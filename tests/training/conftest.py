"""A small recipe, and a process as good as new for each test."""

from __future__ import annotations

import dataclasses

import pytest
from accelerate.state import AcceleratorState

from tests.training.small import narrow
from training.recipes import find
from training.recipes.recipe import Recipe


@pytest.fixture(autouse=True)
def new_process() -> None:
    """Accelerate remembers the precision of a process's first run and refuses another."""
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def small(write_split, quick, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """Four epochs of two steps, so that Lookahead's sixth step, which synchronises, is made; the network is narrow."""
    name = "liresnet-l4w32-cifar10-jpeg75"
    write_split("cifar10-jpeg75", count=20)
    narrow(name, monkeypatch)
    return dataclasses.replace(find(name), epochs=4, batch_size=8, validate_every=4)
