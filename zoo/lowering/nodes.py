"""ONNX nodes whose names follow from their order alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper
from torch import nn

from zoo.errors import UncertifiableLayerError
from zoo.layers import MinMax
from zoo.lowering.values import Ends, Places, Value, natural


class Lowered(Protocol):
    """What a layer's row in `zoo.bounds.table` holds for a graph."""

    @property
    def lowering(self) -> Callable[..., Value]: ...
    @property
    def ends(self) -> Callable[..., tuple[Value, Value]] | None: ...


class Nodes:
    """The nodes and constants of a graph that computes in float64 or float32, in the order in which they were added."""

    def __init__(
        self,
        precision: str,
        stored: Mapping[str, TensorProto],
        rows: Mapping[type[nn.Module], Lowered],
        norm: str = "l2",
    ):
        self.precision = precision
        self.norm = norm
        self.paired = False  # whether the layer after the one being lowered is a MinMax of neighbours
        self._rows = rows
        self.data_type = {"float64": TensorProto.DOUBLE, "float32": TensorProto.FLOAT}[precision]
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self._stored = stored
        self._cast: dict[str, str] = {}
        self._constants: dict[tuple[str, str, tuple[int, ...], bytes], str] = {}
        self._once: dict[Any, str] = {}
        self._scope = ""

    def once(self, key: Any, make: Callable[[], str]) -> str:
        """The name of the tensor that `make` adds when the key comes for the first time."""
        if key not in self._once:
            self._once[key] = make()
        return self._once[key]

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Names of what is added inside begin with the layer's."""
        before, self._scope = self._scope, f"{self._scope}{name}."
        try:
            yield
        finally:
            self._scope = before

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output; the name of that."""
        return self.add_many(operator, *inputs, outputs=[output] if output else 1, **attributes)[0]

    def add_many(self, operator: str, *inputs: str, outputs: Sequence[str] | int, **attributes: Any) -> list[str]:
        """Add a node with outputs of these names, or with this number of outputs; their names."""
        name = f"{self._scope}{operator}_{len(self.nodes)}"
        if isinstance(outputs, int):
            outputs = [name] if outputs == 1 else [f"{name}_{index}" for index in range(outputs)]
        made = [_attribute(key, value) for key, value in sorted(attributes.items())]
        self.nodes.append(NodeProto(op_type=operator, name=name, input=inputs, output=outputs, attribute=made))
        return list(outputs)

    def constant(self, array: NDArray[Any], name: str = "") -> str:
        """The name of an array that the graph itself holds. Equal arrays without a name are stored once."""
        array = np.asarray(array, order="C")
        key = (name, str(array.dtype), array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = name or f"constant_{len(self._constants)}"
            # `numpy_helper` writes little endian on every machine.
            self.initializers[self._constants[key]] = numpy_helper.from_array(array, self._constants[key])
        return self._constants[key]

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, dtype=np.int64))

    def numbers(self, values: Any) -> str:
        """A constant in the graph's precision."""
        return self.constant(np.asarray(values, dtype=self.precision))

    def weight(self, name: str) -> str:
        """The stored float32 tensor of this name in the state dict, in the graph's precision."""
        if name not in self._cast:
            self.initializers[name] = self._stored[name]
            self._cast[name] = name
            if self.precision == "float64":
                self._cast[name] = self.add("Cast", name, output=f"{name}.float64", to=self.data_type)
        return self._cast[name]

    def bias(self, layer: nn.Module, name: str) -> str | None:
        """The bias of the layer of this name, as `weight`; None where it has none."""
        return None if layer.bias is None else self.weight(f"{name}.bias")

    def cast(self, x: str) -> str:
        """A float32 tensor in the graph's precision."""
        return x if self.precision == "float32" else self.add("Cast", x, to=self.data_type)

    def through(self, layers: Iterable[tuple[str, nn.Module | None]], x: Value) -> Value:
        """The output of these layers, one after the other. Their names are those of their weights in the state dict.

        Raises UncertifiableLayerError for a type without a row.
        """
        for (name, layer), (_, following) in pairwise([*layers, ("", None)]):
            row = self._row(name, layer)
            self.paired = type(following) is MinMax and following.pairing == "neighbours"
            with self.scope(name.split(".")[-1]):
                x = row.lowering(self, layer, name, x)
        return x

    def ends_through(self, layers: Iterable[tuple[str, nn.Module | None]], lower: Value, upper: Value) -> Ends:
        """The least and largest outputs of these layers, from those of their input."""
        self.paired = False
        for name, layer in layers:
            row = self._row(name, layer)
            assert row.ends is not None
            with self.scope(f"{name.split('.')[-1]}.ends"):
                lower, upper = row.ends(self, layer, name, lower, upper)
        return lower, upper

    def lowering(self, layer: nn.Module, name: str, x: Value) -> Value:
        """The output of one layer."""
        return self._row(name, layer).lowering(self, layer, name, x)

    def _row(self, name: str, layer: nn.Module | None) -> Lowered:
        row = self._rows.get(type(layer))  # type: ignore[arg-type]
        if row is None:
            raise UncertifiableLayerError(f"layer {name!r}: {type(layer).__name__} has no lowering")
        return row

    # Tensors ---------------------------------------------------------------------------------------------------------

    def reshape(self, x: str, *shape: int) -> str:
        return self.add("Reshape", x, self.ints(*shape))

    def transpose(self, x: str, *order: int) -> str:
        return self.add("Transpose", x, perm=order)

    def gather(self, x: str, places: Places) -> str:
        """The pixels at these places of a tensor [pixels, N, channels], in this order."""
        return self.add("Gather", x, self.constant(np.asarray(places, dtype=np.int32)), axis=0)

    # Maps and vectors ------------------------------------------------------------------------------------------------

    def pixels(self, x: Value) -> Value:
        """The map as [pixels, N, channels]."""
        if x.places is not None:
            return x
        channels, rows, columns = x.shape
        name = self.reshape(self.transpose(x.name, 2, 3, 0, 1), rows * columns, -1, channels)
        return Value(name, x.shape, natural(rows, columns), rows * columns)

    def ordered(self, x: Value) -> Value:
        """The map as [pixels, N, channels] with the pixels row by row, and no others; channels in their own order."""
        x = self.own_channels(self.pixels(x))
        assert x.places is not None
        rows = natural(*x.places.shape)
        if x.pixels == rows.size and (x.places == rows).all():
            return x
        return replace(x, name=self.gather(x.name, x.places.ravel()), places=rows, pixels=rows.size)

    def planes(self, x: Value) -> Value:
        """The map as [N, channels, rows, columns], with channels in their own order; a vector as it is."""
        if x.places is None:
            return x
        order, x = x.order, self.ordered(replace(x, order=None))
        name = self.transpose(x.name, 1, 2, 0)
        if order is not None:
            name = self.add("Gather", name, self.constant(np.argsort(order)), axis=1)
        return Value(self.reshape(name, -1, *x.shape), x.shape)

    def own_channels(self, x: Value) -> Value:
        """The map with its channels in their own order."""
        if x.order is None:
            return x
        name = self.add("Gather", x.name, self.constant(np.argsort(x.order)), axis=x.axis)
        return replace(x, name=name, order=None)

    def like(self, x: Value, other: Value) -> Value:
        """x in the layout of the other: its order of pixels, with channels in their own order."""
        if other.places is None:
            return self.planes(x)
        x = self.own_channels(self.pixels(x))
        assert x.places is not None
        if x.pixels == other.pixels and (x.places == other.places).all():
            return x
        taken = np.zeros(other.pixels, dtype=np.int64)
        taken[other.places.ravel()] = x.places.ravel()
        return replace(x, name=self.gather(x.name, taken), places=other.places, pixels=other.pixels)

    def flat(self, x: Value) -> Value:
        """[N, features], in PyTorch's order."""
        if len(x.shape) == 1:
            return x
        size = math.prod(x.shape)
        return Value(self.reshape(self.planes(x).name, -1, size), (size,))

    def per_channel(self, tensor: str, x: Value) -> str:
        """A tensor [channels] in the shape in which it is broadcast to the channels of x."""
        return self.reshape(tensor, -1, 1, 1) if len(x.shape) == 3 and x.places is None else tensor

    def split(self, x: Value, *counts: int) -> list[Value]:
        """Parts of the channels of x, of these sizes, in the order in which they lie in the tensor."""
        names = self.add_many("Split", x.name, self.ints(*counts), outputs=len(counts), axis=x.axis)
        shapes = [(count, *x.shape[1:]) for count in counts]
        return [replace(x, name=name, shape=shape, order=None) for name, shape in zip(names, shapes, strict=True)]

    def join(self, *parts: Value) -> Value:
        """The channels of the parts, one part after the other."""
        if len(parts) == 1:
            return parts[0]
        name = self.add("Concat", *(part.name for part in parts), axis=parts[0].axis)
        return replace(parts[0], name=name, shape=(sum(part.shape[0] for part in parts), *parts[0].shape[1:]))

    def each(self, operator: str, x: Value, *others: str) -> Value:
        """An elementwise node on x and on tensors that are broadcast to it."""
        return replace(x, name=self.add(operator, x.name, *others))


def _attribute(key: str, value: Any) -> AttributeProto:
    return helper.make_attribute(key, list(value) if isinstance(value, tuple) else value)
