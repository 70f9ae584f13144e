"""xCyF networks trained orthogonal, by BCOP and by AOC. The plain networks are those of `convnet`.

Sources: Li et al. 2019 (BCOP), arXiv 1911.00937; Boissin et al. 2025 (AOC), arXiv 2501.07930; how each is trained:
`training/orthogonal.py`. Where we differ: zeros around the maps, where both have circular padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from zoo.architectures.convnet import PLANS, ConvNet
from zoo.architectures.preset import Preset, Reported
from zoo.citations import AOC, BCOP


@dataclass(frozen=True)
class OrthogonalConvNet(ConvNet):
    """An xCyF network whose kernels are BCOP's, or AOC's, which have strides of their own.

    With BCOP dense layers are trained by Bjorck's iteration, as in its paper; with AOC by the Cayley transform.
    """

    citation: ClassVar[str] = f"{BCOP}; {AOC}"

    method: Literal["bcop", "aoc"] = "bcop"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method not in ("bcop", "aoc"):
            raise ValueError(f"method is 'bcop' or 'aoc', got {self.method!r}")
        if self.method == "bcop" and any(kernel % stride for _, kernel, stride, _ in PLANS[self.plan][0]):
            raise ValueError(f"{self.plan} has kernels that its strides do not divide: BCOP needs a space-to-depth")


NETWORKS = {
    "4c3f-bcop": OrthogonalConvNet("4c3f"),
    "6c2f-bcop": OrthogonalConvNet("6c2f"),
    "4c3f-aoc": OrthogonalConvNet("4c3f", method="aoc"),
    # The smallest ones, for two CPU cores.
    "2c2f-bcop": OrthogonalConvNet("2c2f"),
    "2c2f-aoc": OrthogonalConvNet("2c2f", method="aoc"),
}
PRESETS = {
    "4c3f-bcop-mnist": Preset("4c3f-bcop", "mnist"),
    "4c3f-bcop-cifar10": Preset("4c3f-bcop", "cifar10"),
    "4c3f-bcop-cifar10-jpeg75": Preset("4c3f-bcop", "cifar10-jpeg75"),
    "6c2f-bcop-cifar10": Preset("6c2f-bcop", "cifar10", Reported(75.1, 58.3, "36/255", "Hu et al. 2023, table 1")),
    "6c2f-bcop-cifar10-jpeg75": Preset("6c2f-bcop", "cifar10-jpeg75"),
    "6c2f-bcop-cifar100": Preset("6c2f-bcop", "cifar100", Reported(45.4, 31.7, "36/255", "Hu et al. 2023, table 1")),
    "4c3f-aoc-mnist": Preset("4c3f-aoc", "mnist"),
    "4c3f-aoc-cifar10": Preset("4c3f-aoc", "cifar10"),
    "4c3f-aoc-cifar10-jpeg75": Preset("4c3f-aoc", "cifar10-jpeg75"),
    "2c2f-bcop-mnist": Preset("2c2f-bcop", "mnist"),
    "2c2f-bcop-cifar10-jpeg75": Preset("2c2f-bcop", "cifar10-jpeg75"),
    "2c2f-aoc-mnist": Preset("2c2f-aoc", "mnist"),
    "2c2f-aoc-cifar10-jpeg75": Preset("2c2f-aoc", "cifar10-jpeg75"),
}
