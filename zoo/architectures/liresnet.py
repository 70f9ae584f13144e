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
from typing import TYPE_CHECKING, ClassVar

from zoo.architectures.preset import Preset, Reported, SquareImages
from zoo.citations import HU
from zoo.lowering.sizes import output_side

if TYPE_CHECKING:
    from torch import nn

# The stem brings every resolution to a map of 16 x 16: kernel, stride, padding (appendix B.2).
STEMS = {28: (5, 2, 2), 32: (5, 2, 2), 64: (7, 4, 3), 224: (14, 14, 0)}


@dataclass(frozen=True)
class Backbone(SquareImages, ABC):
    """A stem, `depth` blocks with `width` channels on a map of 16 x 16, a neck and a head, on `input_size` pixels."""

    citation: ClassVar[str] = HU

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
    def stem(self) -> tuple[int, int, int]:
        """Kernel, stride and padding of the first convolution."""
        return STEMS[self.input_size]

    @property
    def map_size(self) -> int:
        """The side of the map that the blocks work on."""
        return output_side(self.input_size, *self.stem)

    @abstractmethod
    def block(self, number: int) -> dict[str, nn.Module]:
        """The layers of one block, each by its name."""

    def network(self) -> nn.Sequential:
        """The untrained network on [N, channels, input_size, input_size]; `head` is its last child."""
        from torch import nn

        from zoo.layers import MinMax, Pixels

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["pixels"] = Pixels(mean=[0.5] * self.channels, scale=[1.0] * self.channels)
        layers["stem"] = nn.Conv2d(self.channels, self.width, *self.stem)
        layers["stem_activation"] = MinMax("halves")
        for number in range(1, self.depth + 1):
            layers.update(self.block(number))
        layers.update(self.top())
        return nn.Sequential(layers)

    def top(self) -> dict[str, nn.Module]:
        """The layers behind the blocks, `head` last."""
        from torch import nn

        from zoo.layers import MinMax

        return {
            "neck": nn.Conv2d(self.width, 2 * self.width, 4, 4),
            "neck_activation": MinMax("halves"),
            "flatten": nn.Flatten(),
            "dense": nn.Linear(2 * self.width * (self.map_size // 4) ** 2, self.features),
            "dense_activation": MinMax("halves"),
            "head": nn.Linear(self.features, self.classes),
        }


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


NETWORKS = {
    # The paper's: its tables name them by depth and width.
    "liresnet-l6w256": LiResNet(6, 256),
    "liresnet-l12w256": LiResNet(12, 256),
    "liresnet-l18w256": LiResNet(18, 256),
    "liresnet-l24w256": LiResNet(24, 256),
    "liresnet-l30w256": LiResNet(30, 256),
    "liresnet-l36w256": LiResNet(36, 256),
    "liresnet-l12w64": LiResNet(12, 64),
    "liresnet-l12w128": LiResNet(12, 128),
    "liresnet-l12w512": LiResNet(12, 512),
    "liresnet-l12w588": LiResNet(12, 588),
    "liresnet-l6w128": LiResNet(6, 128),
    # Ours, small enough to train on two CPU cores.
    "liresnet-l6w64": LiResNet(6, 64, features=256),
    "liresnet-l4w32": LiResNet(4, 32, features=256),
    # What the paper compares with.
    "convnet-l6w256": PlainConvNet(6, 256),
    "convnet-l12w256": PlainConvNet(12, 256),
    "convnet-l18w256": PlainConvNet(18, 256),
    "resnet-l6w256": ResNet(6, 256),
    "resnet-l12w256": ResNet(12, 256),
    "resnet-l18w256": ResNet(18, 256),
    # Ours.
    "convnet-l4w32": PlainConvNet(4, 32, features=256),
    "resnet-l4w32": ResNet(4, 32, features=256),
}
AT_224 = {"features": 2048}  # of the authors' code


def _row(clean: float | None, vra: float, table: int) -> Reported:
    return Reported(clean, vra, "36/255", f"Hu et al. 2023, table {table}")


PRESETS = {
    "liresnet-l6w256-mnist": Preset("liresnet-l6w256", "mnist"),
    "liresnet-l6w256-cifar10": Preset("liresnet-l6w256", "cifar10", _row(79.9, 65.5, 5)),
    "liresnet-l6w256-cifar10-jpeg75": Preset("liresnet-l6w256", "cifar10-jpeg75"),
    "liresnet-l6w256-cifar100": Preset("liresnet-l6w256", "cifar100", _row(53.6, 37.2, 5)),
    "liresnet-l6w256-tiny-imagenet": Preset("liresnet-l6w256", "tiny-imagenet", _row(43.1, 29.8, 5)),
    "liresnet-l6w256-imagenet": Preset("liresnet-l6w256", "imagenet", sizes=AT_224),
    "liresnet-l12w256-mnist": Preset("liresnet-l12w256", "mnist"),
    "liresnet-l12w256-cifar10": Preset("liresnet-l12w256", "cifar10", _row(80.4, 66.3, 5)),
    "liresnet-l12w256-trades-cifar10": Preset("liresnet-l12w256", "cifar10", _row(79.6, 66.2, 3)),
    "liresnet-l12w256-cifar10-jpeg75": Preset("liresnet-l12w256", "cifar10-jpeg75"),
    "liresnet-l12w256-cifar100": Preset("liresnet-l12w256", "cifar100", _row(54.2, 37.8, 5)),
    "liresnet-l12w256-trades-cifar100": Preset("liresnet-l12w256", "cifar100", _row(57.8, 37.3, 3)),
    # VRA 30.0 in tables 3 and 6.
    "liresnet-l12w256-tiny-imagenet": Preset("liresnet-l12w256", "tiny-imagenet", _row(43.6, 30.3, 5)),
    "liresnet-l12w256-trades-tiny-imagenet": Preset("liresnet-l12w256", "tiny-imagenet", _row(45.8, 28.8, 3)),
    "liresnet-l12w256-imagenet": Preset("liresnet-l12w256", "imagenet", sizes=AT_224),
    "liresnet-l18w256-mnist": Preset("liresnet-l18w256", "mnist"),
    "liresnet-l18w256-cifar10": Preset("liresnet-l18w256", "cifar10", _row(81.0, 66.6, 5)),
    "liresnet-l18w256-cifar10-jpeg75": Preset("liresnet-l18w256", "cifar10-jpeg75"),
    "liresnet-l18w256-cifar100": Preset("liresnet-l18w256", "cifar100", _row(54.3, 38.0, 5)),
    "liresnet-l18w256-tiny-imagenet": Preset("liresnet-l18w256", "tiny-imagenet", _row(43.9, 30.6, 5)),
    "liresnet-l18w256-imagenet": Preset("liresnet-l18w256", "imagenet", sizes=AT_224),
    "liresnet-l24w256-mnist": Preset("liresnet-l24w256", "mnist"),
    "liresnet-l24w256-cifar10": Preset("liresnet-l24w256", "cifar10", _row(81.2, 66.8, 5)),
    "liresnet-l24w256-cifar10-jpeg75": Preset("liresnet-l24w256", "cifar10-jpeg75"),
    "liresnet-l24w256-cifar100": Preset("liresnet-l24w256", "cifar100", _row(55.0, 38.2, 5)),
    "liresnet-l24w256-tiny-imagenet": Preset("liresnet-l24w256", "tiny-imagenet", _row(44.2, 30.7, 5)),
    "liresnet-l24w256-imagenet": Preset("liresnet-l24w256", "imagenet", sizes=AT_224),
    "liresnet-l30w256-mnist": Preset("liresnet-l30w256", "mnist"),
    "liresnet-l30w256-cifar10": Preset("liresnet-l30w256", "cifar10", _row(81.3, 66.9, 5)),
    "liresnet-l30w256-cifar10-jpeg75": Preset("liresnet-l30w256", "cifar10-jpeg75"),
    "liresnet-l30w256-cifar100": Preset("liresnet-l30w256", "cifar100", _row(54.9, 38.4, 5)),
    "liresnet-l30w256-tiny-imagenet": Preset("liresnet-l30w256", "tiny-imagenet", _row(44.2, 30.6, 5)),
    "liresnet-l30w256-imagenet": Preset("liresnet-l30w256", "imagenet", sizes=AT_224),
    "liresnet-l36w256-mnist": Preset("liresnet-l36w256", "mnist"),
    "liresnet-l36w256-cifar10": Preset("liresnet-l36w256", "cifar10", _row(81.2, 66.9, 5)),
    "liresnet-l36w256-cifar10-jpeg75": Preset("liresnet-l36w256", "cifar10-jpeg75"),
    "liresnet-l36w256-cifar100": Preset("liresnet-l36w256", "cifar100", _row(55.0, 38.3, 5)),
    "liresnet-l36w256-tiny-imagenet": Preset("liresnet-l36w256", "tiny-imagenet", _row(44.3, 30.4, 5)),
    "liresnet-l36w256-imagenet": Preset("liresnet-l36w256", "imagenet", sizes=AT_224),
    "liresnet-l12w64-mnist": Preset("liresnet-l12w64", "mnist"),
    "liresnet-l12w64-cifar10": Preset("liresnet-l12w64", "cifar10", _row(None, 64.6, 6)),
    "liresnet-l12w64-cifar10-jpeg75": Preset("liresnet-l12w64", "cifar10-jpeg75"),
    "liresnet-l12w64-cifar100": Preset("liresnet-l12w64", "cifar100", _row(None, 36.5, 6)),
    "liresnet-l12w64-tiny-imagenet": Preset("liresnet-l12w64", "tiny-imagenet", _row(None, 28.7, 6)),
    "liresnet-l12w64-imagenet": Preset("liresnet-l12w64", "imagenet", sizes=AT_224),
    "liresnet-l12w128-mnist": Preset("liresnet-l12w128", "mnist"),
    "liresnet-l12w128-cifar10": Preset("liresnet-l12w128", "cifar10", _row(None, 65.6, 6)),
    "liresnet-l12w128-cifar10-jpeg75": Preset("liresnet-l12w128", "cifar10-jpeg75"),
    "liresnet-l12w128-cifar100": Preset("liresnet-l12w128", "cifar100", _row(None, 37.5, 6)),
    "liresnet-l12w128-tiny-imagenet": Preset("liresnet-l12w128", "tiny-imagenet", _row(None, 29.8, 6)),
    "liresnet-l12w128-imagenet": Preset("liresnet-l12w128", "imagenet", sizes=AT_224),
    "liresnet-l12w512-mnist": Preset("liresnet-l12w512", "mnist"),
    "liresnet-l12w512-cifar10": Preset("liresnet-l12w512", "cifar10", _row(81.3, 66.9, 1)),
    "liresnet-l12w512-ddpm-cifar10": Preset("liresnet-l12w512", "cifar10", _row(82.1, 70.1, 1)),
    "liresnet-l12w512-cifar10-jpeg75": Preset("liresnet-l12w512", "cifar10-jpeg75"),
    "liresnet-l12w512-cifar100": Preset("liresnet-l12w512", "cifar100", _row(55.2, 38.3, 1)),
    "liresnet-l12w512-ddpm-cifar100": Preset("liresnet-l12w512", "cifar100", _row(55.5, 41.5, 1)),
    "liresnet-l12w512-tiny-imagenet": Preset("liresnet-l12w512", "tiny-imagenet", _row(44.6, 30.6, 1)),
    "liresnet-l12w512-ddpm-tiny-imagenet": Preset("liresnet-l12w512", "tiny-imagenet", _row(46.7, 33.6, 1)),
    "liresnet-l12w512-imagenet": Preset("liresnet-l12w512", "imagenet", sizes=AT_224),
    "liresnet-l12w588-mnist": Preset("liresnet-l12w588", "mnist"),
    "liresnet-l12w588-cifar10": Preset("liresnet-l12w588", "cifar10"),
    "liresnet-l12w588-cifar10-jpeg75": Preset("liresnet-l12w588", "cifar10-jpeg75"),
    "liresnet-l12w588-cifar100": Preset("liresnet-l12w588", "cifar100"),
    "liresnet-l12w588-tiny-imagenet": Preset("liresnet-l12w588", "tiny-imagenet"),
    "liresnet-l12w588-imagenet": Preset("liresnet-l12w588", "imagenet", _row(45.6, 35.0, 1), sizes=AT_224),
    "liresnet-l6w128-mnist": Preset("liresnet-l6w128", "mnist"),
    "liresnet-l6w128-cifar10": Preset("liresnet-l6w128", "cifar10", _row(78.7, 64.4, 1)),
    "liresnet-l6w128-cifar10-jpeg75": Preset("liresnet-l6w128", "cifar10-jpeg75"),
    "liresnet-l6w128-cifar100": Preset("liresnet-l6w128", "cifar100", _row(52.1, 36.3, 1)),
    "liresnet-l6w128-tiny-imagenet": Preset("liresnet-l6w128", "tiny-imagenet", _row(40.8, 29.0, 1)),
    "liresnet-l6w128-imagenet": Preset("liresnet-l6w128", "imagenet", sizes=AT_224),
    "liresnet-l6w64-mnist": Preset("liresnet-l6w64", "mnist"),
    "liresnet-l6w64-cifar10": Preset("liresnet-l6w64", "cifar10"),
    "liresnet-l6w64-cifar10-jpeg75": Preset("liresnet-l6w64", "cifar10-jpeg75"),
    "liresnet-l6w64-cifar100": Preset("liresnet-l6w64", "cifar100"),
    "liresnet-l6w64-tiny-imagenet": Preset("liresnet-l6w64", "tiny-imagenet"),
    "liresnet-l6w64-imagenet": Preset("liresnet-l6w64", "imagenet", sizes=AT_224),
    "liresnet-l4w32-mnist": Preset("liresnet-l4w32", "mnist"),
    "liresnet-l4w32-cifar10": Preset("liresnet-l4w32", "cifar10"),
    "liresnet-l4w32-cifar10-jpeg75": Preset("liresnet-l4w32", "cifar10-jpeg75"),
    "liresnet-l4w32-cifar100": Preset("liresnet-l4w32", "cifar100"),
    "liresnet-l4w32-tiny-imagenet": Preset("liresnet-l4w32", "tiny-imagenet"),
    "liresnet-l4w32-imagenet": Preset("liresnet-l4w32", "imagenet", sizes=AT_224),
    "convnet-l6w256-cifar10": Preset("convnet-l6w256", "cifar10", _row(77.9, 64.0, 4)),
    "convnet-l6w256-cifar10-jpeg75": Preset("convnet-l6w256", "cifar10-jpeg75"),
    "convnet-l6w256-cifar100": Preset("convnet-l6w256", "cifar100", _row(51.8, 36.5, 4)),
    "convnet-l12w256-cifar10": Preset("convnet-l12w256", "cifar10", _row(72.5, 59.2, 4)),
    "convnet-l12w256-trades-cifar10": Preset("convnet-l12w256", "cifar10", _row(71.7, 58.8, 3)),
    "convnet-l12w256-cifar10-jpeg75": Preset("convnet-l12w256", "cifar10-jpeg75"),
    "convnet-l12w256-cifar100": Preset("convnet-l12w256", "cifar100", _row(50.6, 35.0, 4)),
    "convnet-l12w256-trades-cifar100": Preset("convnet-l12w256", "cifar100", _row(53.4, 34.0, 3)),
    "convnet-l12w256-tiny-imagenet": Preset("convnet-l12w256", "tiny-imagenet", _row(40.0, 27.4, 3)),
    "convnet-l12w256-trades-tiny-imagenet": Preset("convnet-l12w256", "tiny-imagenet", _row(42.2, 26.6, 3)),
    # 18 blocks did not converge, table 4.
    "convnet-l18w256-cifar10": Preset("convnet-l18w256", "cifar10"),
    "convnet-l18w256-cifar10-jpeg75": Preset("convnet-l18w256", "cifar10-jpeg75"),
    "convnet-l18w256-cifar100": Preset("convnet-l18w256", "cifar100"),
    "resnet-l6w256-cifar10": Preset("resnet-l6w256", "cifar10", _row(74.2, 60.3, 4)),
    "resnet-l6w256-cifar10-jpeg75": Preset("resnet-l6w256", "cifar10-jpeg75"),
    "resnet-l6w256-cifar100": Preset("resnet-l6w256", "cifar100", _row(48.4, 33.5, 4)),
    "resnet-l12w256-cifar10": Preset("resnet-l12w256", "cifar10", _row(74.0, 60.0, 4)),
    "resnet-l12w256-cifar10-jpeg75": Preset("resnet-l12w256", "cifar10-jpeg75"),
    "resnet-l12w256-cifar100": Preset("resnet-l12w256", "cifar100", _row(48.1, 33.5, 4)),
    "resnet-l18w256-cifar10": Preset("resnet-l18w256", "cifar10", _row(73.9, 60.1, 4)),
    "resnet-l18w256-cifar10-jpeg75": Preset("resnet-l18w256", "cifar10-jpeg75"),
    "resnet-l18w256-cifar100": Preset("resnet-l18w256", "cifar100", _row(48.2, 33.6, 4)),
    "convnet-l4w32-cifar10": Preset("convnet-l4w32", "cifar10"),
    "convnet-l4w32-cifar10-jpeg75": Preset("convnet-l4w32", "cifar10-jpeg75"),
    "convnet-l4w32-cifar100": Preset("convnet-l4w32", "cifar100"),
    "resnet-l4w32-cifar10": Preset("resnet-l4w32", "cifar10"),
    "resnet-l4w32-cifar10-jpeg75": Preset("resnet-l4w32", "cifar10-jpeg75"),
    "resnet-l4w32-cifar100": Preset("resnet-l4w32", "cifar100"),
}
