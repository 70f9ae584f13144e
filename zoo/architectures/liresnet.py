"""LiResNet, linear residual convolutions between isometric activations, and the networks that its paper compares.

Source: Hu, Zou, Wang, Leino, Fredrikson 2023, "Unlocking Deterministic Robustness Certification on
ImageNet" (arXiv 2301.12549), section 3 and appendix B. A block y = x + diag(beta) Conv(x) / sqrt(L) is linear, so
it *is* one convolution; here it is written as that convolution, and the residual form is a way to train it
(`training/constraints.py`).

Around the blocks, all have the same stem, neck and head.

Where we differ: the neck's dense layer has 512 outputs (2048 at 224 px) as in the authors' code. Their text
says 2048 (4096 at 224 px), but with it the sizes in their tables (5, 49, 86 million) are out of reach:
L6W128, L12W512 and L12W588 have 3.5, 45.1 and 89.3 million parameters here, 9.8, 70.4 and 129.9 by the text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

# The stem brings every resolution to a map of 16 x 16: kernel, stride, padding (appendix B.2).
STEMS = {28: (5, 2, 2), 32: (5, 2, 2), 64: (7, 4, 3), 224: (14, 14, 0)}


@dataclass(frozen=True)
class Backbone(ABC):
    """A stem, `depth` blocks with `width` channels on a map of 16 x 16, a neck and a head, on `input_size` pixels."""

    depth: int
    width: int
    input_size: int = 32
    channels: int = 3
    classes: int = 10
    features: int = 512

    def __post_init__(self) -> None:
        if self.input_size not in STEMS:
            raise ValueError(f"{type(self).__name__} has stems for {sorted(STEMS)} pixels, got {self.input_size}")
        if self.width % 2 or self.features % 2:
            raise ValueError(f"MinMax pairs channels: width {self.width} and features {self.features} must be even")

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (self.channels, self.input_size, self.input_size)

    @property
    def map_size(self) -> int:
        """The side of the map that the blocks work on."""
        kernel, stride, padding = STEMS[self.input_size]
        return (self.input_size + 2 * padding - kernel) // stride + 1

    @abstractmethod
    def block(self, number: int) -> dict[str, nn.Module]:
        """The layers of one block, each by its name."""

    def network(self) -> nn.Sequential:
        """The untrained network on [N, channels, input_size, input_size]; `head` is its last child."""
        from torch import nn

        from zoo.layers import MinMax, Pixels

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["pixels"] = Pixels(mean=[0.5] * self.channels, scale=[1.0] * self.channels)
        layers["stem"] = nn.Conv2d(self.channels, self.width, *STEMS[self.input_size])
        layers["stem_activation"] = MinMax("halves")
        for number in range(1, self.depth + 1):
            layers.update(self.block(number))
        layers["neck"] = nn.Conv2d(self.width, 2 * self.width, 4, 4)
        layers["neck_activation"] = MinMax("halves")
        layers["flatten"] = nn.Flatten()
        layers["dense"] = nn.Linear(2 * self.width * (self.map_size // 4) ** 2, self.features)
        layers["dense_activation"] = MinMax("halves")
        layers["head"] = nn.Linear(self.features, self.classes)
        return nn.Sequential(layers)


@dataclass(frozen=True)
class LiResNet(Backbone):
    """A LiResNet of `depth` linear residual blocks with `width` channels on `input_size` pixels."""

    def block(self, number: int) -> dict[str, nn.Module]:
        from torch import nn

        from zoo.layers import MinMax

        return {
            f"block{number}": nn.Conv2d(self.width, self.width, 3, padding=1),
            f"block{number}_activation": MinMax("halves"),
        }


@dataclass(frozen=True)
class PlainConvNet(LiResNet):
    """The paper's ConvNet: each block is a convolution with no residual. The same plain network, trained otherwise.

    Source: appendix C; the paper's tables 2 and 3.
    """


@dataclass(frozen=True)
class ResNet(Backbone):
    """The paper's conventional ResNet: y = x + beta Conv(MinMax(Conv(x))), then MinMax; beta folds into the second.

    Source: appendix D; the paper's tables 2b and 4.
    """

    def block(self, number: int) -> dict[str, nn.Module]:
        from torch import nn

        from zoo.layers import MinMax, Residual

        first, second = (nn.Conv2d(self.width, self.width, 3, padding=1) for _ in range(2))
        return {
            f"block{number}": Residual(first, MinMax("halves"), second),
            f"block{number}_activation": MinMax("halves"),
        }
