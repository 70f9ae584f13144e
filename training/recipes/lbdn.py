"""Wang, Manchester 2023, LBDN: "Direct parameterization of Lipschitz-bounded deep networks", arXiv 2301.11526.

The settings are the authors' code's: Adam with a triangle, the offset cross-entropy at 3 / sqrt(2), a crop that
reflects. Hardware and hours are not in the texts that we have. Command: python -m training NAME --output runs/NAME.
None of the paper's rows has been run by us.

Where every recipe here differs: V is no learned multiple of V / |V|, and the loss is in units of the margin constants.
"""

from collections.abc import Iterable

from training.augment import Crop, Flip
from training.losses import offset_cross_entropy
from training.recipes import liresnet
from training.recipes.recipe import Paper, Recipe
from training.schedules import constant, triangle
from zoo.registry import ENTRIES

EPSILON = 36 / 255


def recipes() -> Iterable[Recipe]:
    yield row("lbdn-tiny-imagenet", Paper.of("lbdn-tiny-imagenet"))
    yield row("lbdn-cifar100", None)
    yield liresnet.small("lbdn-xs-cifar10-jpeg75", None)  # no row of theirs on CIFAR-10 is known


def row(name: str, paper: Paper | None) -> Recipe:
    """400 epochs of Adam, as their code has it for CIFAR-100 and Tiny-ImageNet."""
    return Recipe(
        name=name,
        epsilon=EPSILON,
        loss=offset_cross_entropy,
        training_epsilon=constant(EPSILON),
        epochs=400,
        batch_size=256,
        learning_rate=1e-2,
        rate=triangle(),
        optimizer="adam",
        clip_norm=None,
        augment=(Crop(8 if ENTRIES[name].dataset == "tiny-imagenet" else 4, "reflect"), Flip()),
        validate_every=10,
        paper=paper,
    )
