"""Networks of convolutions that are orthogonal in the Fourier basis: LipConvNets by LOT and BRO, KWLarge by Cayley.

Sources: Trockman, Kolter 2021 (Cayley), arXiv 2104.07167; Xu, Li, Li 2022 (LOT), arXiv 2210.11620; Lai et al. 2025
(BRO), arXiv 2505.15174. How each is trained: `training/frequency.py`. A kernel of 3 x 3 taps has as many parameters as
elsewhere while it is trained, but what is stored is a matrix for each frequency of the map: a published network is
larger by the number of cells over 9.

Where we differ: in LipConvNets a matrix is rectangular where channels are appended or left out, a part of a square one.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from zoo.architectures.lipconvnet import LipConvNet
from zoo.architectures.preset import Preset, Reported, SquareImages
from zoo.citations import BRO, CAYLEY, LOT

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class FourierLipConvNet(LipConvNet):
    """A LipConvNet whose convolutions are orthogonal in the Fourier basis of their maps with a cell of zeros around."""

    citation: ClassVar[str] = f"{LOT}, and {BRO}"

    method: Literal["lot", "bro"] = "lot"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method not in ("lot", "bro"):
            raise ValueError(f"method is 'lot' or 'bro', got {self.method!r}")

    def convolution(self, number: int, before: int, after: int, kernel: int, size: int) -> dict[str, nn.Module]:
        from zoo.layers import FrequencyConv

        return {f"conv{number}": FrequencyConv(before, after, size, padding=kernel // 2)}


@dataclass(frozen=True)
class CayleyConvNet(SquareImages):
    """KWLarge by the Cayley transform: convolutions of `width` and 2 `width` channels, each before one of stride 2.

    Convolutions wrap around the map. One of stride 2 is space-to-depth and a matrix on the channels, which is a plain
    convolution by 2 x 2 taps.
    """

    citation: ClassVar[str] = CAYLEY

    width: int = 32
    features: int = 512
    input_size: int = 32
    channels: int = 3
    classes: int = 10

    def __post_init__(self) -> None:
        self.check_side(4)
        if self.width % 2 or self.features % 2:
            raise ValueError(f"MinMax pairs channels and features, got {self.width} and {self.features}")

    def network(self) -> nn.Sequential:
        """The untrained network on [N, channels, input_size, input_size]; `head` is its last child."""
        from torch import nn

        from zoo.layers import FrequencyConv, MinMax, Pixels

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["pixels"] = Pixels(mean=[0.5] * self.channels, scale=[1.0] * self.channels)
        channels, size = self.channels, self.input_size
        for number in (1, 2):
            width = self.width * number
            layers[f"conv{number}"] = FrequencyConv(channels, width, size)
            layers[f"conv{number}_activation"] = MinMax("halves")
            layers[f"down{number}"] = nn.Conv2d(width, width, 2, 2)
            layers[f"down{number}_activation"] = MinMax("halves")
            channels, size = width, size // 2
        layers["flatten"] = nn.Flatten()
        features = channels * size**2
        for number in (1, 2):
            layers[f"dense{number}"] = nn.Linear(features, self.features)
            layers[f"dense{number}_activation"] = MinMax("halves")
            features = self.features
        layers["head"] = nn.Linear(features, self.classes)
        return nn.Sequential(layers)


NETWORKS = {
    "kwlarge-cayley": CayleyConvNet(),
    "lipconvnet-5-lot": FourierLipConvNet(5),
    "lipconvnet-20-lot": FourierLipConvNet(20),
    "lipconvnet-40-lot": FourierLipConvNet(40),
    "lipconvnet-5-bro": FourierLipConvNet(5, method="bro"),
    "lipconvnet-20-bro": FourierLipConvNet(20, method="bro"),
    # Ours, for two CPU cores.
    "kwsmall-cayley": CayleyConvNet(16, 128),
    "lipconvnet-5w8-lot": FourierLipConvNet(5, 8),
    "lipconvnet-5w8-bro": FourierLipConvNet(5, 8, method="bro"),
}
HU_TABLE_1 = "Hu et al. 2023, table 1"
PRESETS = {
    "kwlarge-cayley-cifar10": Preset("kwlarge-cayley", "cifar10", Reported(75.3, 59.2, "36/255", HU_TABLE_1)),
    "kwlarge-cayley-cifar100": Preset("kwlarge-cayley", "cifar100", Reported(45.8, 31.9, "36/255", HU_TABLE_1)),
    "kwsmall-cayley-cifar10": Preset("kwsmall-cayley", "cifar10"),
    "kwsmall-cayley-cifar10-jpeg75": Preset("kwsmall-cayley", "cifar10-jpeg75"),
    "lipconvnet-5-lot-cifar10": Preset("lipconvnet-5-lot", "cifar10"),
    "lipconvnet-20-lot-cifar100": Preset("lipconvnet-20-lot", "cifar100", Reported(49.2, 35.5, "36/255", HU_TABLE_1)),
    "lipconvnet-40-lot-cifar10": Preset(
        "lipconvnet-40-lot", "cifar10", Reported(None, 63.50, "36/255", "Xu et al. 2022, abstract")
    ),
    "lipconvnet-40-lot-cifar100": Preset(
        "lipconvnet-40-lot", "cifar100", Reported(None, 34.59, "36/255", "Xu et al. 2022, abstract")
    ),
    "lipconvnet-5w8-lot-cifar10": Preset("lipconvnet-5w8-lot", "cifar10"),
    "lipconvnet-5w8-lot-cifar10-jpeg75": Preset("lipconvnet-5w8-lot", "cifar10-jpeg75"),
    "lipconvnet-5-bro-cifar10": Preset("lipconvnet-5-bro", "cifar10"),
    "lipconvnet-20-bro-cifar10": Preset("lipconvnet-20-bro", "cifar10"),
    "lipconvnet-5w8-bro-cifar10": Preset("lipconvnet-5w8-bro", "cifar10"),
    "lipconvnet-5w8-bro-cifar10-jpeg75": Preset("lipconvnet-5w8-bro", "cifar10-jpeg75"),
}
