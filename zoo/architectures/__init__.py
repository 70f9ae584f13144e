"""Architectures: frozen sizes whose `network()` is an `nn.Sequential` of plain layers, the last named `head`.

Importing this package loads no torch; `network()` does.
"""

from dataclasses import asdict, fields
from typing import Any

from zoo.architectures.convnet import ConvNet
from zoo.architectures.lipconvnet import LipConvNet
from zoo.architectures.liresnet import LiResNet, PlainConvNet, ResNet
from zoo.architectures.loop import LoopResNet
from zoo.architectures.mlp import TwoMoonsMLP
from zoo.architectures.potential import ConvexPotentialNet
from zoo.architectures.transformer import SpatialMLP
from zoo.errors import CertificateError, one_line

Architecture = (
    ConvNet | LiResNet | PlainConvNet | ResNet | ConvexPotentialNet | LipConvNet | SpatialMLP | LoopResNet | TwoMoonsMLP
)

MAX_SIZE = 1_000_000  # of any one size in a description: files from outside must not ask for more

FAMILIES: dict[str, type[Architecture]] = {
    family.__name__: family
    for family in (
        ConvNet,
        LiResNet,
        PlainConvNet,
        ResNet,
        ConvexPotentialNet,
        LipConvNet,
        SpatialMLP,
        LoopResNet,
        TwoMoonsMLP,
    )
}


def describe(architecture: Architecture) -> dict[str, Any]:
    """The JSON form of an architecture: its family and its sizes."""
    return {"family": type(architecture).__name__, **asdict(architecture)}


def from_description(description: dict[str, Any]) -> Architecture:
    """The architecture that `describe` wrote down. Raises CertificateError for anything else."""
    sizes = dict(description)
    family = str(sizes.pop("family", None))
    if family not in FAMILIES:
        raise CertificateError(f"unknown architecture family {family!r}, expected one of {', '.join(FAMILIES)}")
    numbers = {field.name for field in fields(FAMILIES[family]) if field.type in ("int", int)}
    for name, size in sizes.items():
        if name in numbers and (type(size) is not int or not 0 < size <= MAX_SIZE):
            raise CertificateError(
                f"not a {family}: {name} must be a whole number from 1 to {MAX_SIZE}, got {repr(size)[:40]}"
            )
    try:
        return FAMILIES[family](**sizes)
    except (TypeError, ValueError) as error:
        raise CertificateError(f"not a {family}: {one_line(error)}") from error
