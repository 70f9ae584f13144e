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
from typing import TYPE_CHECKING, ClassVar, Literal

from zoo.architectures.preset import Preset, Reported, SquareImages
from zoo.citations import CPL, SLL

if TYPE_CHECKING:
    from torch import nn

HIDDEN_CHANNELS = 5  # of W in a convolutional block
POOL = 4


@dataclass(frozen=True)
class ConvexPotentialNet(SquareImages):
    """`depth` convolutional blocks on `width` channels, a pool, then `dense_depth` blocks with `hidden` features."""

    citation: ClassVar[str] = f"{CPL}, and {SLL}"

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


NETWORKS = {
    "cpl-s": ConvexPotentialNet("cpl", 20, 45, 7, 2048),
    "cpl-m": ConvexPotentialNet("cpl", 30, 60, 10, 2048),
    "cpl-l": ConvexPotentialNet("cpl", 50, 90, 10, 2048),
    "cpl-xl": ConvexPotentialNet("cpl", 70, 120, 15, 2048),
    # The smallest ones are ours, for two CPU cores.
    "cpl-xs": ConvexPotentialNet("cpl", 4, 16, 2, 128),
    "sll-s": ConvexPotentialNet("sll", 20, 45, 7, 2048),
    "sll-m": ConvexPotentialNet("sll", 30, 60, 10, 2048),
    "sll-l": ConvexPotentialNet("sll", 50, 90, 10, 2048),
    "sll-xl": ConvexPotentialNet("sll", 70, 120, 15, 2048),
    "sll-xs": ConvexPotentialNet("sll", 4, 16, 2, 128),
}
PRESETS = {
    "cpl-s-cifar10": Preset("cpl-s", "cifar10"),
    "cpl-s-cifar10-jpeg75": Preset("cpl-s", "cifar10-jpeg75"),
    "cpl-s-cifar100": Preset("cpl-s", "cifar100"),
    "cpl-s-tiny-imagenet": Preset("cpl-s", "tiny-imagenet"),
    "cpl-m-cifar10": Preset("cpl-m", "cifar10"),
    "cpl-m-cifar10-jpeg75": Preset("cpl-m", "cifar10-jpeg75"),
    "cpl-m-cifar100": Preset("cpl-m", "cifar100"),
    "cpl-m-tiny-imagenet": Preset("cpl-m", "tiny-imagenet"),
    "cpl-l-cifar10": Preset("cpl-l", "cifar10"),
    "cpl-l-cifar10-jpeg75": Preset("cpl-l", "cifar10-jpeg75"),
    "cpl-l-cifar100": Preset("cpl-l", "cifar100"),
    "cpl-l-tiny-imagenet": Preset("cpl-l", "tiny-imagenet"),
    "cpl-xl-cifar10": Preset("cpl-xl", "cifar10", Reported(78.5, 64.4, "36/255", "Hu et al. 2023, table 1")),
    "cpl-xl-cll-cifar10": Preset("cpl-xl", "cifar10", Reported(78.8, 65.9, "36/255", "Losch et al. 2023, table 2")),
    "cpl-xl-cifar10-jpeg75": Preset("cpl-xl", "cifar10-jpeg75"),
    "cpl-xl-cifar100": Preset("cpl-xl", "cifar100", Reported(47.8, 33.4, "36/255", "Losch et al. 2023, table 2")),
    "cpl-xl-cll-cifar100": Preset("cpl-xl", "cifar100", Reported(47.9, 36.3, "36/255", "Losch et al. 2023, table 2")),
    "cpl-xl-tiny-imagenet": Preset("cpl-xl", "tiny-imagenet"),
    "cpl-xs-cifar10": Preset("cpl-xs", "cifar10"),
    "cpl-xs-cifar10-jpeg75": Preset("cpl-xs", "cifar10-jpeg75"),
    "cpl-xs-cll-cifar10-jpeg75": Preset("cpl-xs", "cifar10-jpeg75"),
    "cpl-xs-cifar100": Preset("cpl-xs", "cifar100"),
    "cpl-xs-tiny-imagenet": Preset("cpl-xs", "tiny-imagenet"),
    "sll-s-cifar10": Preset("sll-s", "cifar10", Reported(71.2, 62.6, "36/255", "Fazlyab et al. 2023, table 1")),
    "sll-s-cifar10-jpeg75": Preset("sll-s", "cifar10-jpeg75"),
    "sll-s-cifar100": Preset("sll-s", "cifar100"),
    "sll-s-tiny-imagenet": Preset(
        "sll-s", "tiny-imagenet", Reported(26.6, 19.5, "36/255", "Fazlyab et al. 2023, table 1")
    ),
    "sll-m-cifar10": Preset("sll-m", "cifar10"),
    "sll-m-cifar10-jpeg75": Preset("sll-m", "cifar10-jpeg75"),
    "sll-m-cifar100": Preset("sll-m", "cifar100"),
    "sll-m-tiny-imagenet": Preset("sll-m", "tiny-imagenet"),
    "sll-l-cifar10": Preset("sll-l", "cifar10"),
    "sll-l-cifar10-jpeg75": Preset("sll-l", "cifar10-jpeg75"),
    "sll-l-cifar100": Preset("sll-l", "cifar100"),
    "sll-l-tiny-imagenet": Preset("sll-l", "tiny-imagenet"),
    "sll-xl-cifar10": Preset("sll-xl", "cifar10", Reported(73.3, 65.8, "36/255", "Hu et al. 2023, table 1")),
    "sll-xl-cifar10-jpeg75": Preset("sll-xl", "cifar10-jpeg75"),
    "sll-xl-cifar100": Preset("sll-xl", "cifar100", Reported(46.5, 36.5, "36/255", "Hu et al. 2023, table 1")),
    "sll-xl-cll-cifar100": Preset("sll-xl", "cifar100", Reported(46.9, 36.6, "36/255", "Losch et al. 2023, table 2")),
    "sll-xl-tiny-imagenet": Preset(
        "sll-xl", "tiny-imagenet", Reported(32.1, 23.2, "36/255", "Hu et al. 2023, table 1")
    ),
    "sll-xs-cifar10": Preset("sll-xs", "cifar10"),
    "sll-xs-cifar10-jpeg75": Preset("sll-xs", "cifar10-jpeg75"),
    "sll-xs-cll-cifar10-jpeg75": Preset("sll-xs", "cifar10-jpeg75"),
    "sll-xs-cifar100": Preset("sll-xs", "cifar100"),
    "sll-xs-tiny-imagenet": Preset("sll-xs", "tiny-imagenet"),
}
