"""Lai, Huang, Kung, Chen 2025, BRONet: "Block reflector orthogonal layers and logit annealing loss", arXiv 2505.15174.

The settings are the authors' code's: those of LiResNet++ without generated images, and a weight decay of 4e-5 but on
ImageNet. The rows with "la" in their name have the LA loss, the others EMMA. Hardware and hours are not in the texts
that we have. Command: python -m training NAME --output runs/NAME. None of the rows has been run by us.

Where every recipe here differs: see `zoo.architectures.bronet`; biases have no weight decay.
"""

from collections.abc import Iterable
from dataclasses import replace

from training.losses import logit_annealing
from training.recipes import liresnet, liresnetpp
from training.recipes.recipe import Recipe
from zoo.architectures.bronet import BRONet
from zoo.registry import ENTRIES


def recipes() -> Iterable[Recipe]:
    rows = {
        name: row(name) for name, entry in ENTRIES.items() if entry.reported and isinstance(entry.architecture, BRONet)
    }
    yield from rows.values()
    small = liresnet.small("bronet-l4w32-la-cifar10-jpeg75", rows["bronet-l12w512-la-cifar10"].paper)
    yield replace(small, loss=logit_annealing)


def row(name: str) -> Recipe:
    """LiResNet++'s settings, with the loss that the name says."""
    recipe = liresnetpp.row(name)
    if ENTRIES[name].dataset != "imagenet":
        recipe = replace(recipe, optimizer_options={"weight_decay": 4e-5})
    return replace(recipe, loss=logit_annealing) if ENTRIES[name].training == "la" else recipe
