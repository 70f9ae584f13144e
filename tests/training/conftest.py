"""A small recipe, and a process as good as new for each test."""

from __future__ import annotations

import dataclasses

import pytest
from accelerate.state import AcceleratorState

from training.recipes import find
from training.recipes.recipe import Recipe


@pytest.fixture(autouse=True)
def new_process() -> None:
    """Accelerate remembers the precision of a process's first run and refuses another."""
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def small(write_split, quick) -> Recipe:
    """Four epochs of two steps, so that Lookahead's sixth step, which synchronises, is made."""
    write_split("cifar10-jpeg75", count=20)
    return dataclasses.replace(find("liresnet-l4w32-cifar10-jpeg75"), epochs=4, batch_size=8, validate_every=4)
