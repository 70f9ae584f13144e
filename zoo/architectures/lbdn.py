"""LBDN: sandwich layers 2 A^T relu(B x + b), on maps and then on a vector.

Source: Wang, Manchester 2023, "Direct parameterization of Lipschitz-bounded deep networks", arXiv 2301.11526, and the
authors' code for the sizes: the networks called "DNN" (here lbdn), and KWLarge of widths 1, 2, 4 (small to large). A
layer of stride 2 is space-to-depth, then matrices of channels alone, since half of a kernel of three taps is one.

Where we differ: none of the layers has the paper's Psi, which the weights absorb (see `zoo.layers.Sandwich`).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from zoo.architectures.preset import Preset, Reported, SquareImages
from zoo.citations import LBDN as CITATION

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class LBDN(SquareImages):
    """`depth` pairs of layers on maps, whose second one halves the map, then `dense_depth` on vectors, and the head.

    The first pair has `width` channels, each later one twice as many. The last dense layer has `last` features, those
    before it `features`.
    """

    citation: ClassVar[str] = CITATION

    depth: int
    width: int
    dense_depth: int
    features: int
    last: int
    input_size: int = 32
    channels: int = 3
    classes: int = 10

    def __post_init__(self) -> None:
        self.check_side(2**self.depth)

    def network(self) -> nn.Sequential:
        """The untrained network on [N, channels, input_size, input_size]; `head` is its last child."""
        from torch import nn

        from zoo.layers import Pixels, Sandwich

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["pixels"] = Pixels(mean=[0.5] * self.channels, scale=[1.0] * self.channels)
        channels, size = self.channels, self.input_size
        for number in range(1, self.depth + 1):
            width = self.width * 2 ** (number - 1)
            layers[f"conv{number}"] = Sandwich(channels, width, width, size)
            layers[f"depth{number}"] = nn.PixelUnshuffle(2)
            layers[f"down{number}"] = Sandwich(4 * width, width, width)
            channels, size = width, size // 2
        layers["flatten"] = nn.Flatten()
        features = channels * size**2
        for number in range(1, self.dense_depth + 1):
            after = self.last if number == self.dense_depth else self.features
            layers[f"dense{number}"] = Sandwich(features, after, after)
            features = after
        layers["head"] = nn.Linear(features, self.classes)
        return nn.Sequential(layers)


NETWORKS = {
    "lbdn": LBDN(3, 64, 3, 2048, 1024),
    "lbdn-kwl-small": LBDN(2, 32, 2, 512, 512),
    "lbdn-kwl-medium": LBDN(2, 64, 2, 1024, 1024),
    "lbdn-kwl-large": LBDN(2, 128, 2, 2048, 2048),
    # Ours, for two CPU cores.
    "lbdn-xs": LBDN(2, 16, 2, 256, 256),
}
PRESETS = {
    "lbdn-cifar10": Preset("lbdn", "cifar10"),
    "lbdn-cifar10-jpeg75": Preset("lbdn", "cifar10-jpeg75"),
    "lbdn-cifar100": Preset("lbdn", "cifar100"),
    "lbdn-tiny-imagenet": Preset(
        "lbdn",
        "tiny-imagenet",
        Reported(33.4, 24.7, "36/255", "Losch et al. 2023, table 1"),
        sizes={"depth": 4},  # as many pairs as leave a map of 4 x 4
    ),
    "lbdn-kwl-small-cifar10": Preset("lbdn-kwl-small", "cifar10"),
    "lbdn-kwl-small-cifar10-jpeg75": Preset("lbdn-kwl-small", "cifar10-jpeg75"),
    "lbdn-kwl-medium-cifar10": Preset("lbdn-kwl-medium", "cifar10"),
    "lbdn-kwl-large-cifar10": Preset("lbdn-kwl-large", "cifar10"),
    "lbdn-xs-mnist": Preset("lbdn-xs", "mnist"),
    "lbdn-xs-cifar10": Preset("lbdn-xs", "cifar10"),
    "lbdn-xs-cifar10-jpeg75": Preset("lbdn-xs", "cifar10-jpeg75"),
    "lbdn-xs-cifar100": Preset("lbdn-xs", "cifar100"),
}
