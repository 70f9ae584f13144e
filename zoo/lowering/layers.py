"""Each layer type as ONNX nodes: the functions in the column `lowering` of `zoo.bounds.table`.

Each is given the nodes so far, the layer, its name in the state dict and its input. In a float64 graph, the one that is
proved, a map is laid out by pixels, as matrix products need it; a float32 graph has ONNX's own maps and convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from zoo.layers import (
    Abs,
    ConvExponential,
    ConvexPotential,
    FirstChannels,
    GroupSort,
    Householder,
    L2Pool,
    LInfDistance,
    MinMax,
    PadChannels,
    PatchPool,
    Pixels,
    PositionOffset,
    Residual,
    SelfAttention,
    SortedDistance,
    SpatialShift,
    TokenLinear,
)
from zoo.layers.fixed import DIRECTIONS
from zoo.layers.trained import few_rows
from zoo.lowering.choice import choose
from zoo.lowering.convolution import convolve, product
from zoo.lowering.sizes import same_map, sizes_of
from zoo.lowering.taps import convolve_taps, is_plain
from zoo.lowering.values import Value, natural

if TYPE_CHECKING:
    from zoo.lowering.nodes import Nodes


def pixels(nodes: Nodes, layer: Pixels, name: str, x: Value) -> Value:
    return normalise(nodes, name, nodes.each("Clip", nodes.own_channels(x), nodes.numbers(0), nodes.numbers(1)))


def normalise(nodes: Nodes, name: str, x: Value) -> Value:
    """What `Pixels` does after its clamp."""
    x = nodes.each("Sub", x, nodes.per_channel(nodes.weight(f"{name}.mean"), x))
    return nodes.each("Mul", x, nodes.per_channel(nodes.weight(f"{name}.scale"), x))


def minmax(nodes: Nodes, layer: MinMax, name: str, x: Value) -> Value:
    half = x.shape[0] // 2
    if half == 0:  # one channel has no neighbour
        return x
    rest = x.shape[0] - 2 * half
    apart = x.order is not None and (x.order == evens_first(x.shape[0])).all()
    if layer.pairing == "neighbours" and not apart:
        return _neighbours(nodes, nodes.own_channels(x), half)
    if layer.pairing == "halves":
        x = nodes.own_channels(x)
    first, second, *others = nodes.split(x, half, half, *[rest] * (rest > 0))
    joined = nodes.join(nodes.each("Max", first, second.name), nodes.each("Min", first, second.name), *others)
    return replace(joined, order=x.order)


def _neighbours(nodes: Nodes, x: Value, half: int) -> Value:
    """MinMax of neighbouring channels, which stay neighbours."""
    ends, axis, two = nodes.ints(2 * half), nodes.ints(x.axis), nodes.ints(2)
    pair = [nodes.add("Slice", x.name, nodes.ints(start), ends, axis, two) for start in (0, 1)]
    sides = [nodes.add("Unsqueeze", nodes.add(kind, *pair), nodes.ints(x.axis + 1)) for kind in ("Max", "Min")]
    shape = (-1, 2 * half, *x.shape[1:]) if x.places is None else (x.pixels, -1, 2 * half)
    name = nodes.reshape(nodes.add("Concat", *sides, axis=x.axis + 1), *shape)
    both = replace(x, name=name, shape=(2 * half, *x.shape[1:]))
    rest = x.shape[0] - 2 * half
    return nodes.join(both, nodes.split(x, 2 * half, rest)[1]) if rest else both


def evens_first(channels: int) -> np.ndarray:
    """The channels 0, 2, 4, ..., then 1, 3, 5, ...; if their number is odd, the last channel stays last."""
    paired = channels - channels % 2
    return np.concatenate([np.arange(0, paired, 2), np.arange(1, paired, 2), np.arange(paired, channels)])


def relu(nodes: Nodes, layer: nn.ReLU, name: str, x: Value) -> Value:
    return nodes.each("Relu", x)


def flatten(nodes: Nodes, layer: nn.Flatten, name: str, x: Value) -> Value:
    return nodes.flat(x)


def identity(nodes: Nodes, layer: nn.Module, name: str, x: Value) -> Value:
    """A layer that changes nothing in evaluation mode."""
    return x


def leaky_relu(nodes: Nodes, layer: nn.LeakyReLU, name: str, x: Value) -> Value:
    """Written as a maximum, because the slope of ONNX's LeakyRelu is a float32."""
    return nodes.each("Max", x, nodes.add("Mul", x.name, nodes.numbers(layer.negative_slope)))


def hardtanh(nodes: Nodes, layer: nn.Hardtanh, name: str, x: Value) -> Value:
    """Written without Clip, which ONNX Runtime cannot fuse with a Relu before it in float64, and then fails."""
    least = nodes.each("Max", x, nodes.numbers(layer.min_val))
    return nodes.each("Min", least, nodes.numbers(layer.max_val))


def absolute(nodes: Nodes, layer: Abs, name: str, x: Value) -> Value:
    first, *rest = first_and_rest(nodes, layer, x)
    return nodes.join(nodes.each("Abs", first), *rest)


def first_and_rest(nodes: Nodes, layer: Abs, x: Value) -> list[Value]:
    """The channels whose absolute values are taken, and the others, if there are any."""
    if layer.channels in (None, x.shape[0]):
        return [x]
    return nodes.split(nodes.own_channels(x), layer.channels, x.shape[0] - layer.channels)


def group_sort(nodes: Nodes, layer: GroupSort, name: str, x: Value) -> Value:
    x = nodes.own_channels(x)
    groups = (x.shape[0] // layer.size, layer.size)
    apart, whole = (
        ((x.pixels, -1, *groups), (x.pixels, -1, x.shape[0]))
        if x.places is not None
        else ((-1, *groups, *x.shape[1:]), (-1, *x.shape))
    )
    parts = nodes.reshape(x.name, *apart)
    best = nodes.add_many("TopK", parts, nodes.ints(layer.size), outputs=2, axis=x.axis + 1, largest=1, sorted=1)[0]
    return replace(x, name=nodes.reshape(best, *whole))


def unflatten(nodes: Nodes, layer: nn.Unflatten, name: str, x: Value) -> Value:
    shape = tuple(layer.unflattened_size)
    return Value(nodes.reshape(x.name, -1, *shape), shape)  # type: ignore[arg-type]


def channel_shuffle(nodes: Nodes, layer: nn.ChannelShuffle, name: str, x: Value) -> Value:
    x = nodes.own_channels(x)
    order = np.arange(x.shape[0]).reshape(layer.groups, -1).T.ravel()
    return replace(x, name=nodes.add("Gather", x.name, nodes.constant(order), axis=x.axis))


def batch_norm(nodes: Nodes, layer: nn.BatchNorm2d, name: str, x: Value) -> Value:
    x = nodes.own_channels(x)
    mean, variance = (nodes.weight(f"{name}.running_{part}") for part in ("mean", "var"))
    root = nodes.add("Sqrt", nodes.add("Add", variance, nodes.numbers(layer.eps)))
    weight = nodes.numbers(1) if layer.weight is None else nodes.weight(f"{name}.weight")
    x = nodes.each("Sub", x, nodes.per_channel(mean, x))
    x = nodes.each("Mul", x, nodes.per_channel(nodes.add("Div", weight, root), x))
    return x if layer.bias is None else nodes.each("Add", x, nodes.per_channel(nodes.weight(f"{name}.bias"), x))


def linear(nodes: Nodes, layer: nn.Linear, name: str, x: Value) -> Value:
    shape, bias = (layer.out_features, layer.in_features), nodes.bias(layer, name)
    return Value(product(nodes, x.name, nodes.weight(f"{name}.weight"), shape, bias), shape[:1])


def conv2d(nodes: Nodes, layer: nn.Conv2d, name: str, x: Value) -> Value:
    """Before a MinMax of neighbours, its output channels and the kernel's come in the order `evens_first`."""
    if not is_plain(layer):
        bias = nodes.bias(layer, name)
        return convolve_taps(nodes, layer, x, nodes.weight(f"{name}.weight"), bias)
    kernel, sizes = nodes.weight(f"{name}.weight"), sizes_of(layer, x.shape)
    bias, order = nodes.bias(layer, name), None
    if x.order is not None:
        kernel = nodes.add("Gather", kernel, nodes.constant(x.order), axis=1)
    if nodes.precision == "float64" and nodes.paired:
        order = evens_first(layer.out_channels)
        kernel = nodes.add("Gather", kernel, nodes.constant(order), axis=0)
        bias = bias and nodes.add("Gather", bias, nodes.constant(order), axis=0)
    y = convolve(nodes, replace(x, order=None), kernel, sizes, choose(sizes, nodes.norm), bias)
    return replace(y, order=order)


def residual(nodes: Nodes, layer: Residual, name: str, x: Value) -> Value:
    x = nodes.own_channels(x)
    branch = [(f"{name}.branch.{key}", inner) for key, inner in layer.branch._modules.items()]
    y = nodes.own_channels(nodes.through(branch, x))
    if layer.skip is not None:
        x = nodes.through([(f"{name}.skip", layer.skip)], x)
    return nodes.each("Add", y, nodes.like(x, y).name)


def pad_channels(nodes: Nodes, layer: PadChannels, name: str, x: Value) -> Value:
    if nodes.precision == "float64" and len(x.shape) == 3:
        x = nodes.pixels(x)  # before there are more channels to move
    x = nodes.own_channels(x)
    dimensions = 3 if x.places is not None else len(x.shape) + 1
    ends = [0] * dimensions
    ends[x.axis] = layer.channels - x.shape[0]
    padded = nodes.each("Pad", x, nodes.ints(*[0] * dimensions, *ends))
    return replace(padded, shape=(layer.channels, *x.shape[1:]))


def first_channels(nodes: Nodes, layer: FirstChannels, name: str, x: Value) -> Value:
    x = nodes.own_channels(x)
    first = nodes.each("Slice", x, nodes.ints(0), nodes.ints(layer.channels), nodes.ints(x.axis))
    return replace(first, shape=(layer.channels, *x.shape[1:]))


def pixel_unshuffle(nodes: Nodes, layer: nn.PixelUnshuffle, name: str, x: Value) -> Value:
    factor, (channels, rows, columns) = layer.downscale_factor, x.shape
    cells = (rows // factor, columns // factor)
    shape = (channels * factor**2, *cells)
    if nodes.precision == "float32":
        name = nodes.reshape(nodes.planes(x).name, -1, channels, cells[0], factor, cells[1], factor)
        return Value(nodes.reshape(nodes.transpose(name, 0, 1, 3, 5, 2, 4), -1, *shape), shape)
    x = nodes.own_channels(nodes.pixels(x))
    assert x.places is not None
    phases = [
        nodes.gather(x.name, x.places[row::factor, column::factor].ravel())
        for row, column in np.ndindex(factor, factor)
    ]
    name = nodes.add("Concat", *phases, axis=2)
    order = np.arange(channels) * factor**2 + np.arange(factor**2)[:, None]
    places = natural(*cells)
    return Value(name, shape, places, places.size, order.ravel())


def spatial_shift(nodes: Nodes, layer: SpatialShift, name: str, x: Value) -> Value:
    x = nodes.ordered(x)
    assert x.places is not None
    rest = x.shape[0] - 4 * layer.group
    parts = nodes.split(x, *[layer.group] * 4, *[rest] * (rest > 0))
    for number, (axis, step) in enumerate(DIRECTIONS):
        reads = np.roll(x.places, step, axis - 2).ravel()
        parts[number] = replace(parts[number], name=nodes.gather(parts[number].name, reads))
    return nodes.join(*parts)


def position_offset(nodes: Nodes, layer: PositionOffset, name: str, x: Value) -> Value:
    x = nodes.ordered(x)
    return nodes.each("Add", x, nodes.reshape(nodes.weight(f"{name}.weight"), x.pixels, 1, 1))


def l2_pool(nodes: Nodes, layer: L2Pool, name: str, x: Value) -> Value:
    size, (channels, rows, columns) = layer.size, x.shape
    down, across = rows // size, columns // size
    x = nodes.ordered(x)
    name = nodes.add("Mul", x.name, x.name)
    name = nodes.add("ReduceSum", nodes.reshape(name, rows * across, size, -1), nodes.ints(1), keepdims=0)
    name = nodes.add("ReduceSum", nodes.reshape(name, down, size, -1), nodes.ints(1), keepdims=0)
    name = nodes.reshape(nodes.add("Sqrt", name), down * across, -1, channels)
    places = natural(down, across)
    return Value(name, (channels, down, across), places, places.size)


def patch_pool(nodes: Nodes, layer: PatchPool, name: str, x: Value) -> Value:
    size, (channels, rows, columns) = layer.size, x.shape
    down, across = rows // size, columns // size
    shape = (channels, down, across)
    if nodes.precision == "float32":
        name = nodes.reshape(nodes.planes(x).name, -1, channels, down, size, across, size)
        name = nodes.add("ReduceSum", name, nodes.ints(3, 5), keepdims=0)
        return Value(nodes.add("Div", name, nodes.numbers(size)), shape)
    x = nodes.ordered(x)
    name = nodes.add("ReduceSum", nodes.reshape(x.name, rows * across, size, -1), nodes.ints(1), keepdims=0)
    name = nodes.add("ReduceSum", nodes.reshape(name, down, size, -1), nodes.ints(1), keepdims=0)
    name = nodes.reshape(nodes.add("Div", name, nodes.numbers(size)), down * across, -1, channels)
    places = natural(down, across)
    return Value(name, shape, places, places.size)


def householder(nodes: Nodes, layer: Householder, name: str, x: Value) -> Value:
    x = nodes.own_channels(x)
    half = x.shape[0] // 2
    weight = nodes.weight(f"{name}.weight")
    vectors = [
        nodes.per_channel(nodes.reshape(nodes.add("Gather", weight, nodes.ints(row), axis=0), half), x)
        for row in (0, 1)
    ]
    halves = nodes.split(x, half, half)
    one, other = (nodes.each("Mul", part, vector) for part, vector in zip(halves, vectors, strict=True))
    below = nodes.each("Min", nodes.each("Add", one, other.name), nodes.numbers(0))
    parts = [
        nodes.each("Sub", part, nodes.each("Mul", below, vector).name)
        for part, vector in zip(halves, vectors, strict=True)
    ]
    return nodes.join(*parts)


def convex_potential(nodes: Nodes, layer: ConvexPotential, name: str, x: Value) -> Value:
    x = nodes.own_channels(x)
    weight, bias, step = (nodes.weight(f"{name}.{part}") for part in ("weight", "bias", "step"))
    hidden, channels, *taps = layer.weight.shape
    if not taps:
        y = Value(product(nodes, x.name, weight, (hidden, channels), bias), (hidden,))
        y = nodes.each("Mul", nodes.each("Relu", y), step)
        back = nodes.transpose(weight, 1, 0)
        return nodes.each("Sub", x, product(nodes, y.name, back, (channels, hidden), None))
    there, back_again = (
        same_map(shape, x.shape[1:]) for shape in ((hidden, channels, *taps), (channels, hidden, *taps))
    )
    y = convolve(nodes, x, weight, there, choose(there, nodes.norm), bias)
    y = nodes.each("Relu", y)
    y = nodes.each("Mul", y, nodes.per_channel(step, y))
    ends = [nodes.ints(value, value) for value in (-1, -(2**31))]
    flipped = nodes.add("Slice", weight, *ends, nodes.ints(2, 3), nodes.ints(-1, -1))
    y = convolve(nodes, y, nodes.transpose(flipped, 1, 0, 2, 3), back_again, choose(back_again, nodes.norm))
    return replace(y, name=nodes.add("Sub", nodes.like(x, y).name, y.name))


def conv_exponential(nodes: Nodes, layer: ConvExponential, name: str, x: Value) -> Value:
    kernel = nodes.weight(f"{name}.weight")
    sizes = same_map(layer.weight.shape, x.shape[1:])
    term = nodes.own_channels(x)
    total = term
    for power in range(1, layer.terms + 1):
        term = convolve(nodes, term, kernel, sizes, choose(sizes, nodes.norm))
        if power > 1:
            term = nodes.each("Div", term, nodes.numbers(power))
        total = nodes.each("Add", term, nodes.like(total, term).name)
    return nodes.each("Add", total, nodes.per_channel(nodes.weight(f"{name}.bias"), total))


def token_linear(nodes: Nodes, layer: TokenLinear, name: str, x: Value) -> Value:
    weight, bias, tokens = nodes.weight(f"{name}.weight"), nodes.weight(f"{name}.bias"), len(layer.weight)
    if nodes.precision == "float32":
        flat = nodes.reshape(nodes.planes(x).name, -1, x.shape[0], tokens)
        flat = nodes.add("Add", nodes.add("MatMul", flat, nodes.transpose(weight, 1, 0)), bias)
        return Value(nodes.reshape(flat, -1, *x.shape), x.shape)
    x = nodes.ordered(x)
    flat = nodes.add("MatMul", weight, nodes.reshape(x.name, tokens, -1))
    flat = nodes.add("Add", flat, nodes.reshape(bias, tokens, 1))
    return replace(x, name=nodes.reshape(flat, tokens, -1, x.shape[0]))


def self_attention(nodes: Nodes, layer: SelfAttention, name: str, x: Value) -> Value:
    channels, rows, columns = x.shape
    count, one = rows * columns, nodes.numbers(1)
    tokens = nodes.reshape(nodes.planes(x).name, -1, channels, count)
    largest = nodes.add("ReduceMax", nodes.add("Abs", tokens), nodes.ints(1), keepdims=1)
    tokens = nodes.add("Div", tokens, nodes.add("Max", largest, one))
    squares = nodes.add("ReduceSum", nodes.add("Mul", tokens, tokens), nodes.ints(1), keepdims=1)
    tokens = nodes.add("Div", tokens, nodes.add("Sqrt", nodes.add("Max", squares, one)))
    query, key, value = (
        nodes.reshape(
            nodes.add("MatMul", nodes.weight(f"{name}.{part}"), tokens), -1, layer.heads, channels // layer.heads, count
        )
        for part in ("query", "key", "value")
    )
    size = nodes.numbers(count)
    products = nodes.add("MatMul", value, nodes.transpose(key, 0, 1, 3, 2))
    if count & (count - 1):  # ONNX Runtime 1.26 to 1.31 fuse such a division with a product beside it, in float32
        between = (-1, layer.heads, channels // layer.heads, channels // layer.heads)
        context = nodes.reshape(nodes.add("Div", nodes.reshape(products, *between), size), *between)
    else:
        context = nodes.add("Div", products, size)
    mean = nodes.add("Div", nodes.add("ReduceSum", value, nodes.ints(3), keepdims=1), size)
    mixed = nodes.add("Add", mean, nodes.add("MatMul", context, query))
    mixed = nodes.add("Div", nodes.reshape(mixed, -1, *x.shape), nodes.numbers(4))
    return Value(mixed, x.shape)


def linf_distance(nodes: Nodes, layer: LInfDistance, name: str, x: Value) -> Value:
    weight, distances = nodes.weight(f"{name}.weight"), []
    column = nodes.add("Unsqueeze", x.name, nodes.ints(1))
    for rows in row_slices(nodes, layer, weight):
        gaps = nodes.add("Abs", nodes.add("Sub", column, rows))
        distances.append(nodes.add("ReduceMax", gaps, nodes.ints(2), keepdims=0))
    both = nodes.add("Concat", *distances, axis=1) if len(distances) > 1 else distances[0]
    return Value(nodes.add("Add", both, nodes.weight(f"{name}.bias")), (len(layer.weight),))


def sorted_distance(nodes: Nodes, layer: SortedDistance, name: str, x: Value) -> Value:
    column = nodes.add("Unsqueeze", x.name, nodes.ints(1))
    slices = row_slices(nodes, layer, nodes.weight(f"{name}.weight"))
    gaps = [nodes.add("Abs", nodes.add("Sub", column, rows)) for rows in slices]
    return weighed(nodes, layer, name, gaps)


def weighed(nodes: Nodes, layer: SortedDistance, name: str, gaps: Sequence[str]) -> Value:
    """The sum of the layer's shares times the largest gaps, and its bias; `gaps` come by slices of its rows."""
    shares, count = nodes.numbers(layer.shares()), nodes.ints(layer.terms)
    sums = [
        nodes.add("MatMul", nodes.add_many("TopK", part, count, outputs=2, axis=2, largest=1, sorted=1)[0], shares)
        for part in gaps
    ]
    both = nodes.add("Concat", *sums, axis=1) if len(sums) > 1 else sums[0]
    return Value(nodes.add("Add", both, nodes.weight(f"{name}.bias")), (len(layer.weight),))


def row_slices(nodes: Nodes, layer: LInfDistance | SortedDistance, weight: str) -> list[str]:
    """The weight in parts of as many rows as `few_rows` takes at a time."""
    counts = [len(rows) for rows in few_rows(layer.weight)]
    return nodes.add_many("Split", weight, nodes.ints(*counts), outputs=len(counts), axis=0) if counts[1:] else [weight]
