"""Interval propagation as ONNX nodes: what `zoo.bounds.interval` and the rules of `zoo.bounds.linf` are in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

from zoo.layers import Abs, LInfDistance, Pixels, Residual, SortedDistance
from zoo.lowering.choice import choose
from zoo.lowering.convolution import convolve, product
from zoo.lowering.layers import batch_norm, first_and_rest, normalise, row_slices, weighed
from zoo.lowering.sizes import sizes_of
from zoo.lowering.taps import convolve_taps, is_plain
from zoo.lowering.values import Ends, Value

if TYPE_CHECKING:
    from zoo.lowering.nodes import Nodes


def least_margins(
    nodes: Nodes, network: nn.Sequential, images: str, shape: tuple[int, ...], label: str, levels: Sequence[float]
) -> str:
    """The name of [levels, N, classes]: at most f_j - f_i over all x with |x - image|_inf <= level."""
    *body, (name, head) = network._modules.items()
    assert isinstance(head, nn.Linear)
    reach = nodes.reshape(nodes.numbers(levels), -1, 1, 1, 1, 1)
    lower, upper = (Value(nodes.reshape(nodes.add(kind, images, reach), -1, *shape), shape) for kind in ("Sub", "Add"))
    lower, upper = nodes.ends_through(body, lower, upper)
    matrix, bias = nodes.weight(f"{name}.weight"), nodes.weight(f"{name}.bias")
    chosen = nodes.add("Tile", label, nodes.ints(len(levels)))
    rows = nodes.add("Sub", nodes.reshape(nodes.add("Gather", matrix, chosen, axis=0), -1, 1, head.in_features), matrix)
    centre, half = (nodes.reshape(end.name, -1, head.in_features, 1) for end in middle(nodes, lower, upper))
    margins = nodes.add("Sub", nodes.add("MatMul", rows, centre), nodes.add("MatMul", nodes.add("Abs", rows), half))
    margins = nodes.reshape(margins, -1, head.out_features)
    offsets = nodes.add("Sub", nodes.reshape(nodes.add("Gather", bias, chosen, axis=0), -1, 1), bias)
    return nodes.reshape(nodes.add("Add", margins, offsets), len(levels), -1, head.out_features)


def middle(nodes: Nodes, lower: Value, upper: Value) -> Ends:
    """The centre and half the width of each interval."""
    two = nodes.numbers(2)
    return tuple(  # type: ignore[return-value]
        nodes.each("Div", nodes.each(kind, one, other.name), two)
        for kind, one, other in (("Add", lower, upper), ("Sub", upper, lower))
    )


def monotone(nodes: Nodes, layer: nn.Module, name: str, lower: Value, upper: Value) -> Ends:
    return nodes.lowering(layer, name, lower), nodes.lowering(layer, name, upper)


def pixel_ends(nodes: Nodes, layer: Pixels, name: str, lower: Value, upper: Value) -> Ends:
    one, other = (
        normalise(nodes, name, nodes.each("Clip", end, nodes.numbers(0), nodes.numbers(1))) for end in (lower, upper)
    )
    return nodes.each("Min", one, other.name), nodes.each("Max", one, other.name)


def absolute_ends(nodes: Nodes, layer: Abs, name: str, lower: Value, upper: Value) -> Ends:
    (low, *rest_low), (high, *rest_high) = (first_and_rest(nodes, layer, end) for end in (lower, upper))
    nearest = nodes.each("Relu", nodes.each("Max", low, nodes.each("Neg", high).name))
    farthest = nodes.each("Max", nodes.each("Abs", low), nodes.each("Abs", high).name)
    return nodes.join(nearest, *rest_low), nodes.join(farthest, *rest_high)


def batch_norm_ends(nodes: Nodes, layer: nn.BatchNorm2d, name: str, lower: Value, upper: Value) -> Ends:
    one, other = (batch_norm(nodes, layer, name, end) for end in (lower, upper))
    return nodes.each("Min", one, other.name), nodes.each("Max", one, other.name)


def linear_ends(nodes: Nodes, layer: nn.Linear, name: str, lower: Value, upper: Value) -> Ends:
    matrix, shape = nodes.weight(f"{name}.weight"), (layer.out_features, layer.in_features)
    bias = nodes.bias(layer, name)
    centre, half = middle(nodes, lower, upper)
    value = Value(product(nodes, centre.name, matrix, shape, bias), shape[:1])
    reach = product(nodes, half.name, nodes.add("Abs", matrix), shape, None)
    return nodes.each("Sub", value, reach), nodes.each("Add", value, reach)


def convolution_ends(nodes: Nodes, layer: nn.Conv2d, name: str, lower: Value, upper: Value) -> Ends:
    kernel, bias = nodes.weight(f"{name}.weight"), nodes.bias(layer, name)
    centre, half = middle(nodes, nodes.own_channels(lower), nodes.own_channels(upper))
    if not is_plain(layer):
        value = convolve_taps(nodes, layer, centre, kernel, bias)
        reach = nodes.like(convolve_taps(nodes, layer, half, nodes.add("Abs", kernel), None), value).name
        return nodes.each("Sub", value, reach), nodes.each("Add", value, reach)
    sizes = sizes_of(layer, lower.shape)
    lowering = choose(sizes, nodes.norm)
    value = convolve(nodes, centre, kernel, sizes, lowering, bias)
    reach = nodes.like(convolve(nodes, half, nodes.add("Abs", kernel), sizes, lowering), value).name
    return nodes.each("Sub", value, reach), nodes.each("Add", value, reach)


def distance_ends(nodes: Nodes, layer: LInfDistance, name: str, lower: Value, upper: Value) -> Ends:
    weight, bias = nodes.weight(f"{name}.weight"), nodes.weight(f"{name}.bias")
    columns = [nodes.add("Unsqueeze", end.name, nodes.ints(1)) for end in (lower, upper)]
    nearest, farthest = [], []
    for rows in row_slices(nodes, layer, weight):
        low, high = (nodes.add("Sub", column, rows) for column in columns)
        low_max, high_max = (nodes.add("ReduceMax", gaps, nodes.ints(2), keepdims=0) for gaps in (low, high))
        low_min, high_min = (
            nodes.add("Neg", nodes.add("ReduceMin", gaps, nodes.ints(2), keepdims=0)) for gaps in (low, high)
        )
        nearest.append(nodes.add("Max", low_max, high_min))
        farthest.append(nodes.add("Max", high_max, low_min))
    near, far = (nodes.add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0] for parts in (nearest, farthest))
    shape = (len(layer.weight),)
    return Value(nodes.add("Add", nodes.add("Relu", near), bias), shape), Value(nodes.add("Add", far, bias), shape)


def sorted_distance_ends(nodes: Nodes, layer: SortedDistance, name: str, lower: Value, upper: Value) -> Ends:
    low, high = (nodes.add("Unsqueeze", end.name, nodes.ints(1)) for end in (lower, upper))
    nearest, farthest = [], []
    for rows in row_slices(nodes, layer, nodes.weight(f"{name}.weight")):
        below, above = nodes.add("Sub", rows, high), nodes.add("Sub", low, rows)
        nearest.append(nodes.add("Relu", nodes.add("Max", below, above)))
        farthest.append(nodes.add("Max", nodes.add("Neg", below), nodes.add("Neg", above)))
    return weighed(nodes, layer, name, nearest), weighed(nodes, layer, name, farthest)


def residual_ends(nodes: Nodes, layer: Residual, name: str, lower: Value, upper: Value) -> Ends:
    lower, upper = nodes.own_channels(lower), nodes.own_channels(upper)
    branch = [(f"{name}.branch.{key}", inner) for key, inner in layer.branch._modules.items()]
    ends = [nodes.own_channels(end) for end in nodes.ends_through(branch, lower, upper)]
    if layer.skip is not None:
        lower, upper = nodes.ends_through([(f"{name}.skip", layer.skip)], lower, upper)
    sums = [nodes.each("Add", end, nodes.like(skip, end).name) for end, skip in zip(ends, (lower, upper), strict=True)]
    return sums[0], sums[1]
