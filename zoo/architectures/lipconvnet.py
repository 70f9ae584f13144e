"""LipConvNet-N: N convolution exponentials (SOC) in five blocks, each of which halves the map.

Sources: Singla, Feizi 2021, "Skew orthogonal convolutions", arXiv 2105.11417; Singla, Singla, Feizi 2022, arXiv
2108.04062, for the Householder activation and the normalised head. A layer of stride 2 is space-to-depth, then an
exponential. Where the channels before and after a layer differ, it works on the larger number: zeros are appended, or
the first are kept.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from zoo.architectures.preset import Preset, Reported, SquareImages
from zoo.citations import HOUSEHOLDER

if TYPE_CHECKING:
    from torch import nn

BLOCKS = 5


@dataclass(frozen=True)
class LipConvNet(SquareImages):
    """A LipConvNet of `depth` layers; the first block has `width` channels, each later one twice as many."""

    citation: ClassVar[str] = f"Singla, Feizi 2021, Skew orthogonal convolutions, arXiv 2105.11417, and {HOUSEHOLDER}"

    depth: int
    width: int = 32
    activation: Literal["householder", "minmax"] = "householder"
    input_size: int = 32
    channels: int = 3
    classes: int = 10

    def __post_init__(self) -> None:
        if self.depth < BLOCKS or self.depth % BLOCKS:
            raise ValueError(
                f"LipConvNet has {BLOCKS} equal blocks: depth must be a multiple of {BLOCKS}, got {self.depth}"
            )
        if self.activation not in ("householder", "minmax"):
            raise ValueError(f"activation is 'householder' or 'minmax', got {self.activation!r}")
        self.check_side(2**BLOCKS)

    def network(self) -> nn.Sequential:
        """The untrained network on [N, channels, input_size, input_size]; `head` is its last child."""
        from torch import nn

        from zoo.layers import Householder, MinMax, Pixels

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["pixels"] = Pixels(mean=[0.5] * self.channels, scale=[1.0] * self.channels)
        before = self.channels
        for number in range(1, self.depth + 1):
            block, place = divmod(number - 1, self.depth // BLOCKS)
            after = self.width * 2**block
            kernel, size = 3, self.input_size // 2**block
            if place == self.depth // BLOCKS - 1:  # the block's last layer halves the map
                layers[f"depth{number}"] = nn.PixelUnshuffle(2)
                before, after, size = 4 * before, 2 * after, size // 2
                kernel = 1 if block == BLOCKS - 1 else 3
            layers |= self.convolution(number, before, after, kernel, size)
            layers[f"activation{number}"] = Householder(after) if self.activation == "householder" else MinMax("halves")
            before = after
        layers["flatten"] = nn.Flatten()
        layers["head"] = nn.Linear(before * (self.input_size // 2**BLOCKS) ** 2, self.classes)
        return nn.Sequential(layers)

    def convolution(self, number: int, before: int, after: int, kernel: int, size: int) -> dict[str, nn.Module]:
        """The layers, by name, that make `after` channels of `before` on maps of size x size cells."""
        from zoo.layers import ConvExponential, FirstChannels, PadChannels

        layers: dict[str, nn.Module] = {f"conv{number}": ConvExponential(max(before, after), kernel)}
        if before < after:
            return {f"pad{number}": PadChannels(after), **layers}
        return layers if before == after else {**layers, f"first{number}": FirstChannels(after)}


NETWORKS = {
    "lipconvnet-5": LipConvNet(5),
    "lipconvnet-10": LipConvNet(10),
    "lipconvnet-15": LipConvNet(15),
    "lipconvnet-20": LipConvNet(20),
    "lipconvnet-40": LipConvNet(40),
    "lipconvnet-5-minmax": LipConvNet(5, activation="minmax"),
    "lipconvnet-10-minmax": LipConvNet(10, activation="minmax"),
    "lipconvnet-15-minmax": LipConvNet(15, activation="minmax"),
    "lipconvnet-20-minmax": LipConvNet(20, activation="minmax"),
    "lipconvnet-40-minmax": LipConvNet(40, activation="minmax"),
    # Ours, for two CPU cores.
    "lipconvnet-5w8": LipConvNet(5, 8),
    "lipconvnet-10w8": LipConvNet(10, 8),
}
PRESETS = {
    "lipconvnet-5-cifar10": Preset(
        "lipconvnet-5", "cifar10", Reported(75.31, 60.37, "36/255", "Fazlyab et al. 2023, table 1")
    ),
    "lipconvnet-5-cifar10-jpeg75": Preset("lipconvnet-5", "cifar10-jpeg75"),
    "lipconvnet-5-cifar100": Preset("lipconvnet-5", "cifar100"),
    "lipconvnet-5-tiny-imagenet": Preset("lipconvnet-5", "tiny-imagenet"),
    "lipconvnet-10-cifar10": Preset(
        "lipconvnet-10", "cifar10", Reported(76.23, 62.57, "36/255", "Fazlyab et al. 2023, table 1")
    ),
    "lipconvnet-10-cifar10-jpeg75": Preset("lipconvnet-10", "cifar10-jpeg75"),
    "lipconvnet-10-cifar100": Preset("lipconvnet-10", "cifar100"),
    "lipconvnet-10-tiny-imagenet": Preset(
        "lipconvnet-10", "tiny-imagenet", Reported(32.1, 21.5, "36/255", "Losch et al. 2023, table 1")
    ),
    "lipconvnet-15-cifar10": Preset(
        "lipconvnet-15", "cifar10", Reported(76.39, 62.96, "36/255", "Fazlyab et al. 2023, table 1")
    ),
    "lipconvnet-15-cifar10-jpeg75": Preset("lipconvnet-15", "cifar10-jpeg75"),
    "lipconvnet-15-cifar100": Preset("lipconvnet-15", "cifar100"),
    "lipconvnet-15-tiny-imagenet": Preset("lipconvnet-15", "tiny-imagenet"),
    "lipconvnet-20-cifar10": Preset(
        "lipconvnet-20", "cifar10", Reported(76.4, 63.0, "36/255", "Hu et al. 2023, table 1")
    ),
    "lipconvnet-20-cll-cifar10": Preset(
        "lipconvnet-20", "cifar10", Reported(77.4, 64.2, "36/255", "Losch et al. 2023, table 2")
    ),
    "lipconvnet-20-cifar10-jpeg75": Preset("lipconvnet-20", "cifar10-jpeg75"),
    "lipconvnet-20-cifar100": Preset(
        "lipconvnet-20", "cifar100", Reported(47.8, 34.8, "36/255", "Hu et al. 2023, table 1")
    ),
    "lipconvnet-20-tiny-imagenet": Preset(
        "lipconvnet-20", "tiny-imagenet", Reported(31.7, 21.0, "36/255", "Losch et al. 2023, table 1")
    ),
    "lipconvnet-20-cll-tiny-imagenet": Preset(
        "lipconvnet-20", "tiny-imagenet", Reported(32.6, 26.0, "36/255", "Losch et al. 2023, table 1")
    ),
    "lipconvnet-40-cifar10": Preset("lipconvnet-40", "cifar10"),
    "lipconvnet-40-cifar10-jpeg75": Preset("lipconvnet-40", "cifar10-jpeg75"),
    "lipconvnet-40-cifar100": Preset("lipconvnet-40", "cifar100"),
    "lipconvnet-40-tiny-imagenet": Preset("lipconvnet-40", "tiny-imagenet"),
    "lipconvnet-5-minmax-cifar10": Preset("lipconvnet-5-minmax", "cifar10"),
    "lipconvnet-5-minmax-cifar10-jpeg75": Preset("lipconvnet-5-minmax", "cifar10-jpeg75"),
    "lipconvnet-5-minmax-cifar100": Preset("lipconvnet-5-minmax", "cifar100"),
    "lipconvnet-5-minmax-tiny-imagenet": Preset("lipconvnet-5-minmax", "tiny-imagenet"),
    "lipconvnet-10-minmax-cifar10": Preset("lipconvnet-10-minmax", "cifar10"),
    "lipconvnet-10-minmax-cifar10-jpeg75": Preset("lipconvnet-10-minmax", "cifar10-jpeg75"),
    "lipconvnet-10-minmax-cifar100": Preset("lipconvnet-10-minmax", "cifar100"),
    "lipconvnet-10-minmax-tiny-imagenet": Preset("lipconvnet-10-minmax", "tiny-imagenet"),
    "lipconvnet-15-minmax-cifar10": Preset("lipconvnet-15-minmax", "cifar10"),
    "lipconvnet-15-minmax-cifar10-jpeg75": Preset("lipconvnet-15-minmax", "cifar10-jpeg75"),
    "lipconvnet-15-minmax-cifar100": Preset("lipconvnet-15-minmax", "cifar100"),
    "lipconvnet-15-minmax-tiny-imagenet": Preset("lipconvnet-15-minmax", "tiny-imagenet"),
    "lipconvnet-20-minmax-cifar10": Preset("lipconvnet-20-minmax", "cifar10"),
    "lipconvnet-20-minmax-cifar10-jpeg75": Preset("lipconvnet-20-minmax", "cifar10-jpeg75"),
    "lipconvnet-20-minmax-cifar100": Preset("lipconvnet-20-minmax", "cifar100"),
    "lipconvnet-20-minmax-tiny-imagenet": Preset("lipconvnet-20-minmax", "tiny-imagenet"),
    "lipconvnet-40-minmax-cifar10": Preset("lipconvnet-40-minmax", "cifar10"),
    "lipconvnet-40-minmax-cifar10-jpeg75": Preset("lipconvnet-40-minmax", "cifar10-jpeg75"),
    "lipconvnet-40-minmax-cifar100": Preset("lipconvnet-40-minmax", "cifar100"),
    "lipconvnet-40-minmax-tiny-imagenet": Preset("lipconvnet-40-minmax", "tiny-imagenet"),
    "lipconvnet-5w8-cifar10": Preset("lipconvnet-5w8", "cifar10"),
    "lipconvnet-5w8-cifar10-jpeg75": Preset("lipconvnet-5w8", "cifar10-jpeg75"),
    "lipconvnet-5w8-cll-cifar10-jpeg75": Preset("lipconvnet-5w8", "cifar10-jpeg75"),
    "lipconvnet-5w8-cifar100": Preset("lipconvnet-5w8", "cifar100"),
    "lipconvnet-5w8-tiny-imagenet": Preset("lipconvnet-5w8", "tiny-imagenet"),
    "lipconvnet-10w8-cifar10": Preset("lipconvnet-10w8", "cifar10"),
    "lipconvnet-10w8-cifar10-jpeg75": Preset("lipconvnet-10w8", "cifar10-jpeg75"),
    "lipconvnet-10w8-cifar100": Preset("lipconvnet-10w8", "cifar100"),
    "lipconvnet-10w8-tiny-imagenet": Preset("lipconvnet-10w8", "tiny-imagenet"),
}
