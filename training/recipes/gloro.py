"""Leino, Wang, Fredrikson 2021, "Globally-robust neural networks" (GloRo), arXiv 2102.08452.

The paper's rows by the settings of its code, and MinMax networks on MNIST by our own. Hardware and hours are not given.
Command: python -m training NAME --output runs/NAME. Where every recipe of the paper differs: contrast and
saturation are drawn around 1, and there is no noise. Of the paper's rows `4c3f-relu-mnist` alone has been run by us,
and shortened.
"""

from collections.abc import Iterable
from dataclasses import replace

from training.augment import Affine, ColorJitter, Crop, Flip
from training.losses import gloro_trades
from training.recipes.recipe import Paper, Recipe
from training.schedules import Cosine, Points, epsilon_ramp, exponential_after, logarithmic_half

MNIST_2C2F, MNIST_4C3F, CIFAR10_6C2F = map(Paper.of, ("2c2f-relu-mnist", "4c3f-relu-mnist", "6c2f-relu-cifar10"))
AUGMENT = (Flip(), ColorJitter(contrast=0.2, saturation=0.5), Affine(9.0, zoom=0.8))


def recipes() -> Iterable[Recipe]:
    yield from (mnist_2c2f(), mnist_4c3f(), fashion_mnist_2c2f(), fashion_mnist_4c3f())
    yield from (mnist_2c2f_relu(), mnist_4c3f_relu(), cifar10_6c2f(), tiny_imagenet_8c2f(), cifar10_jpeg75_6c2f())
    yield small_tiny_imagenet()


def mnist_2c2f() -> Recipe:
    """The paper's MNIST model for epsilon 0.3, with MinMax; trained at 0.45, as theirs, but with our optimiser.

    Measured after 300 epochs: 99.33 clean, 97.10 VRA at 0.3 on the test split (its card); after 60: 99.15, 96.67.
    """
    return Recipe(
        name="2c2f-mnist",
        epsilon=0.3,
        loss=gloro_trades,
        loss_options={"weight": 1.5},
        training_epsilon=epsilon_ramp(0.3, 1.5),
        epochs=60,
        batch_size=256,
        learning_rate=2e-3,
        rate=Cosine(warmup=0.05),
        augment=(Crop(1),),
        paper=MNIST_2C2F,
        time="15 minutes on two shared cores",
    )


def mnist_4c3f() -> Recipe:
    """The paper's MNIST model for epsilon 1.58, with MinMax; trained at 1.75, as theirs, but with our optimiser.

    Measured after 42 epochs, then 50 and 60 more, each from the weights before (`--init 4c3f-mnist`): 97.66 clean,
    60.09 VRA at 1.58 on the test split (its card); 97.25 and 56.08 after the first 42, 97.48 and 58.86 after 92. The
    rate: after 3 epochs, on validation images, 92.2 clean, 38.8 estimated VRA at 1e-3, 93.1 and 43.3 at 4e-3.
    """
    return Recipe(
        name="4c3f-mnist",
        epsilon=1.58,
        loss=gloro_trades,
        loss_options={"weight": 1.5},
        training_epsilon=epsilon_ramp(1.58, 1.75 / 1.58),
        epochs=300,
        batch_size=256,
        learning_rate=4e-3,
        rate=Cosine(warmup=0.05),
        augment=(Crop(1),),
        paper=MNIST_4C3F,
    )


def fashion_mnist_2c2f() -> Recipe:
    """2C2F with MinMax on Fashion-MNIST, for two CPU cores; trained at 0.26, all else as on MNIST, with a flip.

    Source of that radius: the dense ReLU network that Tobler, Syeda, Murray 2025, arXiv 2505.06958, certify. It is no
    row of ours, for it is another network.
    """
    return replace(
        mnist_2c2f(),
        name="2c2f-fashion-mnist",
        epsilon=0.25,
        training_epsilon=epsilon_ramp(0.25, 0.26 / 0.25),
        epochs=40,
        augment=(Crop(1), Flip()),
        paper=None,
        time="",
    )


def fashion_mnist_4c3f() -> Recipe:
    """4C3F with MinMax on Fashion-MNIST, at the same radius."""
    return replace(fashion_mnist_2c2f(), name="4c3f-fashion-mnist", epochs=100, learning_rate=1e-3)


def _paper(name: str, epsilon: float, trained: float, epochs: int, weight: float | Points) -> Recipe:
    return Recipe(
        name=name,
        epsilon=epsilon,
        loss=gloro_trades,
        loss_options={"weight": weight},
        training_epsilon=logarithmic_half(trained),
        epochs=epochs,
        batch_size=256,
        learning_rate=1e-3,
        rate=exponential_after(0.5, 1e-3),
        optimizer="adam",
        clip_norm=None,
        validate_every=10,
    )


def mnist_2c2f_relu() -> Recipe:
    """The paper's MNIST model for epsilon 0.3: trained at 0.45, the weight of robustness from 0 to 2."""
    return replace(_paper("2c2f-relu-mnist", 0.3, 0.45, 500, Points(((0.0, 0.0), (1.0, 2.0)))), paper=MNIST_2C2F)


def mnist_4c3f_relu() -> Recipe:
    """The paper's MNIST model for epsilon 1.58: trained at 1.75, the weight of robustness from 0 to 3.

    Measured after 12 epochs: 85.76 clean, 41.84 VRA at 1.58 on the test split (its card).
    """
    return replace(
        _paper("4c3f-relu-mnist", 1.58, 1.75, 300, Points(((0.0, 0.0), (1.0, 3.0)))),
        paper=MNIST_4C3F,
    )


def cifar10_6c2f() -> Recipe:
    """The paper's CIFAR-10 model: 77.0 clean, and 60.0 or 58.4 VRA at 36/255 by who reports it."""
    return replace(
        _paper("6c2f-relu-cifar10", 36 / 255, 1.1 * 36 / 255, 820, 1.2),
        augment=AUGMENT,
        paper=CIFAR10_6C2F,
    )


def tiny_imagenet_8c2f() -> Recipe:
    """The paper's Tiny-ImageNet model; its code has runs of 250 and of 500 epochs."""
    return replace(
        _paper("8c2f-relu-tiny-imagenet", 36 / 255, 0.16, 500, Points(((0.0, 0.5), (1.0, 20.0)))),
        learning_rate=2.5e-4,
        rate=exponential_after(0.5, 5e-7 / 2.5e-4),
        augment=AUGMENT,
        paper=Paper.of("8c2f-relu-tiny-imagenet"),
    )


def cifar10_jpeg75_6c2f() -> Recipe:
    """6C2F with MinMax for two CPU cores.

    Measured after 40 epochs: 68.45 clean, 51.61 VRA at 36/255 on the test split (its card); after 10: 57.65, 40.36.
    """
    return replace(
        mnist_2c2f(),
        name="6c2f-cifar10-jpeg75",
        epsilon=36 / 255,
        loss_options={"weight": 1.2},
        training_epsilon=epsilon_ramp(36 / 255, 1.1),
        epochs=20,
        augment=(Crop(4), Flip()),
        paper=CIFAR10_6C2F,
        time="",
    )


def small_tiny_imagenet() -> Recipe:
    """8C2F with MinMax and an eighth of the channels for two CPU cores, as 6C2F's.

    Measured after 12 epochs on 36,000 images: 16.69 clean, 4.26 VRA at 36/255 on the labelled validation split (its
    card).
    """
    return replace(
        cifar10_jpeg75_6c2f(),
        name="8c2f-w8-tiny-imagenet",
        batch_size=128,
        augment=(Crop(8), Flip()),
        paper=tiny_imagenet_8c2f().paper,
    )
