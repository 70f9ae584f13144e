"""Architectures: frozen sizes whose `network()` is an `nn.Sequential` of plain layers, the last named `head`.

Each other file of this package but `preset` and `layers` is a family, and the one address of its classes: a dataclass
of its sizes with the `citation` of its paper, then two tables by name, its NETWORKS and its models, PRESETS. A new file
is found by itself. `layers` is for networks that belong to no family. Importing this package loads no torch;
`network()` does.
"""

from dataclasses import asdict, fields
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, NamedTuple

from zoo.architectures.layers import MAX_CLASSES, Layers
from zoo.architectures.preset import Architecture, Preset, Reported
from zoo.errors import CertificateError, near, one_line

__all__ = [
    "FAMILIES",
    "NETWORKS",
    "PRESETS",
    "Architecture",
    "LayerShape",
    "Preset",
    "Reported",
    "describe",
    "from_description",
    "layer_shapes",
]

# The largest sizes that a description, which comes from outside, may ask for. Classes and depths have lower limits: the
# certificate has a constant for each pair of classes, and each layer takes time to make even without its weights.
MAX_SIZE = 1_000_000
LIMITS = {"classes": MAX_CLASSES, "depth": 1_000, "dense_depth": 1_000}

_FILES = [
    import_module(f"{__name__}.{file.name}") for file in iter_modules(__path__) if file.name not in ("preset", "layers")
]
NETWORKS: dict[str, Architecture] = {name: network for file in _FILES for name, network in file.NETWORKS.items()}
PRESETS: dict[str, Preset] = {name: preset for file in _FILES for name, preset in file.PRESETS.items()}
FAMILIES: dict[str, type[Architecture]] = {type(network).__name__: type(network) for network in NETWORKS.values()}


class LayerShape(NamedTuple):
    """A layer of an architecture, without its weights; shapes without the batch."""

    name: str
    kind: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    parameters: int


def layer_shapes(architecture: Architecture) -> list[LayerShape]:
    """The layers of the network in order, found on the device "meta", which takes no memory. Needs torch."""
    import torch

    rows = []
    with torch.device("meta"):
        network, x = architecture.network(), torch.empty(1, *architecture.input_shape)
        for name, layer in network.named_children():
            before, x = tuple(x.shape[1:]), layer(x)
            parameters = sum(weight.numel() for weight in layer.parameters())
            rows.append(LayerShape(name, type(layer).__name__, before, tuple(x.shape[1:]), parameters))
    return rows


def describe(architecture: Architecture) -> dict[str, Any]:
    """The JSON form of an architecture: its family and its sizes."""
    return {"family": type(architecture).__name__, **asdict(architecture)}


def from_description(description: dict[str, Any]) -> Architecture:
    """The architecture that `describe` describes so. Raises CertificateError for anything else."""
    sizes = dict(description)
    family = str(sizes.pop("family", None))
    kinds = {**FAMILIES, "Layers": Layers}
    if family not in kinds:
        like = near(family, kinds) or sorted(kinds)[:3]
        raise CertificateError(
            f"unknown architecture family {family[:40]!r}, none of the {len(kinds)} that this version knows, "
            f"such as {', '.join(like)}: a newer version of certified-zoo may know it"
        )
    numbers = {field.name for field in fields(kinds[family]) if field.type in ("int", int)}
    for name, size in sizes.items():
        most = LIMITS.get(name, MAX_SIZE)
        if name in numbers and (type(size) is not int or not 0 < size <= most):
            raise CertificateError(
                f"not a {family}: {name} must be a whole number from 1 to {most:,}, got {repr(size)[:40]}"
            )
    try:
        return kinds[family](**sizes)
    except (TypeError, ValueError) as error:
        raise CertificateError(f"not a {family}: {one_line(error)}") from error
