"""Losch, Stutz, Schiele, Fritz 2023, "Certified robust models with slack control and large Lipschitz constants" (CLL).

arXiv 2309.06166. The rows of its tables 1 and 2 whose settings are in the public code, the sweeps of figure 5, and
small ones for CPUs. The p of each is the published one (`training.losses.cll`). Hardware and hours are not given.
Command: python -m training NAME --output runs/NAME. None of the paper's rows has been run by us.

Where every recipe here differs: see `UNLIKE`. Not here, for want of settings: LipConvNet-20 on CIFAR-100 and SLL-XL on
CIFAR-10.
"""

from collections.abc import Iterable
from dataclasses import replace

from training.augment import Affine, Augmentation, ColorJitter, Crop, Flip
from training.losses import cll
from training.recipes import liresnet
from training.recipes.recipe import Paper, Recipe
from training.schedules import Cosine, Points, Polynomial, constant, steps, triangle
from zoo.registry import ENTRIES, Entry

EPSILON = 36 / 255
UNLIKE = ("orthogonal, not Kaiming, initialisation",)
HIDDEN_DIFFERS = "hidden 2048 in our network of the row's name, 4096 in theirs"
SLL_XL = Paper(
    "sll-xl-cifar10", 73.0, 65.5, "36/255", "Losch et al. 2023, table 2", settings_known=False, unlike=UNLIKE
)


def recipes() -> Iterable[Recipe]:
    yield from (cifar10_4c3f(), cifar10_6c2f(), tiny_imagenet_8c2f(), tiny_imagenet_8c2f_wide())
    yield from (cifar10_lipconvnet_20(), tiny_imagenet_lipconvnet_20())
    yield from (cifar10_cpl_xl(), cifar100_cpl_xl(), cifar100_sll_xl())
    figure_5 = [entry for entry in ENTRIES.values() if entry.network == "4c3f-cll" and entry.training]
    yield from (slack(entry) for entry in figure_5 if entry.training.startswith("p"))
    yield from (radius(entry) for entry in figure_5 if entry.training.startswith("epsilon"))
    yield from (cifar10_jpeg75_4c3f(), cifar10_jpeg75_6c2f(), mnist_2c2f(), small_tiny_imagenet())
    yield small_one_lipschitz("cpl-xs-cll-cifar10-jpeg75", cifar10_cpl_xl())
    yield small_one_lipschitz("lipconvnet-5w8-cll-cifar10-jpeg75", cifar10_lipconvnet_20())
    yield small_one_lipschitz("sll-xs-cll-cifar10-jpeg75", replace(cifar10_cpl_xl(), paper=SLL_XL))  # CPL's settings


def _row(model: str, *unlike: str) -> Paper:
    return Paper.of(model, unlike=(*UNLIKE, *unlike))


def _augment(padding: int) -> tuple[Augmentation, ...]:
    return (Crop(padding), Flip(), ColorJitter(0.25, 0.25, 0.25), Affine(2.0))


def cifar10_4c3f() -> Recipe:
    """Table 2, "Ours 4C3F": 77.6 clean, 61.4 / 44.2 / 29.1 VRA at 36, 72 and 108 of 255."""
    return Recipe(
        name="4c3f-cll-cifar10",
        epsilon=EPSILON,
        loss=cll,
        loss_options={"p": 0.3, "weight": 1e-4},
        training_epsilon=constant(0.15),
        epochs=801,
        batch_size=128,
        learning_rate=1e-3,
        rate=steps(400 / 801, 600 / 801, 780 / 801),
        optimizer="adamw",
        clip_norm=None,
        augment=_augment(4),
        validate_every=10,
        paper=_row("4c3f-cll-cifar10"),
    )


def cifar10_6c2f() -> Recipe:
    """Table 2, "Ours 6C2F": 77.6 clean, 61.3 / 43.5 / 27.7 VRA at 36, 72 and 108 of 255."""
    return replace(
        cifar10_4c3f(),
        name="6c2f-cll-cifar10",
        loss_options={"p": 0.3, "weight": 1e-6},
        paper=_row("6c2f-cll-cifar10"),
    )


def tiny_imagenet_8c2f() -> Recipe:
    """Table 1, "Ours, epsilon 0.5, p 0.01": 39.8 clean, 25.9 / 16.5 / 10.7 VRA at 36, 72 and 108 of 255.

    The weight of K^2 and the scale of K are those of the row with epsilon 1; this row's are not public.
    """
    return replace(
        cifar10_4c3f(),
        name="8c2f-cll-tiny-imagenet",
        loss_options={"p": 0.01, "weight": 1e-3, "scale": Polynomial(0.01, 1.0, 10)},
        training_epsilon=constant(0.5),
        batch_size=256,
        learning_rate=2.5e-4,
        augment=_augment(8),
        paper=_row(
            "8c2f-cll-tiny-imagenet",
            "the row's weight and scale of K are not public: another row's count",
        ),
    )


def tiny_imagenet_8c2f_wide() -> Recipe:
    """Table 1, "Ours, epsilon 1.0, p 0.025": 33.5 clean, 25.3 / 19.0 / 13.8 VRA at 36, 72 and 108 of 255."""
    return replace(
        tiny_imagenet_8c2f(),
        name="8c2f-cll-epsilon1.0-tiny-imagenet",
        loss_options={"p": 0.025, "weight": 1e-3, "scale": Polynomial(0.01, 1.0, 10)},
        training_epsilon=constant(1.0),
        paper=_row("8c2f-cll-epsilon1.0-tiny-imagenet"),
    )


def cifar10_lipconvnet_20() -> Recipe:
    """Table 2, "Ours LipConv-20": 77.4 clean, 64.2 / 49.5 / 36.7 VRA at 36, 72 and 108 of 255.

    The script asks for K detached and weight 1e-3, as here; the code that it calls ignores both.
    """
    return replace(
        cifar10_4c3f(),
        name="lipconvnet-20-cll-cifar10",
        loss_options={"p": 0.05, "weight": 1e-3},
        training_epsilon=constant(0.25),
        epochs=200,
        rate=steps(1 / 2, 3 / 4),
        optimizer_options={"weight_decay": 5e-4},
        paper=_row("lipconvnet-20-cll-cifar10", "a head with normalised rows, not plain"),
    )


def tiny_imagenet_lipconvnet_20() -> Recipe:
    """Table 1, "Ours LipConv-20": 32.6 clean, 26.0 / 20.2 / 15.5 VRA at 36, 72 and 108 of 255. See CIFAR-10's."""
    return replace(
        cifar10_lipconvnet_20(),
        name="lipconvnet-20-cll-tiny-imagenet",
        loss_options={"p": 0.3, "weight": 1e-5},
        training_epsilon=constant(0.15),
        augment=_augment(8),
        paper=_row("lipconvnet-20-cll-tiny-imagenet", "a head with normalised rows, not plain"),
    )


def cifar10_cpl_xl() -> Recipe:
    """Table 2, "Ours XL" under CPL: 78.8 clean, 65.9 / 51.6 / 38.1 VRA at 36, 72 and 108 of 255."""
    return replace(
        cifar10_4c3f(),
        name="cpl-xl-cll-cifar10",
        loss_options={"p": 0.1, "weight": 1e-3},
        training_epsilon=constant(0.25),
        epochs=200,
        batch_size=256,
        rate=triangle(),
        optimizer="adam",
        paper=_row("cpl-xl-cll-cifar10", HIDDEN_DIFFERS),
    )


def cifar100_cpl_xl() -> Recipe:
    """Table 2, "Ours XL" under CPL: 47.9 clean, 36.3 / 28.1 / 21.5 VRA at 36, 72 and 108 of 255. See CIFAR-10's."""
    return replace(
        cifar10_cpl_xl(),
        name="cpl-xl-cll-cifar100",
        loss_options={"p": 1e-3, "weight": 1e-3},
        training_epsilon=constant(1.0),
        paper=_row("cpl-xl-cll-cifar100", HIDDEN_DIFFERS),
    )


def cifar100_sll_xl() -> Recipe:
    """Table 2, "Ours XL" under SLL: 46.9 clean, 36.6 / 29.0 / 23.4 VRA at 36, 72, 108 of 255; 4 GPUs of 64 images."""
    return replace(
        cifar10_cpl_xl(),
        name="sll-xl-cll-cifar100",
        loss_options={"p": 0.003, "weight": 1e-5},
        training_epsilon=constant(1.0),
        epochs=1000,
        learning_rate=1e-2,
        optimizer_options={"betas": (0.5, 0.9)},
        paper=_row("sll-xl-cll-cifar100"),
    )


def slack(entry: Entry) -> Recipe:
    """Figure 5, left: 4C3F by slack; clean falls from 80 to 68 with p, VRA at 36/255 peaks with 61.9 at 0.4.

    The text gives the range. The weight is that of the code's sweep on Tiny-ImageNet; this one's is not public.
    """
    return replace(
        cifar10_4c3f(),
        name=entry.name,
        loss_options={"p": float(entry.training.removeprefix("p")), "weight": 1e-5},
        paper=Paper.of(entry.name) if entry.reported else None,
    )


def radius(entry: Entry) -> Recipe:
    """Figure 5, the other columns: 4C3F trained, and to be measured, at epsilon, with p and weight of table 2.

    0.15 is table 2's. The figure has curves without numbers.
    """
    epsilon = float(entry.training.removeprefix("epsilon"))
    return replace(cifar10_4c3f(), name=entry.name, epsilon=epsilon, training_epsilon=constant(epsilon), paper=None)


def cifar10_jpeg75_4c3f() -> Recipe:
    """4C3F for two CPU cores: the paper's loss, few epochs, our rate.

    Measured: 71.56 clean, 53.32 VRA at 36/255 on the test split (its card), after 12 epochs at half of this rate, in
    steps, which gave 65.12 and 43.76, and 28 at this one that began with those weights (`--init`).
    """
    return replace(
        cifar10_4c3f(),
        name="4c3f-cll-cifar10-jpeg75",
        epochs=20,
        learning_rate=2e-3,
        rate=Cosine(warmup=0.05),
        validate_every=1,
    )


def cifar10_jpeg75_6c2f() -> Recipe:
    """6C2F for two CPU cores, as 4C3F's.

    Measured after 40 epochs: 70.81 clean, 51.37 VRA at 36/255 on the test split (its card); after 10: 63.15, 41.40.
    """
    row = cifar10_6c2f()
    return replace(
        cifar10_jpeg75_4c3f(), name="6c2f-cll-cifar10-jpeg75", loss_options=row.loss_options, paper=row.paper
    )


def small_one_lipschitz(name: str, row: Recipe) -> Recipe:
    """A small 1-Lipschitz network with the loss of the paper's row, and all else as the smallest networks have it.

    Measured, CPL after 10 epochs: 59.38 clean, 42.10 VRA at 36/255 on the test split (its card); SLL after as many:
    58.08 clean, 41.34 VRA; SOC after 8 epochs: 55.88 clean, 37.88 VRA.
    """
    return replace(
        liresnet.small(name, row.paper),
        loss=row.loss,
        loss_options=row.loss_options,
        training_epsilon=row.training_epsilon,
    )


def mnist_2c2f() -> Recipe:
    """2C2F on MNIST for two CPU cores, with epsilon and p of our own. Not run by us yet."""
    return replace(
        cifar10_jpeg75_4c3f(),
        name="2c2f-cll-mnist",
        epsilon=1.58,
        loss_options={"p": 0.1, "weight": 1e-4},
        training_epsilon=constant(1.58),
        augment=(Crop(1),),
        paper=None,  # none with CLL on MNIST
    )


def small_tiny_imagenet() -> Recipe:
    """8C2F with an eighth of the channels for two CPU cores, with epsilon and p of 4C3F on CIFAR-10, and our rate.

    Measured after 24 epochs: 22.35 clean, 7.68 VRA at 36/255 on the labelled validation split (its card). The scale of
    K is 1 from half-way on. With the paper's p of 0.01 at 0.5, and its scale, near 1 after a fifth of so short a run,
    the validation accuracy was 2.6 % after 3 of 15 epochs.
    """
    return replace(
        cifar10_jpeg75_4c3f(),
        name="8c2f-w8-cll-tiny-imagenet",
        loss_options={"p": 0.3, "weight": 1e-4, "scale": Points(((0.0, 0.01), (0.5, 1.0)))},
        learning_rate=1e-3,
        augment=_augment(8),
        paper=tiny_imagenet_8c2f().paper,
    )
