"""l-infinity distance nets: layers u_j = max |x_i - w_ji| + b_j, exactly 1-Lipschitz in l-infinity.

Sources: Zhang, Cai, Lu, He, Wang 2021, arXiv 2102.05363; Zhang, Jiang, He, Wang 2022, arXiv 2110.06850. Their sizes: 5
layers on MNIST, 6 on CIFAR-10, counting the last one to the classes, and a width of 5120. Pixels are normalised by one
standard deviation for all channels, as in their code. The mean shift behind every layer but the last folds to its bias.

Where we differ: the hidden layer of the first paper's MLP has ReLU, which is exact in floating point, not tanh.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from zoo.architectures.preset import Preset, Reported, SquareImages
from zoo.citations import DISTANCE

if TYPE_CHECKING:
    from torch import nn

ZHANG_2021 = (
    "Zhang, Cai, Lu, He, Wang 2021, Towards certifying l-infinity robustness using neural networks with "
    "l-infinity-dist neurons, arXiv 2102.05363"
)
# Means and the standard deviation by the number of channels: MNIST's, and CIFAR-10's.
PIXELS = {1: ((0.1307,), 0.3081), 3: ((0.4914, 0.4822, 0.4465), 0.2009)}


@dataclass(frozen=True)
class DistanceNet(SquareImages):
    """`depth` distance layers, all but the last `width` wide; the logits are minus the last one's distances."""

    citation: ClassVar[str] = f"{ZHANG_2021}, and {DISTANCE}"

    depth: int
    width: int
    input_size: int = 32
    channels: int = 3
    classes: int = 10

    def __post_init__(self) -> None:
        if self.channels not in PIXELS:
            raise ValueError(f"{type(self).__name__} takes grey or colour images, got {self.channels} channels")
        if self.depth < 2:
            raise ValueError(f"{type(self).__name__} has a hidden and a last layer: depth 2 or more, got {self.depth}")

    def distance(self, number: int, inputs: int, outputs: int) -> nn.Module:
        """The layer of distances with this number, of which the first is 1."""
        from zoo.layers import LInfDistance

        return LInfDistance(inputs, outputs)

    def top(self) -> dict[str, nn.Module]:
        """The layers on the last hidden distances, `head` last."""
        import torch
        from torch import nn

        head = nn.Linear(self.classes, self.classes)
        head.weight = nn.Parameter(-torch.eye(self.classes))
        nn.init.zeros_(head.bias)
        return {f"distance{self.depth}": self.distance(self.depth, self.width, self.classes), "head": head}

    def network(self) -> nn.Sequential:
        """The untrained network on [N, channels, input_size, input_size]; `head` is its last child."""
        from torch import nn

        from zoo.layers import Pixels

        mean, deviation = PIXELS[self.channels]
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["pixels"] = Pixels(mean, [1 / deviation] * self.channels)
        layers["flatten"] = nn.Flatten()
        width = self.channels * self.input_size**2
        for number in range(1, self.depth):
            layers[f"distance{number}"] = self.distance(number, width, self.width)
            width = self.width
        layers.update(self.top())
        return nn.Sequential(layers)


@dataclass(frozen=True)
class DistanceMLP(DistanceNet):
    """A DistanceNet with its last distance layer replaced by a Linear of `hidden` outputs, a ReLU and a Linear."""

    citation: ClassVar[str] = f"{ZHANG_2021}, there with tanh"

    hidden: int = 512

    def top(self) -> dict[str, nn.Module]:
        from torch import nn

        dense, head = nn.Linear(self.width, self.hidden), nn.Linear(self.hidden, self.classes)
        return {"dense": dense, "dense_activation": nn.ReLU(), "head": head}


NETWORKS = {
    # The papers' are 5120 wide, those of 256 are ours for two CPU cores.
    "linfdist-5x256": DistanceNet(5, 256),
    "linfdist-5x5120": DistanceNet(5, 5120),
    "linfdist-6x256": DistanceNet(6, 256),
    "linfdist-6x5120": DistanceNet(6, 5120),
    "linfdist-mlp-5x256": DistanceMLP(5, 256),
    "linfdist-mlp-5x5120": DistanceMLP(5, 5120),
    "linfdist-mlp-6x256": DistanceMLP(6, 256),
    "linfdist-mlp-6x5120": DistanceMLP(6, 5120),
}
PRESETS = {
    "linfdist-5x256-mnist": Preset("linfdist-5x256", "mnist", norm="linf"),
    "linfdist-5x256-epsilon0.1-mnist": Preset("linfdist-5x256", "mnist", norm="linf"),
    "linfdist-5x5120-mnist": Preset(
        "linfdist-5x5120", "mnist", Reported(98.56, 93.2, "0.3", "Zhang et al. 2022, table 2"), norm="linf"
    ),
    "linfdist-5x5120-epsilon0.1-mnist": Preset(
        "linfdist-5x5120", "mnist", Reported(98.93, 97.95, "0.1", "Zhang et al. 2022, table 2"), norm="linf"
    ),
    "linfdist-6x256-cifar10": Preset("linfdist-6x256", "cifar10", norm="linf"),
    "linfdist-6x256-cifar10-jpeg75": Preset("linfdist-6x256", "cifar10-jpeg75", norm="linf"),
    "linfdist-6x256-epsilon2-cifar10-jpeg75": Preset("linfdist-6x256", "cifar10-jpeg75", norm="linf"),
    "linfdist-6x5120-cifar10": Preset(
        "linfdist-6x5120", "cifar10", Reported(54.3, 40.06, "8/255", "Zhang et al. 2022, table 2"), norm="linf"
    ),
    "linfdist-6x5120-epsilon2-cifar10": Preset(
        "linfdist-6x5120", "cifar10", Reported(60.61, 54.12, "2/255", "Zhang et al. 2022, table 2"), norm="linf"
    ),
    "linfdist-6x5120-epsilon16-cifar10": Preset(
        "linfdist-6x5120", "cifar10", Reported(48.5, 29.04, "16/255", "Zhang et al. 2022, table 2"), norm="linf"
    ),
    "linfdist-6x5120-cifar10-jpeg75": Preset("linfdist-6x5120", "cifar10-jpeg75", norm="linf"),
    "linfdist-mlp-5x256-mnist": Preset("linfdist-mlp-5x256", "mnist", norm="linf"),
    "linfdist-mlp-5x5120-mnist": Preset(
        "linfdist-mlp-5x5120",
        "mnist",
        Reported(98.56, 93.09, "0.3", "of Zhang et al. 2021, in Zhang et al. 2022, table 2"),
        norm="linf",
    ),
    "linfdist-mlp-6x256-cifar10": Preset("linfdist-mlp-6x256", "cifar10", norm="linf"),
    "linfdist-mlp-6x256-cifar10-jpeg75": Preset("linfdist-mlp-6x256", "cifar10-jpeg75", norm="linf"),
    "linfdist-mlp-6x5120-cifar10": Preset("linfdist-mlp-6x5120", "cifar10", norm="linf"),
    "linfdist-mlp-6x5120-cifar10-jpeg75": Preset("linfdist-mlp-6x5120", "cifar10-jpeg75", norm="linf"),
}
