"""Fazlyab, Entesari, Roy, Chellappa 2023, "Certified Robustness via Dynamic Margin Maximization and Improved
Lipschitz Regularization" (CRM, LipLT).

arXiv 2310.00116. Its table 1 by the settings of its code, and small ones for CPUs. Constants of class pairs are
LipLT's, networks have ReLU. The radius is rewarded from epoch 10 on. Hardware and hours are not given. Command: python
-m training NAME --output runs/NAME. None of the paper's rows has been run by us for its whole length.

Where every recipe differs: see `UNLIKE`. Their validation images come from the training split, as ours do.
"""

from collections.abc import Iterable
from dataclasses import replace

from training.augment import Affine, Flip
from training.losses import crm
from training.recipes.recipe import Paper, Recipe
from training.schedules import Cosine, Points, constant, exponential_after

UNLIKE = ("affine maps before the images are normalised", "the rate decays by the step, not by the epoch")
CIFAR10_6C2F = Paper.of("6c2f-liplt-epsilon18-cifar10", train_images=45_000, unlike=UNLIKE)


def recipes() -> Iterable[Recipe]:
    yield from (mnist_4c3f(), cifar10_6c2f(), cifar10_6c2f_as_run(), tiny_imagenet_8c2f())
    yield from (mnist_4c3f_cosine(), cifar10_jpeg75_6c2f(), mnist_2c2f(), mnist_loopresnet())


def _from(start: float, weight: float) -> Points:
    return Points(((0.0, 0.0), (start, weight)), "step")


def mnist_4c3f() -> Recipe:
    """Table 1: 96.27 clean, 63.37 VRA at 1.58.

    Measured by us after 12 of the 400 epochs: 90.44 clean, 41.12 VRA on the test split (its card).
    """
    return Recipe(
        name="4c3f-relu-crm-mnist",
        epsilon=1.58,
        loss=crm,
        loss_options={"sharpness": 5.0, "cap": 2.2, "weight": _from(10 / 400, 30.0)},
        training_epsilon=constant(1.58),
        epochs=400,
        batch_size=512,
        learning_rate=1e-3,
        rate=exponential_after(25 / 400, 1e-3),
        optimizer="adam",
        optimizer_options={"eps": 1e-7},
        clip_norm=None,
        estimate="liplt",
        power_iterations=10,
        validate_every=10,
        paper=Paper.of("4c3f-relu-crm-mnist", train_images=54_000, unlike=UNLIKE[1:]),
    )


def mnist_4c3f_cosine() -> Recipe:
    """`mnist_4c3f` for a CPU core: at four times the rate, which falls by a cosine, in few epochs.

    Measured: 94.62 clean, 55.11 VRA at 1.58 on the test split (its card), after 46 epochs, which gave 93.92 and 52.28,
    and 38 that began with those weights (`--init`). The radius is rewarded from the first steps on: after an epoch
    without, the constants grew out of reach.

    After 3 epochs, on validation images, clean / estimated VRA at 1.58: 86.0 / 30.2 at the paper's rate, 89.4 / 32.2 at
    four times that, 88.5 / 37.1 with the cosine as well.
    """
    return replace(
        mnist_4c3f(),
        name="4c3f-relu-crm-cosine-mnist",
        loss_options={"sharpness": 5.0, "cap": 2.2, "weight": _from(1 / 400, 30.0)},
        epochs=46,
        learning_rate=4e-3,
        rate=Cosine(warmup=0.05),
        validate_every=1,
    )


def cifar10_6c2f() -> Recipe:
    """Table 1's settings with radii in pixels of [0, 1], as the paper states them: no published result has them.

    Their 64.16 is for inputs in [-1, 1]: see `cifar10_6c2f_as_run`.
    """
    return replace(
        mnist_4c3f(),
        name="6c2f-liplt-cifar10",
        epsilon=36 / 255,
        loss_options={"sharpness": 5.0, "cap": 0.2, "weight": _from(10 / 400, 15.0)},
        training_epsilon=constant(36 / 255),
        rate=exponential_after(200 / 400, 1e-3),
        power_iterations=5,
        augment=(Flip(), Affine(10.0, shift=0.1)),
        paper=CIFAR10_6C2F,
    )


def cifar10_6c2f_as_run() -> Recipe:
    """Table 1 as its code ran it: 74.82 clean, 64.16 VRA at 18/255.

    The public code scales pixels to [-1, 1] and leaves every radius as it is, so that each counts half in pixels of
    [0, 1]. With radii of half the size, sharpness and weight double: weight / sharpness log sum exp(-sharpness R_i) is
    the same number.
    """
    return replace(
        cifar10_6c2f(),
        name="6c2f-liplt-epsilon18-cifar10",
        epsilon=18 / 255,
        loss_options={"sharpness": 10.0, "cap": 0.1, "weight": _from(10 / 400, 30.0)},
        training_epsilon=constant(18 / 255),
    )


def tiny_imagenet_8c2f() -> Recipe:
    """Table 1: 23.97 clean, 17.98 VRA at 36/255."""
    return replace(
        mnist_4c3f(),
        name="8c2f-liplt-tiny-imagenet",
        epsilon=36 / 255,
        loss_options={"sharpness": 12.0, "cap": 0.2, "weight": _from(10 / 300, 150.0)},
        training_epsilon=constant(36 / 255),
        epochs=300,
        batch_size=256,
        learning_rate=1e-4,
        rate=exponential_after(100 / 300, 1e-3),
        augment=(Affine(20.0, shift=0.2),),
        paper=Paper.of("8c2f-liplt-tiny-imagenet", train_images=90_000, unlike=UNLIKE),
    )


def cifar10_jpeg75_6c2f() -> Recipe:
    """6C2F for two CPU cores: few epochs.

    Measured after 10 epochs: 47.39 clean, 39.12 VRA at 36/255 on the test split (its card).
    """
    return replace(
        cifar10_6c2f(),
        name="6c2f-liplt-cifar10-jpeg75",
        loss_options={"sharpness": 5.0, "cap": 0.2, "weight": _from(1 / 20, 15.0)},
        epochs=20,
        batch_size=128,
        validate_every=1,
    )


def mnist_2c2f() -> Recipe:
    """2C2F with ReLU on MNIST for two CPU cores: 90.58 clean, 43.86 VRA at 1.58 on the test split (its card)."""
    return replace(
        mnist_4c3f(),
        name="2c2f-relu-crm-mnist",
        loss_options={"sharpness": 5.0, "cap": 2.2, "weight": _from(1 / 20, 30.0)},
        epochs=20,
        batch_size=128,
        validate_every=1,
    )


def mnist_loopresnet() -> Recipe:
    """The multi-layer structure of equation (17), which the paper does not train, for two CPU cores.

    Measured after 8 epochs: 85.79 clean, 42.85 VRA at 1.58 on the test split (its card).
    """
    return replace(mnist_2c2f(), name="loopresnet-d2w8-mnist", epochs=10, paper=None)
