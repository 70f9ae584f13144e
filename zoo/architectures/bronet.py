"""BRONet: block reflectors in the Fourier basis in the place of LiResNet++'s residual convolutions.

Source: Lai, Huang, Kung, Chen 2025, "Enhancing certified robustness via block reflector orthogonal layers and logit
annealing loss", arXiv 2505.15174, and the authors' code. The stem, whose norm is free, and on CIFAR the top are those
of LiResNet++. How it is trained: `reflector` of `training`, centred as LiResNet++ is. L12W512 has 69 million
parameters while it is trained, as reported; a published one has 1.2 billion, a matrix for each frequency of the map.

Where we differ: on ImageNet their reflectors leave the zeros around a map in it, 2 cells more a layer, and l2 pooling
takes 8 x 8 cells of 32 x 32; here a map stays 16 x 16, of which 4 x 4 are pooled, to the same 4 x 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from zoo.architectures.liresnetpp import LiResNetPP
from zoo.architectures.preset import Preset, Reported
from zoo.citations import BRO

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class BRONet(LiResNetPP):
    """A LiResNet++ whose blocks from number `first_reflector` on are block reflectors in the Fourier basis.

    share: channels for each column of a reflector's V, in training. dense: how neck and dense layers are made
    orthogonal there. neck: a convolution, or l2 pooling in its place.
    """

    citation: ClassVar[str] = BRO

    first_reflector: int = 1
    share: int = 2
    dense: Literal["cholesky", "bro"] = "cholesky"
    neck: Literal["convolution", "pool"] = "convolution"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dense not in ("cholesky", "bro"):
            raise ValueError(f"dense is 'cholesky' or 'bro', got {self.dense!r}")
        if self.neck not in ("convolution", "pool"):
            raise ValueError(f"neck is 'convolution' or 'pool', got {self.neck!r}")

    def block(self, number: int) -> dict[str, nn.Module]:
        from zoo.layers import FrequencyConv

        layers = super().block(number)
        if number < self.first_reflector:
            return layers
        return layers | {f"block{number}": FrequencyConv(self.width, self.width, self.map_size, padding=1)}

    def top(self) -> dict[str, nn.Module]:
        from zoo.layers import L2Pool

        layers = super().top()
        return layers | {"neck": L2Pool(4)} if self.neck == "pool" else layers


def _row(clean: float, vra: float, loss: str = "EMMA") -> Reported:
    return Reported(clean, vra, "36/255", f"Lai et al. 2025, with {loss}")


NETWORKS = {
    "bronet-l12w512": BRONet(12, 512),
    "bronet-l6w512": BRONet(6, 512, dense_depth=4, share=8, dense="bro"),
    "bronet-l14w588": BRONet(14, 588, first_reflector=7, neck="pool"),
    # Ours, for two CPU cores.
    "bronet-l4w32": BRONet(4, 32, features=256, dense_depth=2),
}
PRESETS = {
    "bronet-l12w512-cifar10": Preset("bronet-l12w512", "cifar10", _row(81.0, 70.2)),
    "bronet-l12w512-la-cifar10": Preset("bronet-l12w512", "cifar10", _row(81.6, 70.6, "LA")),
    "bronet-l12w512-cifar100": Preset("bronet-l12w512", "cifar100", _row(53.6, 40.2)),
    "bronet-l12w512-la-cifar100": Preset("bronet-l12w512", "cifar100", _row(54.3, 40.2, "LA")),
    "bronet-l6w512-tiny-imagenet": Preset("bronet-l6w512", "tiny-imagenet", _row(40.5, 26.9)),
    "bronet-l6w512-la-tiny-imagenet": Preset("bronet-l6w512", "tiny-imagenet", _row(41.2, 29.0, "LA")),
    "bronet-l14w588-imagenet": Preset("bronet-l14w588", "imagenet", _row(48.8, 36.4)),
    "bronet-l14w588-la-imagenet": Preset("bronet-l14w588", "imagenet", _row(49.3, 37.6, "LA")),
    "bronet-l4w32-la-cifar10": Preset("bronet-l4w32", "cifar10"),
    "bronet-l4w32-la-cifar10-jpeg75": Preset("bronet-l4w32", "cifar10-jpeg75"),
}
