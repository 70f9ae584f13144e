"""Prach, Lampert 2022, AOL: "Almost-orthogonal layers for efficient general-purpose Lipschitz networks", 2208.03160.

The settings are the authors' code's: gradient descent with Nesterov's momentum, three drops at the end, cross-entropy
with offset sqrt(2) and temperature 1 / 4. Hardware and hours are not in the texts that we have. Command: python -m
training NAME --output runs/NAME. None of the paper's rows has been run by us.

Where every recipe here differs: the loss is in units of the margin constants, hues are not moved, and brightness and
contrast are drawn as `training.augment` has it. The small ones, for CPUs, have our optimiser.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

from training.augment import Affine, ColorJitter, Crop, Flip
from training.losses import offset_cross_entropy
from training.recipes import liresnet
from training.recipes.recipe import Generated, Paper, Recipe
from training.schedules import constant, steps

EPSILON = 36 / 255
AUGMENT = (Flip(), ColorJitter(0.1, 0.5, 0.7), Affine(5.0, shift=0.1))


def recipes() -> Iterable[Recipe]:
    for size in "sml":
        yield patchwise(f"aol-patchwise-{size}-cifar10")
    yield patchwise("aol-patchwise-l-cifar100")
    yield mlp("aol-mlp-16x3072-generated-cifar10")
    row = Paper.of("aol-patchwise-s-cifar10")
    yield small("aol-patchwise-xs-cifar10-jpeg75", row)
    yield replace(
        small("aol-patchwise-xs-fashion-mnist", None), epsilon=0.25, training_epsilon=constant(0.25), augment=(Flip(),)
    )
    yield small("aol-mlp-4x512-cifar10-jpeg75", mlp("aol-mlp-16x3072-generated-cifar10").paper)


def patchwise(name: str) -> Recipe:
    """1000 epochs at 1e-3, a tenth of it after 900, 990 and 999. Keras' l2 of 5e-4 is a weight decay of 1e-3."""
    return Recipe(
        name=name,
        epsilon=EPSILON,
        loss=offset_cross_entropy,
        loss_options={"offset": math.sqrt(2)},
        training_epsilon=constant(EPSILON),
        epochs=1000,
        batch_size=250,
        learning_rate=1e-3,
        rate=steps(0.9, 0.99, 0.999),
        optimizer="sgd",
        optimizer_options={"momentum": 0.9, "weight_decay": 1e-3},
        clip_norm=None,
        augment=AUGMENT,
        validate_every=10,
        paper=Paper.of(name),
    )


def mlp(name: str) -> Recipe:
    """The dense network on generated images too, with the offset sqrt(2) 36/255.

    Of its settings the offset alone is in the texts that we have: the others are those of the patchwise one.
    """
    return replace(
        patchwise(name),
        loss_options={"offset": math.sqrt(2) * EPSILON},
        generated=Generated(3, (Flip(),)),
        augment=(Crop(4), Flip()),
        paper=Paper.of(name, settings_known=False, unlike=("settings other than the offset are not known",)),
    )


def small(name: str, paper: Paper | None) -> Recipe:
    """For two CPU cores, with the offset 2 sqrt(2) 36/255 that compares layers in arXiv 2311.16833.

    Source: Prach, Brau, Buttazzo, Lampert 2024, "1-Lipschitz layers compared". Their logs show that the last tenth of a
    run, where the rate comes to 0, decides: judge no run before its end.
    """
    return replace(
        liresnet.small(name, paper),
        loss=offset_cross_entropy,
        loss_options={"offset": 2 * math.sqrt(2) * EPSILON},
        training_epsilon=constant(EPSILON),
    )
