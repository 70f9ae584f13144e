"""Hu, Hu, Fredrikson 2026, LipNeXt: "Scaling up Lipschitz-based certified robustness to billion-parameter models".

arXiv 2601.18513. Neither code nor settings are public. By notes of others it trains with EMMA as LiResNet++ does, at a
rate near 1e-3, in bfloat16: so these are LiResNet's settings with the radius growing to three times epsilon (twice on
ImageNet), and none is the paper's own. Command: python -m training NAME --output runs/NAME. None of the rows has been
run by us.

Where every recipe here differs: the matrices are orthogonal by PyTorch's parametrisation, where the paper moves on the
manifold itself (FastExp, and a polar retraction each epoch); and see `zoo.architectures.lipnext`.
"""

from collections.abc import Iterable
from dataclasses import replace

from training.recipes import liresnet
from training.recipes.recipe import Paper, Recipe
from training.schedules import epsilon_ramp
from zoo.architectures.lipnext import LipNeXt
from zoo.registry import ENTRIES


def recipes() -> Iterable[Recipe]:
    rows = [name for name, entry in ENTRIES.items() if isinstance(entry.architecture, LipNeXt) and entry.reported]
    yield from map(row, rows)
    yield liresnet.small("lipnext-l4w64-cifar10-jpeg75", row("lipnext-l32w1024-cifar10").paper)


def row(name: str) -> Recipe:
    """LiResNet's settings on the same data set, in bfloat16, with the radii of LiResNet++."""
    recipe = liresnet.table_row(name)
    if ENTRIES[name].dataset == "imagenet":
        recipe = liresnet.imagenet(recipe)
    else:
        recipe = replace(recipe, training_epsilon=epsilon_ramp(recipe.epsilon, 3.0))
    return replace(recipe, mixed_precision="bf16", paper=Paper.of(name, settings_known=False))
