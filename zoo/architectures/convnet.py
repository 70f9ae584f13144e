"""The small plain networks that the field calls xCyF: x convolutions, then y dense layers.

Names collide in the literature (`6c2f` of Lee, Leino and CLL is not CRM's); the layer tables here are those
of the sources named beside them. Stride and padding are written kernel/stride/padding.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

# (channels out, kernel, stride, padding) of each convolution, then the widths of the hidden dense layers.
PLANS: dict[str, tuple[tuple[tuple[int, int, int, int], ...], tuple[int, ...]]] = {
    # KW-Small. Wong & Kolter 2018; GloRo (Leino et al. 2021) on MNIST at epsilon 0.3.
    "2c2f": (((16, 4, 2, 1), (32, 4, 2, 1)), (100,)),
    # KW-Large. Wong et al. 2018; GloRo and CRM (Fazlyab et al. 2023) on MNIST, BCOP and Cayley on CIFAR-10.
    "4c3f": (((32, 3, 1, 1), (32, 4, 2, 1), (64, 3, 1, 1), (64, 4, 2, 1)), (512, 512)),
    # CLL's on CIFAR-10: kernels of 3 also where the stride is 2.
    "4c3f-cll": (((32, 3, 1, 1), (32, 3, 2, 1), (64, 3, 1, 1), (64, 3, 2, 1)), (512, 512)),
    # Lee et al. 2020; Leino et al. 2021; CLL (Losch et al. 2023) on CIFAR-10.
    "6c2f": (((32, 3, 1, 1), (32, 3, 1, 1), (32, 4, 2, 1), (64, 3, 1, 1), (64, 3, 1, 1), (64, 4, 2, 1)), (512,)),
    # CRM on CIFAR-10 (Fazlyab et al. 2023, the LipLT code): another order of strides, 1024 inputs to the dense layer.
    "6c2f-liplt": (((32, 3, 1, 1), (32, 4, 2, 1), (64, 3, 1, 1), (64, 4, 2, 1), (64, 3, 1, 1), (64, 4, 2, 1)), (512,)),
    # The same sources on Tiny-ImageNet; 64 px give 9216 inputs to the first dense layer.
    "8c2f": (
        (
            (64, 3, 1, 1),
            (64, 3, 1, 1),
            (64, 4, 2, 0),
            (128, 3, 1, 1),
            (128, 3, 1, 1),
            (128, 4, 2, 0),
            (256, 3, 1, 1),
            (256, 4, 2, 0),
        ),
        (256,),
    ),
    # The same with an eighth of the channels, for two CPU cores: ours.
    "8c2f-w8": (
        (
            (8, 3, 1, 1),
            (8, 3, 1, 1),
            (8, 4, 2, 0),
            (16, 3, 1, 1),
            (16, 3, 1, 1),
            (16, 4, 2, 0),
            (32, 3, 1, 1),
            (32, 4, 2, 0),
        ),
        (256,),
    ),
    # CRM on Tiny-ImageNet: no padding in the second convolution, the same 9216 inputs.
    "8c2f-liplt": (
        (
            (64, 3, 1, 1),
            (64, 3, 1, 0),
            (64, 4, 2, 0),
            (128, 3, 1, 1),
            (128, 3, 1, 1),
            (128, 4, 2, 0),
            (256, 3, 1, 1),
            (256, 4, 2, 0),
        ),
        (256,),
    ),
}


@dataclass(frozen=True)
class ConvNet:
    """An xCyF network by the name of its plan, with ReLU or MinMax between its layers."""

    plan: str
    activation: Literal["relu", "minmax"] = "minmax"
    input_size: int = 32
    channels: int = 3
    classes: int = 10

    def __post_init__(self) -> None:
        if self.plan not in PLANS:
            raise ValueError(f"ConvNet has the plans {', '.join(PLANS)}, got {self.plan!r}")
        if self.activation not in ("relu", "minmax"):
            raise ValueError(f"activation is 'relu' or 'minmax', got {self.activation!r}")
        if self.map_sizes()[-1] < 1:
            raise ValueError(f"{self.plan} needs larger images than {self.input_size} pixels")

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (self.channels, self.input_size, self.input_size)

    def map_sizes(self) -> list[int]:
        """The side of the map after each convolution."""
        sizes = [self.input_size]
        for _, kernel, stride, padding in PLANS[self.plan][0]:
            sizes.append((sizes[-1] + 2 * padding - kernel) // stride + 1)
        return sizes[1:]

    def network(self) -> nn.Sequential:
        """The untrained network on [N, channels, input_size, input_size]; `head` is its last child."""
        from torch import nn

        from zoo.layers import MinMax, Pixels

        convolutions, hidden = PLANS[self.plan]
        activation = nn.ReLU if self.activation == "relu" else lambda: MinMax("neighbours")
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["pixels"] = Pixels(mean=[0.0] * self.channels, scale=[1.0] * self.channels)
        width = self.channels
        for number, (out, kernel, stride, padding) in enumerate(convolutions, start=1):
            layers[f"conv{number}"] = nn.Conv2d(width, out, kernel, stride, padding)
            layers[f"conv{number}_activation"] = activation()
            width = out
        layers["flatten"] = nn.Flatten()
        width *= self.map_sizes()[-1] ** 2
        for number, out in enumerate(hidden, start=1):
            layers[f"dense{number}"] = nn.Linear(width, out)
            layers[f"dense{number}_activation"] = activation()
            width = out
        layers["head"] = nn.Linear(width, self.classes)
        return nn.Sequential(layers)
