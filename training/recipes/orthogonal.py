"""Networks whose layers are 1-Lipschitz by construction: LipConvNet (SOC), CPL and SLL.

Singla, Feizi 2021, arXiv 2105.11417; Meunier et al. 2022, arXiv 2110.12690; Araujo et al. 2023, arXiv 2303.03169. Where
every recipe here differs: the loss is EMMA, the optimiser NAdam with Lookahead and a cosine; theirs are a margin with
certificate regularisation and SGD (SOC), a hinge or a cross-entropy with temperature and offset and Adam (CPL, SLL).
"""

from training.augment import Crop, Flip
from training.losses import emma
from training.recipes.recipe import Recipe


def _small(name: str) -> Recipe:
    return Recipe(
        name=name,
        epsilon=36 / 255,
        loss=emma,
        epochs=40,
        batch_size=128,
        learning_rate=2e-3,
        epsilon_ratio=1.5,
        warmup=0.05,
        augment=(Crop(4), Flip()),
    )


def sll_xs_cifar10_jpeg75() -> Recipe:
    """The smallest SLL of the zoo, for two CPU cores.

    Not run by us yet. Command: python -m training sll-xs-cifar10-jpeg75 --output runs/sll-xs-cifar10-jpeg75
    """
    return _small("sll-xs-cifar10-jpeg75")


def lipconvnet_5w8_cifar10_jpeg75() -> Recipe:
    """The smallest LipConvNet of the zoo, for two CPU cores.

    Not run by us yet. Command: python -m training lipconvnet-5w8-cifar10-jpeg75 --output
    runs/lipconvnet-5w8-cifar10-jpeg75
    """
    return _small("lipconvnet-5w8-cifar10-jpeg75")
