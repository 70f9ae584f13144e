"""Hu, Zou, Wang, Leino, Fredrikson 2023, LiResNet: "Unlocking Deterministic Robustness Certification on ImageNet".

arXiv 2301.12549; the loss is their EMMA. Where every recipe here differs: crop and flip only, no RandAugment.
"""

from dataclasses import replace

from training.losses import emma
from training.recipes.recipe import Recipe

PAPER = "LiResNet L6W128 on CIFAR-10, 800 epochs: 78.7 % clean, 64.4 % VRA at 36/255 (Hu et al. 2023, table 1)"


def liresnet_l6w128_cifar10() -> Recipe:
    """The paper's small CIFAR-10 model, with the paper's optimiser, batch and epochs.

    Expected: 78.7 clean, 64.4 VRA at 36/255 (table 1). Hardware: one GPU. Not run by us yet.
    Command: python -m training liresnet-l6w128-cifar10 --output runs/liresnet-l6w128-cifar10
    """
    return Recipe(
        name="liresnet-l6w128-cifar10",
        epsilon=36 / 255,
        loss=emma,
        epochs=800,
        batch_size=256,
        learning_rate=1e-3,
        warmup=20 / 800,
        power_iterations=10,
        crop_padding=4,
        flip=True,
        validate_every=10,
        paper=PAPER,
    )


def liresnet_l6w64_cifar10_jpeg75() -> Recipe:
    """A small LiResNet for two CPU cores: few epochs, smaller batches, a higher rate than the paper's.

    About 80 minutes on one core (300 images/s). Command: OMP_NUM_THREADS=1 python -m training
    liresnet-l6w64-cifar10-jpeg75 --output runs/liresnet-l6w64-cifar10-jpeg75
    """
    return Recipe(
        name="liresnet-l6w64-cifar10-jpeg75",
        epsilon=36 / 255,
        loss=emma,
        epochs=30,
        batch_size=128,
        learning_rate=2e-3,
        epsilon_ratio=1.5,
        warmup=0.05,
        crop_padding=4,
        flip=True,
        paper=f"{PAPER}; here a smaller network, far fewer epochs, and CIFAR-10 re-encoded as JPEG",
    )


def liresnet_l4w32_cifar10_jpeg75() -> Recipe:
    """The smallest LiResNet of the zoo, for one or two CPU cores.

    Measured: 68.32 clean, 53.76 VRA at 36/255 on the test split (its card); about 50 minutes on one shared core.
    Command: python -m training liresnet-l4w32-cifar10-jpeg75 --output runs/liresnet-l4w32-cifar10-jpeg75
    """
    return Recipe(
        name="liresnet-l4w32-cifar10-jpeg75",
        epsilon=36 / 255,
        loss=emma,
        epochs=40,
        batch_size=128,
        learning_rate=2e-3,
        epsilon_ratio=1.5,
        warmup=0.05,
        crop_padding=4,
        flip=True,
        paper=f"{PAPER}; here a smaller network, far fewer epochs, and CIFAR-10 re-encoded as JPEG",
    )


def resnet_l4w32_cifar10_jpeg75() -> Recipe:
    """The paper's conventional ResNet, as small as the smallest LiResNet and trained as it is.

    Not run by us yet. Command: python -m training resnet-l4w32-cifar10-jpeg75 --output runs/resnet-l4w32-cifar10-jpeg75
    """
    return replace(liresnet_l4w32_cifar10_jpeg75(), name="resnet-l4w32-cifar10-jpeg75")


def olsa_ffn_l4w32_cifar10_jpeg75() -> Recipe:
    """A Lipschitz transformer with self-attention, as small as the smallest LiResNet and trained as it is.

    Not run by us yet. Command: python -m training olsa-ffn-l4w32-cifar10-jpeg75 --output
    runs/olsa-ffn-l4w32-cifar10-jpeg75
    """
    return replace(
        liresnet_l4w32_cifar10_jpeg75(),
        name="olsa-ffn-l4w32-cifar10-jpeg75",
        paper="OLSA with FFN, L12W256 on CIFAR-10: 56.6 % VRA at 36/255 (Hu et al. 2023, table 7); here our own "
        "definition of OLSA, a smaller network, far fewer epochs, and CIFAR-10 re-encoded as JPEG",
    )
