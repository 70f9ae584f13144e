"""The small plain networks that the field calls xCyF: x convolutions, then y dense layers.

Names collide in the literature (`6c2f` of Lee, Leino and CLL is not CRM's); the layer tables here are those
of the sources named beside them. Stride and padding are written kernel/stride/padding.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from zoo.architectures.preset import Preset, Reported, SquareImages
from zoo.citations import GLORO
from zoo.lowering.sizes import output_side

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
    # The sources of 6c2f, on Tiny-ImageNet; 64 px give 9216 inputs to the first dense layer.
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
class ConvNet(SquareImages):
    """An xCyF network by the name of its plan, with ReLU or MinMax between its layers."""

    citation: ClassVar[str] = (
        "Wong, Schmidt, Metzen, Kolter 2018, Scaling provable adversarial defenses, arXiv 1805.12514; Lee, Lee, Park "
        f"2020, Lipschitz-certifiable training with a tight outer bound; and {GLORO}"
    )

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

    def map_sizes(self) -> list[int]:
        """The side of the map after each convolution."""
        sizes = [self.input_size]
        for _, kernel, stride, padding in PLANS[self.plan][0]:
            sizes.append(output_side(sizes[-1], kernel, stride, padding))
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


NETWORKS = {
    "2c2f": ConvNet("2c2f"),
    "4c3f": ConvNet("4c3f"),
    "4c3f-cll": ConvNet("4c3f-cll"),
    "6c2f": ConvNet("6c2f"),
    "8c2f": ConvNet("8c2f"),
    "8c2f-w8": ConvNet("8c2f-w8"),
    "2c2f-relu": ConvNet("2c2f", "relu"),
    "4c3f-relu": ConvNet("4c3f", "relu"),
    "6c2f-relu": ConvNet("6c2f", "relu"),
    "8c2f-relu": ConvNet("8c2f", "relu"),
    "8c2f-w8-relu": ConvNet("8c2f-w8", "relu"),
    # CRM's own, with ReLU: its bound gains nothing from MinMax.
    "6c2f-liplt": ConvNet("6c2f-liplt", "relu"),
    "8c2f-liplt": ConvNet("8c2f-liplt", "relu"),
    # In l-infinity, as the distance nets' tables have them.
    "2c2f-relu-linf": ConvNet("2c2f", "relu"),
    "4c3f-relu-linf": ConvNet("4c3f", "relu"),
}
PRESETS = {
    "2c2f-mnist": Preset("2c2f", "mnist"),
    "2c2f-cll-mnist": Preset("2c2f", "mnist"),
    "2c2f-fashion-mnist": Preset("2c2f", "fashion-mnist"),
    "4c3f-mnist": Preset("4c3f", "mnist"),
    "4c3f-fashion-mnist": Preset("4c3f", "fashion-mnist"),
    "4c3f-cifar10": Preset("4c3f", "cifar10"),
    "4c3f-cifar10-jpeg75": Preset("4c3f", "cifar10-jpeg75"),
    "4c3f-cifar100": Preset("4c3f", "cifar100"),
    "4c3f-cll-cifar10": Preset("4c3f-cll", "cifar10", Reported(77.6, 61.4, "36/255", "Losch et al. 2023, table 2")),
    "4c3f-cll-p0.01-cifar10": Preset("4c3f-cll", "cifar10"),
    "4c3f-cll-p0.05-cifar10": Preset("4c3f-cll", "cifar10"),
    "4c3f-cll-p0.1-cifar10": Preset("4c3f-cll", "cifar10"),
    "4c3f-cll-p0.2-cifar10": Preset("4c3f-cll", "cifar10"),
    "4c3f-cll-p0.3-cifar10": Preset("4c3f-cll", "cifar10"),
    "4c3f-cll-p0.4-cifar10": Preset(
        "4c3f-cll", "cifar10", Reported(None, 61.9, "36/255", "Losch et al. 2023, section 4.3")
    ),
    "4c3f-cll-p0.5-cifar10": Preset("4c3f-cll", "cifar10"),
    "4c3f-cll-p0.6-cifar10": Preset("4c3f-cll", "cifar10"),
    "4c3f-cll-p0.7-cifar10": Preset("4c3f-cll", "cifar10"),
    "4c3f-cll-p0.8-cifar10": Preset("4c3f-cll", "cifar10"),
    "4c3f-cll-epsilon0.25-cifar10": Preset("4c3f-cll", "cifar10"),
    "4c3f-cll-epsilon0.5-cifar10": Preset("4c3f-cll", "cifar10"),
    "4c3f-cll-epsilon0.75-cifar10": Preset("4c3f-cll", "cifar10"),
    "4c3f-cll-epsilon1.0-cifar10": Preset("4c3f-cll", "cifar10"),
    "4c3f-cll-epsilon1.25-cifar10": Preset("4c3f-cll", "cifar10"),
    "4c3f-cll-cifar10-jpeg75": Preset("4c3f-cll", "cifar10-jpeg75"),
    "4c3f-cll-cifar100": Preset("4c3f-cll", "cifar100"),
    "6c2f-cifar10": Preset("6c2f", "cifar10"),
    "6c2f-cll-cifar10": Preset("6c2f", "cifar10", Reported(77.6, 61.3, "36/255", "Losch et al. 2023, table 2")),
    "6c2f-cifar10-jpeg75": Preset("6c2f", "cifar10-jpeg75"),
    "6c2f-cll-cifar10-jpeg75": Preset("6c2f", "cifar10-jpeg75"),
    "6c2f-cifar100": Preset("6c2f", "cifar100"),
    "8c2f-tiny-imagenet": Preset("8c2f", "tiny-imagenet"),
    "8c2f-cll-tiny-imagenet": Preset(
        "8c2f", "tiny-imagenet", Reported(39.8, 25.9, "36/255", "Losch et al. 2023, table 1")
    ),
    "8c2f-cll-epsilon1.0-tiny-imagenet": Preset(
        "8c2f", "tiny-imagenet", Reported(33.5, 25.3, "36/255", "Losch et al. 2023, table 1")
    ),
    "8c2f-w8-tiny-imagenet": Preset("8c2f-w8", "tiny-imagenet"),
    "8c2f-w8-cll-tiny-imagenet": Preset("8c2f-w8", "tiny-imagenet"),
    "2c2f-relu-mnist": Preset(
        "2c2f-relu",
        "mnist",
        Reported(None, 95.7, "0.3", "README of klasleino/gloro, which does not say the activation"),
    ),
    "2c2f-relu-crm-mnist": Preset("2c2f-relu", "mnist"),
    "4c3f-relu-mnist": Preset(
        "4c3f-relu",
        "mnist",
        Reported(
            None,
            62.8,
            "1.58",
            "README of klasleino/gloro, which does not say the activation; "
            "92.9 clean, 50.1 VRA in Fazlyab et al. 2023, table 1",
        ),
    ),
    "4c3f-relu-crm-cosine-mnist": Preset("4c3f-relu", "mnist"),
    "4c3f-relu-crm-mnist": Preset("4c3f-relu", "mnist", Reported(96.27, 63.37, "1.58", "Fazlyab et al. 2023, table 1")),
    "4c3f-relu-cifar10": Preset("4c3f-relu", "cifar10"),
    "4c3f-relu-cifar10-jpeg75": Preset("4c3f-relu", "cifar10-jpeg75"),
    "4c3f-relu-cifar100": Preset("4c3f-relu", "cifar100"),
    "6c2f-relu-cifar10": Preset(
        "6c2f-relu",
        "cifar10",
        Reported(77.0, 60.0, "36/255", "Hu et al. 2023, table 1; 58.4 in Losch et al. 2023, table 2"),
    ),
    "6c2f-relu-cifar10-jpeg75": Preset("6c2f-relu", "cifar10-jpeg75"),
    "6c2f-relu-cifar100": Preset("6c2f-relu", "cifar100"),
    "8c2f-relu-tiny-imagenet": Preset(
        "8c2f-relu", "tiny-imagenet", Reported(35.5, 22.4, "36/255", "Hu et al. 2023, table 1")
    ),
    "8c2f-w8-relu-tiny-imagenet": Preset("8c2f-w8-relu", "tiny-imagenet"),
    "6c2f-liplt-cifar10": Preset("6c2f-liplt", "cifar10"),
    "6c2f-liplt-epsilon18-cifar10": Preset(
        "6c2f-liplt",
        "cifar10",
        Reported(
            74.82,
            64.16,
            "18/255",
            "Fazlyab et al. 2023, table 1: 36/255 of pixels that span [-1, 1], by their public code",
        ),
    ),
    "6c2f-liplt-cifar10-jpeg75": Preset("6c2f-liplt", "cifar10-jpeg75"),
    "6c2f-liplt-cifar100": Preset("6c2f-liplt", "cifar100"),
    "8c2f-liplt-tiny-imagenet": Preset(
        "8c2f-liplt", "tiny-imagenet", Reported(23.97, 17.98, "36/255", "Fazlyab et al. 2023, table 1")
    ),
    "2c2f-relu-linf-mnist": Preset("2c2f-relu-linf", "mnist", norm="linf"),
    "2c2f-relu-linf-ibp-mnist": Preset("2c2f-relu-linf", "mnist", norm="linf"),
    "2c2f-relu-linf-crownibp-mnist": Preset("2c2f-relu-linf", "mnist", norm="linf"),
    "4c3f-relu-linf-mnist": Preset("4c3f-relu-linf", "mnist", norm="linf"),
    "4c3f-relu-linf-cifar10": Preset("4c3f-relu-linf", "cifar10", norm="linf"),
    "4c3f-relu-linf-cifar10-jpeg75": Preset("4c3f-relu-linf", "cifar10-jpeg75", norm="linf"),
    "4c3f-relu-linf-cifar100": Preset("4c3f-relu-linf", "cifar100", norm="linf"),
}
