"""AOL's networks: a patchwise one of convolutions and dense layers, and dense ones of equal width.

Sources: Prach, Lampert 2022, "Almost-orthogonal layers for efficient general-purpose Lipschitz networks", arXiv
2208.03160, and their code; the dense ones are those of their later code on scaling up. Both end in a dense layer as
wide as the others, of which the first K outputs are the logits: the head here takes them, and is not trained.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from zoo.architectures.preset import Preset, Reported, SquareImages
from zoo.citations import AOL

if TYPE_CHECKING:
    from torch import nn

PATCH = 4  # the side of the pixels that become channels


@dataclass(frozen=True)
class AOLPatchwise(SquareImages):
    """Patches of 4 x 4 pixels as channels, `depth` convolutions of `width` channels, `dense_depth` dense layers.

    The dense layers get the first `last` of the convolutions' channels.
    """

    citation: ClassVar[str] = AOL

    depth: int
    width: int
    last: int
    dense_depth: int
    input_size: int = 32
    channels: int = 3
    classes: int = 10

    def __post_init__(self) -> None:
        self.check_side(PATCH)
        if self.last > self.width:
            raise ValueError(f"{self.last} channels are to be kept of only {self.width}")

    def network(self) -> nn.Sequential:
        """The untrained network on [N, channels, input_size, input_size]; `head` is its last child."""
        from torch import nn

        from zoo.layers import FirstChannels, MinMax, Pixels

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["pixels"] = Pixels(mean=[0.5] * self.channels, scale=[1.0] * self.channels)
        layers["patches"] = nn.PixelUnshuffle(PATCH)
        layers["stem"] = nn.Conv2d(self.channels * PATCH**2, self.width, 1)
        layers["stem_activation"] = MinMax("neighbours")
        for number in range(1, self.depth + 1):
            layers[f"conv{number}"] = nn.Conv2d(self.width, self.width, 3, padding=1)
            layers[f"conv{number}_activation"] = MinMax("neighbours")
        layers["neck"] = nn.Conv2d(self.width, self.width, 1)
        layers["first"] = FirstChannels(self.last)
        layers["flatten"] = nn.Flatten()
        features = self.last * (self.input_size // PATCH) ** 2
        layers.update(dense_layers(features, features, self.dense_depth, self.classes))
        return nn.Sequential(layers)


@dataclass(frozen=True)
class AOLMLP(SquareImages):
    """`depth` dense layers of `width`."""

    citation: ClassVar[str] = f"{AOL}, and the authors' code on scaling up Lipschitz networks"

    depth: int
    width: int
    input_size: int = 32
    channels: int = 3
    classes: int = 10

    def network(self) -> nn.Sequential:
        """The untrained network on [N, channels, input_size, input_size]; `head` is its last child."""
        from torch import nn

        from zoo.layers import Pixels

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["pixels"] = Pixels(mean=[0.5] * self.channels, scale=[1.0] * self.channels)
        layers["flatten"] = nn.Flatten()
        layers.update(dense_layers(self.channels * self.input_size**2, self.width, self.depth, self.classes))
        return nn.Sequential(layers)


def dense_layers(inputs: int, width: int, depth: int, classes: int) -> OrderedDict[str, nn.Module]:
    """Dense layers with MinMax between them, and the head that takes the last one's first outputs."""
    from torch import nn

    from zoo.layers import MinMax

    if classes > width:
        raise ValueError(f"{classes} classes are more than the width {width} that they are the first outputs of")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number in range(1, depth + 1):
        layers[f"dense{number}"] = nn.Linear(inputs if number == 1 else width, width)
        if number < depth:
            layers[f"dense{number}_activation"] = MinMax("neighbours")
    head = nn.Linear(width, classes)
    nn.init.eye_(head.weight)
    nn.init.zeros_(head.bias)
    layers["head"] = head
    return layers


def _row(clean: float | None, vra: float, source: str) -> Reported:
    return Reported(clean, vra, "36/255", source)


README = "README of berndprach/AOL"
NETWORKS = {
    "aol-patchwise-s": AOLPatchwise(12, 192, 16, 14),
    "aol-patchwise-m": AOLPatchwise(12, 192, 32, 14),
    "aol-patchwise-l": AOLPatchwise(12, 192, 48, 14),
    "aol-mlp-8x3072": AOLMLP(8, 3072),
    "aol-mlp-16x3072": AOLMLP(16, 3072),
    # The smallest ones are ours, for two CPU cores.
    "aol-patchwise-xs": AOLPatchwise(4, 48, 8, 4),
    "aol-mlp-4x512": AOLMLP(4, 512),
}
PRESETS = {
    "aol-patchwise-s-cifar10": Preset("aol-patchwise-s", "cifar10", _row(70.3, 62.9, README)),
    "aol-patchwise-s-cifar10-jpeg75": Preset("aol-patchwise-s", "cifar10-jpeg75"),
    "aol-patchwise-s-cifar100": Preset("aol-patchwise-s", "cifar100"),
    "aol-patchwise-m-cifar10": Preset("aol-patchwise-m", "cifar10", _row(71.3, 64.0, README)),
    "aol-patchwise-m-cifar10-jpeg75": Preset("aol-patchwise-m", "cifar10-jpeg75"),
    "aol-patchwise-m-cifar100": Preset("aol-patchwise-m", "cifar100"),
    "aol-patchwise-l-cifar10": Preset("aol-patchwise-l", "cifar10", _row(71.4, 64.1, README)),
    "aol-patchwise-l-cifar10-jpeg75": Preset("aol-patchwise-l", "cifar10-jpeg75"),
    "aol-patchwise-l-cifar100": Preset("aol-patchwise-l", "cifar100", _row(43.7, 33.7, "Prach, Lampert 2022")),
    "aol-patchwise-xs-cifar10": Preset("aol-patchwise-xs", "cifar10"),
    "aol-patchwise-xs-cifar10-jpeg75": Preset("aol-patchwise-xs", "cifar10-jpeg75"),
    "aol-patchwise-xs-fashion-mnist": Preset("aol-patchwise-xs", "fashion-mnist"),
    "aol-mlp-8x3072-cifar10": Preset("aol-mlp-8x3072", "cifar10"),
    "aol-mlp-16x3072-cifar10": Preset("aol-mlp-16x3072", "cifar10"),
    "aol-mlp-16x3072-generated-cifar10": Preset(
        "aol-mlp-16x3072",
        "cifar10",
        _row(None, 77.6, "README of the authors' code on scaling up, with 20 million generated images"),
    ),
    "aol-mlp-4x512-cifar10-jpeg75": Preset("aol-mlp-4x512", "cifar10-jpeg75"),
    "aol-mlp-4x512-mnist": Preset("aol-mlp-4x512", "mnist"),
}
