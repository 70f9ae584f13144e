"""Hu, Leino, Wang, Fredrikson 2024, LiResNet++: "A recipe for improved certifiable robustness", arXiv 2310.02513.

The settings are the authors' code's, which differ from LiResNet's in the radius and in generated images. Hardware and
hours are not in the texts that we have. Command: python -m training NAME --output runs/NAME. None of the rows has been
run by us.
"""

from collections.abc import Iterable
from dataclasses import replace

from training.augment import RandAugment
from training.recipes import liresnet
from training.recipes.recipe import Generated, Paper, Recipe
from training.schedules import epsilon_ramp
from zoo.architectures.liresnetpp import LiResNetPP
from zoo.registry import ENTRIES


def recipes() -> Iterable[Recipe]:
    rows = {
        name: row(name) for name, entry in ENTRIES.items() if entry.reported and type(entry.architecture) is LiResNetPP
    }
    yield from rows.values()
    yield liresnet.small("liresnetpp-l4w32-cifar10-jpeg75", rows["liresnetpp-l12w512-cifar10"].paper)


def row(name: str) -> Recipe:
    """EMMA up to three times the radius, twice on ImageNet; with generated images, three for each other one."""
    recipe, ratio = liresnet.table_row(name), 3.0
    if ENTRIES[name].dataset == "imagenet":
        recipe, ratio = liresnet.imagenet(recipe), 2.0
    augment = tuple(RandAugment(probability=0.5) if isinstance(one, RandAugment) else one for one in recipe.augment)
    return replace(
        recipe,
        training_epsilon=epsilon_ramp(liresnet.EPSILON, ratio),
        augment=augment,
        generated=Generated(3, augment) if ENTRIES[name].training == "generated" else None,
        paper=Paper.of(name),
    )
