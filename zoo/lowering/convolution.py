"""A convolution as ONNX nodes: ONNX's own in float32; in float64 nothing but copies of pixels and matrix products."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from zoo.lowering.choice import Lowering
from zoo.lowering.sizes import Pair, Sizes
from zoo.lowering.toomcook import ToomCook, algorithm
from zoo.lowering.values import Places, Value, natural

if TYPE_CHECKING:
    from zoo.lowering.nodes import Nodes


def convolve(nodes: Nodes, x: Value, kernel: str, sizes: Sizes, lowering: Lowering, bias: str | None = None) -> Value:
    """The zero-padded convolution of maps by a kernel [O, I, rows, columns] and a bias [O]."""
    if nodes.precision == "float32":
        inputs = (kernel,) if bias is None else (kernel, bias)
        options = {"kernel_shape": sizes.kernel, "strides": sizes.stride, "pads": sizes.padding * 2}
        return Value(nodes.add("Conv", nodes.planes(x).name, *inputs, **options), sizes.output_shape)
    x = nodes.pixels(x)
    if sizes.stride != (1, 1) or (sizes.kernel == (1, 1) and any(sizes.padding)):
        x, kernel, sizes = _cells(nodes, x, kernel, sizes)
    if sizes.kernel == (1, 1):
        return _product(nodes, x, kernel, sizes, bias)
    y = _tiles(nodes, x, kernel, sizes, lowering)
    return y if bias is None else nodes.each("Add", y, bias)


def _cells(nodes: Nodes, x: Value, kernel: str, sizes: Sizes) -> tuple[Value, str, Sizes]:
    """`Sizes.cells`: the map whose pixels are the cells of x, the kernel on them, and their sizes."""
    cells, (down, right) = sizes.cells, sizes.stride
    phases = _reads(x, sizes, sizes.stride, sizes.stride, cells.map)
    count = math.prod(cells.map)
    name = with_zeros(nodes, x, phases)
    name = nodes.add("Concat", *(nodes.gather(name, phase) for phase in phases.reshape(down * right, count)), axis=2)
    taps, channels = cells.kernel, sizes.in_channels
    ends = [tap * step - side for tap, step, side in zip(taps, sizes.stride, sizes.kernel, strict=True)]
    if any(ends):
        kernel = nodes.add("Pad", kernel, nodes.ints(*[0] * 6, *ends))
    kernel = nodes.reshape(kernel, sizes.out_channels, channels, taps[0], down, taps[1], right)
    kernel = nodes.transpose(kernel, 0, 3, 5, 1, 2, 4)
    kernel = nodes.reshape(kernel, sizes.out_channels, cells.in_channels, *taps)
    places = natural(*cells.map)
    return Value(name, (cells.in_channels, *cells.map), places, count), kernel, cells


def _product(nodes: Nodes, x: Value, kernel: str, sizes: Sizes, bias: str | None) -> Value:
    """A 1x1 kernel: every pixel's channels times one matrix."""
    matrix = nodes.reshape(kernel, sizes.out_channels, sizes.in_channels)
    name = nodes.reshape(x.name, -1, sizes.in_channels)
    name = product(nodes, name, matrix, (sizes.out_channels, sizes.in_channels), bias, x.pixels)
    name = nodes.reshape(name, x.pixels, -1, sizes.out_channels)
    return Value(name, sizes.output_shape, x.places, x.pixels)


def product(nodes: Nodes, x: str, matrix: str, shape: tuple[int, int], bias: str | None, rows: int = 1) -> str:
    """x W^T + b for x [R, inputs] with `rows` rows for each image, W of the shape [outputs, inputs] and b [outputs].

    With few rows, a large W is the left factor, because ONNX Runtime copies the right one in every run.
    """
    if nodes.precision == "float32" or rows > 16 or math.prod(shape) < 2**14:
        return nodes.add("Gemm", x, matrix, *([bias] if bias else []), transB=1)
    column = [nodes.reshape(bias, -1, 1)] if bias else []
    return nodes.transpose(nodes.add("Gemm", matrix, x, *column, transB=1), 1, 0)


def _tiles(nodes: Nodes, x: Value, kernel: str, sizes: Sizes, lowering: Lowering) -> Value:
    """The convolution by Toom-Cook tiles.

    Each tile's inputs are copied; B is applied along both axes; at each frequency the channels are multiplied by one
    matrix; A is applied along both axes. Where tiles have one output there is no B, and A sums over the taps.
    """
    (tall, wide), (rows, columns) = lowering.tile, sizes.outputs
    vertical, horizontal = (algorithm(tile, taps) for tile, taps in zip(lowering.tile, sizes.kernel, strict=True))
    high, broad = vertical.size, horizontal.size
    across, along = -(-rows // tall), -(-columns // wide)
    reads = _reads(x, sizes, (high, broad), lowering.tile, (across, along))
    name = nodes.gather(with_zeros(nodes, x, reads), reads.reshape(high, -1))
    if tall > 1:
        name = nodes.add("MatMul", nodes.numbers(vertical.data), nodes.reshape(name, high, -1))
    if wide > 1:
        name = nodes.add("MatMul", nodes.numbers(horizontal.data), nodes.reshape(name, high, broad, -1))
    name = nodes.reshape(name, high * broad, -1, sizes.in_channels)
    key = ("transformed", kernel, lowering)
    name = nodes.add("MatMul", name, nodes.once(key, lambda: _transformed(nodes, kernel, sizes, vertical, horizontal)))
    name = nodes.add("MatMul", nodes.numbers(vertical.back), nodes.reshape(name, high, -1))
    name = nodes.add("MatMul", nodes.numbers(horizontal.back), nodes.reshape(name, tall, broad, -1))
    row, column = np.indices((rows, columns))
    places = ((row % tall * wide + column % wide) * across + row // tall) * along + column // wide
    count = tall * wide * across * along
    return Value(nodes.reshape(name, count, -1, sizes.out_channels), sizes.output_shape, places, count)


def _transformed(nodes: Nodes, kernel: str, sizes: Sizes, vertical: ToomCook, horizontal: ToomCook) -> str:
    """U = G w G^T for each pair of channels: [frequencies, I, O]."""
    name = nodes.transpose(kernel, 2, 3, 1, 0)
    if vertical.size > sizes.kernel[0]:
        name = nodes.add("MatMul", nodes.numbers(vertical.kernel), nodes.reshape(name, sizes.kernel[0], -1))
    if horizontal.size > sizes.kernel[1]:
        name = nodes.reshape(name, vertical.size, sizes.kernel[1], -1)
        name = nodes.add("MatMul", nodes.numbers(horizontal.kernel), name)
    return nodes.reshape(name, vertical.size * horizontal.size, sizes.in_channels, sizes.out_channels)


def _reads(x: Value, sizes: Sizes, reach: Pair, steps: Pair, counts: Pair) -> Places:
    """The place of each pixel that `counts` windows of `reach` pixels read, [*reach, *counts].

    A window begins `steps` pixels after the one before, the first of them at the corner of the padding. -1 stands for
    a pixel of zeros, outside of the map. What a tile reads for outputs beyond the map's last one is -1 as well, since
    any other number would add its rounding.
    """
    assert x.places is not None
    most = ((count - 1) * step + wide for count, step, wide in zip(counts, steps, reach, strict=True))
    around = [
        (padding, max(0, last - padding - side))
        for last, padding, side in zip(most, sizes.padding, sizes.map, strict=True)
    ]
    places = np.pad(x.places, around, constant_values=-1)
    rows, columns = (
        np.arange(wide)[:, None] + np.arange(count) * step
        for wide, count, step in zip(reach, counts, steps, strict=True)
    )
    return places[rows[:, None, :, None], columns[:, None, :]]


def with_zeros(nodes: Nodes, x: Value, *reads: Places) -> str:
    """The tensor; if some place is -1, with a pixel of zeros appended, and these places made that pixel's."""
    if all((places >= 0).all() for places in reads):
        return x.name
    for places in reads:
        places[places < 0] = x.pixels
    return nodes.add("Pad", x.name, nodes.ints(0, 0, 0, 1, 0, 0))
