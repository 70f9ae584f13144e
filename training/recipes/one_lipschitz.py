"""Networks whose layers are 1-Lipschitz by construction: LipConvNet (SOC), CPL and SLL.

Singla, Feizi 2021, arXiv 2105.11417, with Householder activation and certificate regularisation from Singla, Singla,
Feizi 2022, arXiv 2108.04062; Meunier et al. 2022, arXiv 2110.12690; Araujo et al. 2023, arXiv 2303.03169. Hardware and
hours are not in the texts that we have. Command: python -m training NAME --output runs/NAME. None of the papers' rows
has been run by us.

Where every recipe here differs: CPL's and SLL's losses are in units of the margin constants, and see `PLAIN`; weight
decay counts for all matrices, the activations' among them. The small ones, for CPUs, have EMMA and our optimiser.
"""

from collections.abc import Iterable
from dataclasses import replace

from training.augment import Crop, Flip
from training.losses import certificate_regularised, multi_margin, offset_cross_entropy
from training.recipes import liresnet
from training.recipes.recipe import Paper, Recipe
from training.schedules import constant, steps, triangle
from zoo.architectures.lipconvnet import LipConvNet
from zoo.architectures.potential import ConvexPotentialNet
from zoo.registry import ENTRIES

EPSILON = 36 / 255
PLAIN = "a plain head, not one with normalised rows"


def recipes() -> Iterable[Recipe]:
    for name, entry in ENTRIES.items():
        if not entry.reported or entry.training:
            continue
        match entry.architecture:
            case LipConvNet() if type(entry.architecture) is LipConvNet:
                yield soc(name)
            case ConvexPotentialNet("cpl"):
                yield cpl(name)
            case ConvexPotentialNet("sll"):
                yield sll(name)
    yield small_convex_potential("sll-xs-cifar10-jpeg75", sll("sll-s-cifar10").paper)
    yield small_convex_potential("cpl-xs-cifar10-jpeg75", cpl("cpl-xl-cifar10").paper)
    yield liresnet.small("lipconvnet-5w8-cifar10-jpeg75", soc("lipconvnet-5-cifar10").paper)
    yield liresnet.small("lipconvnet-10w8-cifar10-jpeg75", soc("lipconvnet-10-cifar10").paper)


def small_convex_potential(name: str, paper: Paper | None) -> Recipe:
    """The smallest CPL and SLL. The rate was the best of 2e-3, 6e-3 and 2e-2: 3 epochs, validation images.

    Measured after 10 epochs at 2e-3 and 50 at 6e-3 from those weights (`--init`), at 36/255 on the test split (their
    cards): CPL 65.35 clean, 51.18 VRA, SLL 60.45 and 49.19; after the first 10 56.78 and 45.70, 54.87 and 45.55.
    """
    return replace(liresnet.small(name, paper), epochs=50, learning_rate=6e-3)


def soc(name: str) -> Recipe:
    """Stochastic gradient descent with two drops, Householder activations, certificates rewarded with weight 0.1."""
    return Recipe(
        name=name,
        epsilon=EPSILON,
        loss=certificate_regularised,
        loss_options={"weight": 0.1},
        training_epsilon=constant(EPSILON),
        epochs=200,
        batch_size=128,
        learning_rate=0.1,
        rate=steps(1 / 2, 3 / 4),
        optimizer="momentum",
        optimizer_options={"momentum": 0.9, "weight_decay": 5e-4},
        clip_norm=None,
        augment=(Crop(8 if ENTRIES[name].dataset == "tiny-imagenet" else 4), Flip()),
        validate_every=10,
        paper=Paper.of(name),
    )


def cpl(name: str) -> Recipe:
    """Adam with a triangle, the multi-margin loss with margin 0.7."""
    return replace(
        soc(name),
        paper=Paper.of(name, unlike=(PLAIN,)),
        loss=multi_margin,
        loss_options={"margin": 0.7},
        batch_size=256,
        learning_rate=1e-3,
        rate=triangle(),
        optimizer="adam",
        optimizer_options={},
    )


def sll(name: str) -> Recipe:
    """Adam with a triangle, cross-entropy with offset 3 / sqrt(2) and temperature 1 / 4."""
    return replace(
        cpl(name),
        loss=offset_cross_entropy,
        loss_options={},
        epochs=1000,
        learning_rate=1e-2,
        optimizer_options={"betas": (0.5, 0.9)},
    )
