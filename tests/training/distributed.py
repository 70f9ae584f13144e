"""A run that `test_loop.py` shares among processes: python -m tests.training.distributed NAME FOLDER PROCESSES."""

import dataclasses
import sys
from pathlib import Path

import pytest
from accelerate import debug_launcher

from tests.short import shorten
from tests.training.small import narrow
from training.augment import Crop, Cutout, Flip, RandAugment
from training.loop import train
from training.recipes import find
from training.recipes.recipe import Generated, Recipe


def recipe(name: str, patch: pytest.MonkeyPatch) -> Recipe:
    """Of a narrow network, in plain SGD: adaptive optimisers turn the rounding of a gradient of 0 into a whole step."""
    narrow(name, patch)
    shorten(patch)
    return dataclasses.replace(
        find(name),
        epochs=2,
        validate_every=2,
        batch_size=7,
        optimizer="sgd",
        learning_rate=0.05,
        ema=0.5,
        augment=(Crop(4), Flip(), RandAugment(), Cutout(8)),
        generated=Generated(1, (Flip(),)),
    )


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        # forks, so that torch is loaded once
        debug_launcher(train, (recipe(sys.argv[1], patch), Path(sys.argv[2])), int(sys.argv[3]))
