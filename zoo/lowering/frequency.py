"""`FrequencyConv` and `Sandwich` as nodes: the chain of matrix products that `zoo.layers.frequency` computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.layers import FrequencyConv, Sandwich
from zoo.layers.fourier import transform
from zoo.lowering.choice import PLAIN_SUMS
from zoo.lowering.convolution import convolve, product
from zoo.lowering.sizes import Sizes
from zoo.lowering.values import Value, natural

if TYPE_CHECKING:
    from zoo.lowering.nodes import Nodes


def frequency_conv(nodes: Nodes, layer: FrequencyConv, name: str, x: Value) -> Value:
    weight = nodes.weight(f"{name}.weight")
    inner = nodes.transpose(_real_form(nodes, weight, *layer.weight.shape[1:]), 0, 2, 1)
    y = _multiply(nodes, x, inner, layer.weight.shape[3], layer.size, layer.padding)
    return nodes.each("Add", y, nodes.weight(f"{name}.bias"))


def sandwich(nodes: Nodes, layer: Sandwich, name: str, x: Value) -> Value:
    weight, bias = nodes.weight(f"{name}.weight"), nodes.weight(f"{name}.bias")
    *frequencies, hidden, both = layer.weight.shape
    outputs = layer.out_features
    outer, inner = nodes.add_many(
        "Split", weight, nodes.ints(outputs, both - outputs), outputs=2, axis=len(frequencies) + 1
    )
    if layer.size is None:
        y = nodes.each("Relu", _of_channels(nodes, x, inner, (hidden, both - outputs), bias))
        y = _of_channels(nodes, y, nodes.transpose(outer, 1, 0), (outputs, hidden))
        return nodes.each("Mul", y, nodes.numbers(2))
    _, half, torus = frequencies
    inner = nodes.transpose(_real_form(nodes, inner, half, torus, hidden, both - outputs), 0, 2, 1)
    outer = _real_form(nodes, outer, half, torus, hidden, outputs)
    y = nodes.each("Relu", nodes.each("Add", _multiply(nodes, x, inner, hidden, layer.size), bias))
    return nodes.each("Mul", _multiply(nodes, y, outer, outputs, layer.size), nodes.numbers(2))


def _of_channels(nodes: Nodes, x: Value, matrix: str, shape: tuple[int, int], bias: str | None = None) -> Value:
    """A matrix of a shape [O, I] times a vector, or times the channels of each cell of a map."""
    if len(x.shape) == 1:
        return Value(product(nodes, x.name, matrix, shape, bias), shape[:1])
    sizes = Sizes(shape[1], shape[0], (1, 1), (1, 1), (0, 0), x.shape[1:])  # type: ignore[arg-type]
    kernel = nodes.reshape(matrix, *shape, 1, 1)
    return convolve(nodes, nodes.own_channels(x), kernel, sizes, PLAIN_SUMS, bias)


def _real_form(nodes: Nodes, weight: str, half: int, torus: int, outputs: int, inputs: int) -> str:
    """Complex matrices [2, h, t, O, I] as real ones [frequencies, 2 O, 2 I]."""
    flat = nodes.reshape(weight, 2, half * torus, outputs, inputs)
    real, imaginary = nodes.add_many("Split", flat, nodes.ints(1, 1), outputs=2, axis=0)
    upper = nodes.add("Concat", real, nodes.add("Neg", imaginary), axis=3)
    lower = nodes.add("Concat", imaginary, real, axis=3)
    return nodes.reshape(nodes.add("Concat", upper, lower, axis=2), half * torus, 2 * outputs, 2 * inputs)


def _multiply(nodes: Nodes, x: Value, matrices: str, outputs: int, side: int, padding: int = 0) -> Value:
    """The map at the frequencies, times the matrices [frequencies, 2 I, 2 O], transformed back."""
    parts, channels = transform(side, padding), x.shape[0]
    half, torus = parts.half, parts.torus
    name = nodes.reshape(nodes.ordered(x).name, side, -1)
    name = nodes.add("MatMul", nodes.numbers(parts.rows), name)
    name = nodes.transpose(nodes.reshape(name, 2, half, side, -1), 1, 0, 2, 3)
    name = nodes.add("MatMul", nodes.numbers(parts.columns), nodes.reshape(name, half, 2 * side, -1))
    name = nodes.transpose(nodes.reshape(name, half, 2, torus, -1, channels), 0, 2, 3, 1, 4)
    name = nodes.add("MatMul", nodes.reshape(name, half * torus, -1, 2 * channels), matrices)
    name = nodes.transpose(nodes.reshape(name, half, torus, -1, 2, outputs), 0, 3, 1, 2, 4)
    name = nodes.add("MatMul", nodes.numbers(parts.columns.T), nodes.reshape(name, half, 2 * torus, -1))
    name = nodes.transpose(nodes.reshape(name, half, 2, side, -1), 1, 0, 2, 3)
    name = nodes.add("MatMul", nodes.numbers(parts.back), nodes.reshape(name, 2 * half, -1))
    places = natural(side, side)
    return Value(nodes.reshape(name, side * side, -1, outputs), (outputs, side, side), places, places.size)
