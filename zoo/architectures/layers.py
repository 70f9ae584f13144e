"""Networks described by their list of layers in JSON, so that nobody needs their author's code.

Each layer is an object with its `name` in the network, its `type`, and the arguments of its class, which its row of
`zoo.bounds.table` lists; an argument may hold further layers. Reading such a list calls only classes of that table.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from zoo.errors import InputError

if TYPE_CHECKING:
    from torch import nn

NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
MAX_LAYERS = 2_000  # including those inside other layers
MAX_DEPTH = 8  # of layers inside layers
MAX_CLASSES = 10_000  # the certificate has a constant for each pair
MAX_NUMBERS = 2**26  # numbers of an image
MAX_VALUES = 2**30  # numbers that all layers make of one image
MAX_PARAMETERS = 2**34


@dataclass(frozen=True)
class Layers:
    """The list of a network's layers, the last of which is a Linear.

    Raises ValueError where the list is too long or too deep, a layer lacks a name of its own or a type, or an image is
    too large. `network()` raises CertificateError where a layer's type has no row, or its arguments make no layer.
    """

    input_shape: tuple[int, int, int]
    layers: Sequence[dict[str, Any]]

    citation: ClassVar[str] = ""

    def __post_init__(self) -> None:
        shape = self.input_shape
        if not (isinstance(shape, list | tuple) and len(shape) == 3 and all(_is_size(side) for side in shape)):
            raise ValueError(f"input_shape must be three whole numbers from 1, got {repr(shape)[:40]}")
        if math.prod(shape) > MAX_NUMBERS:
            raise ValueError(f"an image has at most {MAX_NUMBERS:,} numbers, input_shape is {list(shape)}")
        object.__setattr__(self, "input_shape", tuple(shape))
        if not isinstance(self.layers, list | tuple):
            raise ValueError(f"layers must be a list, got {repr(self.layers)[:40]}")
        if sum(1 for _ in _each(self.layers, 1)) > MAX_LAYERS:
            raise ValueError(f"more than {MAX_LAYERS:,} layers")
        head = self.layers[-1] if self.layers else {}
        if head.get("type") != "Linear" or not _is_size(head.get("out_features"), MAX_CLASSES):
            raise ValueError(f"the last layer must be a Linear of at most {MAX_CLASSES:,} out_features")

    @property
    def classes(self) -> int:
        return self.layers[-1]["out_features"]

    def network(self) -> nn.Sequential:
        """The untrained network on [N, *input_shape]."""
        import torch

        from zoo.bounds.written import check_sizes, make_network

        with torch.device("meta"):
            check_sizes(make_network(self.layers), self.input_shape, MAX_PARAMETERS, MAX_VALUES)
        return make_network(self.layers)


def layers_of(network: nn.Sequential, input_shape: Sequence[int]) -> Layers:
    """The list of the network's layers. Raises UncertifiableLayerError for a type without a row, InputError."""
    from zoo.bounds.written import write_layers

    try:
        return Layers(tuple(input_shape), write_layers(network))  # type: ignore[arg-type]
    except ValueError as error:
        raise InputError(f"the network cannot be written down: {error}") from error


def _is_size(value: object, most: int = MAX_NUMBERS) -> bool:
    return type(value) is int and 1 <= value <= most


def _each(layers: Sequence[Any], depth: int) -> Iterator[dict[str, Any]]:
    """Every layer, also those inside others. Raises ValueError for an entry that is no layer."""
    if depth > MAX_DEPTH:
        raise ValueError(f"layers inside layers are more than {MAX_DEPTH} deep")
    names: set[str] = set()
    for layer in layers:
        if not (isinstance(layer, dict) and all(isinstance(layer.get(key), str) for key in ("name", "type"))):
            raise ValueError(f"a layer must be an object with a name and a type, got {repr(layer)[:40]}")
        name = layer["name"]
        if not NAME.fullmatch(name) or name in names:
            raise ValueError(f"a layer's name must be of letters, digits and _, and its own, got {name[:40]!r}")
        names.add(name)
        yield layer
        for value in layer.values():
            inner = [value] if isinstance(value, dict) else value
            if isinstance(inner, list | tuple) and any(isinstance(one, dict | list) for one in inner):
                yield from _each(inner, depth + 1)
