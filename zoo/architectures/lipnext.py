"""LipNeXt: orthogonal matrices on the channels of each cell, spatial shifts and partial absolute values.

Source: Hu, Hu, Fredrikson 2026, "LipNeXt: Scaling up Lipschitz-based certified robustness to billion-parameter models",
arXiv 2601.18513. No code is public, and we have the paper's description from notes alone: this is our own definition.
From the notes: a block |M R^T S(R (X + p)) + b|_beta with orthogonal R and M, a circular shift S of an eighth of the
channels in each of four directions, positional offsets p, absolute values of a share beta of the channels; then l2
pooling over the map and a head of normalised rows. Ours: the stem, disjoint patches that leave a map of 16 x 16; beta =
1/2; R has a bias; and the two ImageNet sizes, which have the numbers of parameters that are reported.

M R^T is one orthogonal matrix, so a block is two 1 x 1 convolutions.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from zoo.architectures.preset import Preset, Reported, SquareImages

if TYPE_CHECKING:
    from torch import nn

MAP = 16  # the side of the map behind the stem
GROUPS, SHARE = 8, 2  # a group is an eighth of the channels, absolute values are taken of half


@dataclass(frozen=True)
class LipNeXt(SquareImages):
    """`depth` blocks on `width` channels."""

    citation: ClassVar[str] = "Hu, Hu, Fredrikson 2026, LipNeXt, arXiv 2601.18513"

    depth: int
    width: int
    input_size: int = 32
    channels: int = 3
    classes: int = 10

    def __post_init__(self) -> None:
        self.check_side(MAP)
        if self.width % GROUPS:
            raise ValueError(f"width must be a multiple of {GROUPS}, got {self.width}")

    def network(self) -> nn.Sequential:
        """The untrained network on [N, channels, input_size, input_size]; `head` is its last child."""
        from torch import nn

        from zoo.layers import Abs, L2Pool, Pixels, PositionOffset, SpatialShift

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["pixels"] = Pixels(mean=[0.5] * self.channels, scale=[1.0] * self.channels)
        layers["stem"] = nn.Conv2d(self.channels, self.width, self.input_size // MAP, self.input_size // MAP)
        for number in range(1, self.depth + 1):
            layers[f"offset{number}"] = PositionOffset(MAP, MAP)
            layers[f"rotation{number}"] = nn.Conv2d(self.width, self.width, 1)
            layers[f"shift{number}"] = SpatialShift(self.width // GROUPS)
            layers[f"mixing{number}"] = nn.Conv2d(self.width, self.width, 1)
            layers[f"activation{number}"] = Abs(self.width // SHARE)
        layers["pool"] = L2Pool(MAP)
        layers["flatten"] = nn.Flatten()
        layers["head"] = nn.Linear(self.width, self.classes)
        return nn.Sequential(layers)


NETWORKS = {
    "lipnext-l32w1024": LipNeXt(32, 1024),
    "lipnext-l32w2048": LipNeXt(32, 2048),
    "lipnext-1b": LipNeXt(32, 4096),
    "lipnext-2b": LipNeXt(64, 4096),
    # Ours, for two CPU cores.
    "lipnext-l4w64": LipNeXt(4, 64),
}
NOTES = "Hu, Hu, Fredrikson 2026, by notes of others"
PRESETS = {
    "lipnext-l32w1024-cifar10": Preset("lipnext-l32w1024", "cifar10", Reported(81.5, 71.2, "36/255", NOTES)),
    "lipnext-l32w2048-cifar10": Preset("lipnext-l32w2048", "cifar10", Reported(85.0, 73.2, "36/255", NOTES)),
    # Of these two the notes do not tell the size: the larger one, as the better row on CIFAR-10.
    "lipnext-l32w2048-cifar100": Preset("lipnext-l32w2048", "cifar100", Reported(57.4, 44.1, "36/255", NOTES)),
    "lipnext-l32w2048-tiny-imagenet": Preset(
        "lipnext-l32w2048", "tiny-imagenet", Reported(45.5, 35.0, "36/255", NOTES)
    ),
    "lipnext-1b-imagenet": Preset("lipnext-1b", "imagenet", Reported(55.9, 40.3, "36/255", NOTES)),
    "lipnext-2b-imagenet": Preset("lipnext-2b", "imagenet", Reported(57.0, 41.2, "36/255", NOTES)),
    "lipnext-l4w64-cifar10": Preset("lipnext-l4w64", "cifar10"),
    "lipnext-l4w64-cifar10-jpeg75": Preset("lipnext-l4w64", "cifar10-jpeg75"),
    "lipnext-l4w64-cifar100": Preset("lipnext-l4w64", "cifar100"),
    "lipnext-l4w64-tiny-imagenet": Preset("lipnext-l4w64", "tiny-imagenet"),
}
