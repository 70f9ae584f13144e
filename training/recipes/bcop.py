"""Networks with orthogonal kernels: BCOP, and AOC.

Li et al. 2019 (BCOP), arXiv 1911.00937, by the settings of their code: Adam, the rate times 0.9624 after each of 200
epochs, the multi-margin loss at a radius of 0.5. Boissin et al. 2025 (AOC), arXiv 2501.07930: no row of theirs is of a
network here. Hardware and hours are not in the texts that we have. Command: python -m training NAME --output runs/NAME.
None of the papers' rows has been run by us.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

from training.augment import Crop, Flip
from training.losses import multi_margin
from training.recipes import aol
from training.recipes.recipe import Paper, Recipe
from training.schedules import constant, exponential_after

EPSILON = 36 / 255


def recipes() -> Iterable[Recipe]:
    rows = [bcop("6c2f-bcop-cifar10"), bcop("6c2f-bcop-cifar100")]
    yield from rows
    for name in ("2c2f-bcop", "2c2f-aoc", "4c3f-bcop", "4c3f-aoc"):
        yield replace(aol.small(f"{name}-cifar10-jpeg75", rows[0].paper), epochs=20)


def bcop(name: str) -> Recipe:
    """The row's settings; the margin of a loss in units of sqrt(2) / K is sqrt(2) times the radius."""
    return Recipe(
        name=name,
        epsilon=EPSILON,
        loss=multi_margin,
        loss_options={"margin": math.sqrt(2) * 0.5},
        training_epsilon=constant(0.5),
        epochs=200,
        batch_size=128,
        learning_rate=1e-3,
        rate=exponential_after(0.0, 0.9624**200),
        optimizer="adam",
        clip_norm=None,
        augment=(Crop(4), Flip()),
        validate_every=10,
        paper=Paper.of(name),
    )
