"""Residual layers H x + G relu(W x + b), the multi-layer structure for which LipLT is stated.

Source: Fazlyab, Entesari, Roy, Chellappa 2023 (CRM, LipLT), equations (10) and (17). The paper trains plain networks
only (`zoo.architectures.convnet`), so the sizes here are our own: each layer halves the map as the paper's plain ones
do, W by a 4 x 4 kernel of stride 2, H by disjoint 2 x 2 patches. The layer of its Proposition 3.1 is
`zoo.layers.ConvexPotential`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from zoo.architectures.preset import Preset, SquareImages
from zoo.citations import CRM

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class LoopResNet(SquareImages):
    """`depth` residual layers, the first of `width` channels and each later one of twice as many, then two dense."""

    citation: ClassVar[str] = CRM

    depth: int
    width: int
    features: int = 512
    input_size: int = 32
    channels: int = 3
    classes: int = 10

    def __post_init__(self) -> None:
        self.check_side(2**self.depth)

    def network(self) -> nn.Sequential:
        """The untrained network on [N, channels, input_size, input_size]; `head` is its last child."""
        from torch import nn

        from zoo.layers import Pixels, Residual

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["pixels"] = Pixels(mean=[0.5] * self.channels, scale=[1.0] * self.channels)
        channels, size = self.channels, self.input_size
        for number in range(1, self.depth + 1):
            out, size = self.width * 2 ** (number - 1), size // 2
            branch = (nn.Conv2d(channels, out, 4, 2, 1), nn.ReLU(), nn.Conv2d(out, out, 3, padding=1))
            layers[f"block{number}"] = Residual(*branch, skip=nn.Conv2d(channels, out, 2, 2))
            channels = out
        layers["flatten"] = nn.Flatten()
        layers["dense"] = nn.Linear(channels * size**2, self.features)
        layers["dense_activation"] = nn.ReLU()
        layers["head"] = nn.Linear(self.features, self.classes)
        return nn.Sequential(layers)


NETWORKS = {
    "loopresnet-d2w8": LoopResNet(2, 8, features=64),
    "loopresnet-d3w32": LoopResNet(3, 32),
}
PRESETS = {
    "loopresnet-d2w8-mnist": Preset("loopresnet-d2w8", "mnist"),
    "loopresnet-d2w8-cifar10": Preset("loopresnet-d2w8", "cifar10"),
    "loopresnet-d2w8-cifar10-jpeg75": Preset("loopresnet-d2w8", "cifar10-jpeg75"),
    "loopresnet-d2w8-cifar100": Preset("loopresnet-d2w8", "cifar100"),
    "loopresnet-d3w32-cifar10": Preset("loopresnet-d3w32", "cifar10"),
    "loopresnet-d3w32-cifar10-jpeg75": Preset("loopresnet-d3w32", "cifar10-jpeg75"),
    "loopresnet-d3w32-cifar100": Preset("loopresnet-d3w32", "cifar100"),
    "loopresnet-d3w32-tiny-imagenet": Preset("loopresnet-d3w32", "tiny-imagenet"),
}
