"""CPL and SLL: residual steps down the gradient of a convex function, at full resolution, then on a vector.

Sources: Meunier, Delattre, Araujo, Allauzen 2022 (CPL), arXiv 2110.12690; Araujo, Havens, Delattre, Allauzen, Hu 2023
(SLL), arXiv 2303.03169. Sizes S to XL and the 5 hidden channels of a convolutional block are those of their code as
CLL copies it; with them XL has 236 million parameters, which the LiResNet paper reports (CLL's text says 1.1 billion,
and trains CPL-XL with 4096 hidden features). The two differ only in how the steps are trained (`training`).

Where we differ: the head is a Linear. A head that takes the first K features is the Linear of the identity's first K
rows; CLL's plain one and normalised rows are others.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

HIDDEN_CHANNELS = 5  # of W in a convolutional block
POOL = 4


@dataclass(frozen=True)
class ConvexPotentialNet:
    """`depth` convolutional blocks on `width` channels, a pool, then `dense_depth` blocks with `hidden` features."""

    method: Literal["cpl", "sll"]
    depth: int
    width: int
    dense_depth: int
    hidden: int
    input_size: int = 32
    channels: int = 3
    classes: int = 10

    def __post_init__(self) -> None:
        if self.method not in ("cpl", "sll"):
            raise ValueError(f"method is 'cpl' or 'sll', got {self.method!r}")
        if self.input_size % POOL:
            raise ValueError(f"the pool needs a multiple of {POOL} pixels, got {self.input_size}")
        if self.width < self.channels:
            raise ValueError(f"width {self.width} is below the {self.channels} channels of the input")

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (self.channels, self.input_size, self.input_size)

    def network(self) -> nn.Sequential:
        """The untrained network on [N, channels, input_size, input_size]; `head` is its last child."""
        from torch import nn

        from zoo.layers import ConvexPotential, PadChannels, PatchPool, Pixels

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["pixels"] = Pixels(mean=[0.5] * self.channels, scale=[1.0] * self.channels)
        layers["pad"] = PadChannels(self.width)
        for number in range(1, self.depth + 1):
            layers[f"block{number}"] = ConvexPotential(self.width, HIDDEN_CHANNELS, kernel=3)
        layers["pool"] = PatchPool(POOL)
        layers["flatten"] = nn.Flatten()
        features = self.width * (self.input_size // POOL) ** 2
        for number in range(1, self.dense_depth + 1):
            layers[f"dense{number}"] = ConvexPotential(features, self.hidden)
        layers["head"] = nn.Linear(features, self.classes)
        return nn.Sequential(layers)
