"""LiResNet++: LiResNet with centred features, and behind them a stack of Cholesky-orthogonal dense layers.

Source: Hu, Leino, Wang, Fredrikson 2024, "A recipe for improved certifiable robustness", arXiv 2310.02513, and the
authors' code, by which L12W512 has the 83 million parameters that others count. How it is trained: `CholeskyRows` and
`LinearResidual` of `training`, and `training/centring.py`. Where we differ: the neck's convolution has a bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from zoo.architectures.liresnet import LiResNet
from zoo.architectures.preset import Preset, Reported
from zoo.citations import LIRESNETPP

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class LiResNetPP(LiResNet):
    """A LiResNet++ of `depth` convolutional blocks with `width` channels and `dense_depth` dense ones of `features`."""

    citation: ClassVar[str] = LIRESNETPP

    features: int = 2048
    dense_depth: int = 8

    @property
    def stem(self) -> tuple[int, int, int]:
        """As LiResNet's, but for a map of 32 x 32 at 64 pixels."""
        return (5, 2, 2) if self.input_size == 64 else super().stem

    def top(self) -> dict[str, nn.Module]:
        from torch import nn

        from zoo.layers import MinMax

        layers: dict[str, nn.Module] = {
            "neck": nn.Conv2d(self.width, self.width, 4, 4),
            "flatten": nn.Flatten(),
            "dense": nn.Linear(self.width * (self.map_size // 4) ** 2, self.features),
            "dense_activation": MinMax("halves"),
        }
        for number in range(1, self.dense_depth + 1):
            layers[f"dense{number}"] = nn.Linear(self.features, self.features)
            layers[f"dense{number}_activation"] = MinMax("halves")
        return layers | {"head": nn.Linear(self.features, self.classes)}


def _row(clean: float, vra: float) -> Reported:
    return Reported(clean, vra, "36/255", "of Hu et al. 2024, in Lai et al. 2025")


def _generated(clean: float, vra: float) -> Reported:
    return Reported(clean, vra, "36/255", "Hu et al. 2024, with generated images")


NETWORKS = {
    "liresnetpp-l12w512": LiResNetPP(12, 512),
    "liresnetpp-l12w588": LiResNetPP(12, 588),
    # Ours, for two CPU cores.
    "liresnetpp-l4w32": LiResNetPP(4, 32, features=256, dense_depth=2),
}
PRESETS = {
    "liresnetpp-l12w512-cifar10": Preset("liresnetpp-l12w512", "cifar10", _row(81.0, 69.8)),
    "liresnetpp-l12w512-generated-cifar10": Preset("liresnetpp-l12w512", "cifar10", _generated(87.0, 78.1)),
    "liresnetpp-l12w512-cifar10-jpeg75": Preset("liresnetpp-l12w512", "cifar10-jpeg75"),
    "liresnetpp-l12w512-cifar100": Preset("liresnetpp-l12w512", "cifar100", _row(53.0, 40.2)),
    "liresnetpp-l12w512-generated-cifar100": Preset("liresnetpp-l12w512", "cifar100", _generated(62.1, 50.1)),
    "liresnetpp-l12w512-tiny-imagenet": Preset("liresnetpp-l12w512", "tiny-imagenet", _row(40.9, 26.2)),
    "liresnetpp-l12w512-generated-tiny-imagenet": Preset("liresnetpp-l12w512", "tiny-imagenet", _generated(48.4, 37.0)),
    "liresnetpp-l12w588-imagenet": Preset("liresnetpp-l12w588", "imagenet", _row(47.3, 35.3)),
    "liresnetpp-l12w588-generated-imagenet": Preset("liresnetpp-l12w588", "imagenet", _generated(49.0, 38.3)),
    "liresnetpp-l4w32-mnist": Preset("liresnetpp-l4w32", "mnist"),
    "liresnetpp-l4w32-cifar10": Preset("liresnetpp-l4w32", "cifar10"),
    "liresnetpp-l4w32-cifar10-jpeg75": Preset("liresnetpp-l4w32", "cifar10-jpeg75"),
    "liresnetpp-l4w32-tiny-imagenet": Preset("liresnetpp-l4w32", "tiny-imagenet"),
}
