"""SortNets: l-infinity distance nets whose neurons weigh the largest differences, not the largest one alone.

Source: Zhang, Jiang, He, Wang 2022, "Rethinking Lipschitz neural networks and certified robustness: a Boolean function
perspective", arXiv 2210.01787, and the authors' code. Their sizes are those of distance nets, and the first layer is
one of those, with the largest difference alone; their best on CIFAR-10 at 2/255 has a hidden layer on top, 7 deep with
it. The share of the largest difference is 0.75 on MNIST at 0.3, 0.7 there at 0.1, on CIFAR-10 0.85 at 8/255 and 0.75 at
2/255, and 0.7 under the hidden layer.

Where we differ: 12 differences count, beyond which are less than 1e-6 of the sum, where they count 10 and divide by the
sum of their shares; that hidden layer has ReLU, not tanh.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from zoo.architectures.distance import DistanceMLP, DistanceNet
from zoo.architectures.preset import Preset, Reported
from zoo.citations import SORTNET

if TYPE_CHECKING:
    from torch import nn

TERMS = 12


@dataclass(frozen=True)
class SortNet(DistanceNet):
    """A DistanceNet whose distances are sorted but for the first layer's; `keep` is the largest difference's share."""

    citation: ClassVar[str] = SORTNET

    keep: float = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.keep) is not float or not 0.0 < self.keep < 1.0:
            raise ValueError(f"keep is a number between 0 and 1, got {repr(self.keep)[:40]}")

    def distance(self, number: int, inputs: int, outputs: int) -> nn.Module:
        if number == 1:
            return super().distance(number, inputs, outputs)
        from zoo.layers import SortedDistance

        return SortedDistance(inputs, outputs, self.keep, TERMS)


@dataclass(frozen=True)
class SortMLP(SortNet, DistanceMLP):
    """A SortNet with its last distance layer replaced by a Linear of `hidden` outputs, a ReLU and a Linear."""


def _row(clean: float, vra: float, epsilon: str) -> Reported:
    return Reported(clean, vra, epsilon, "Zhang et al. 2022 (SortNet), the authors' logs")


NETWORKS = {
    "sortnet-5x5120": SortNet(5, 5120),
    "sortnet-5x5120-epsilon0.1": SortNet(5, 5120, keep=0.7),
    "sortnet-6x5120": SortNet(6, 5120, keep=0.85),
    "sortnet-6x5120-epsilon2": SortNet(6, 5120),
    "sortnet-mlp-7x5120": SortMLP(7, 5120, keep=0.7),
    # Ours, for two CPU cores.
    "sortnet-5x256": SortNet(5, 256),
}
PRESETS = {
    "sortnet-5x5120-mnist": Preset("sortnet-5x5120", "mnist", _row(98.46, 93.40, "0.3"), norm="linf"),
    "sortnet-5x5120-epsilon0.1-mnist": Preset(
        "sortnet-5x5120-epsilon0.1", "mnist", _row(99.01, 98.14, "0.1"), norm="linf"
    ),
    "sortnet-6x5120-cifar10": Preset("sortnet-6x5120", "cifar10", _row(54.84, 40.39, "8/255"), norm="linf"),
    "sortnet-6x5120-epsilon2-cifar10": Preset(
        "sortnet-6x5120-epsilon2", "cifar10", _row(65.96, 56.67, "2/255"), norm="linf"
    ),
    "sortnet-mlp-7x5120-epsilon2-cifar10": Preset(
        "sortnet-mlp-7x5120", "cifar10", _row(67.72, 56.94, "2/255"), norm="linf"
    ),
    "sortnet-5x256-mnist": Preset("sortnet-5x256", "mnist", norm="linf"),
    "sortnet-5x256-epsilon0.1-mnist": Preset("sortnet-5x256", "mnist", norm="linf"),
}
