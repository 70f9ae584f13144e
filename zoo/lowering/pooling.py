"""Pools as ONNX nodes: ONNX's own in float32; in float64, which has none, copies of pixels and a sum or maximum."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from zoo.lowering.convolution import with_zeros
from zoo.lowering.values import Places, Value, natural
from zoo.lowering.windows import Windows, windows_of

if TYPE_CHECKING:
    from zoo.lowering.nodes import Nodes


def average_pool(nodes: Nodes, layer: nn.AvgPool2d | nn.AdaptiveAvgPool2d, name: str, x: Value) -> Value:
    windows, shape = _windows(layer, x)
    if nodes.precision == "float32":
        options = {"kernel_shape": windows.kernel, "strides": windows.stride, "pads": windows.padding * 2}
        mean = nodes.add("AveragePool", nodes.planes(x).name, **options, count_include_pad=1)
        factor = math.prod(windows.kernel) / windows.divisor
        return Value(mean if factor == 1 else nodes.add("Mul", mean, nodes.numbers(factor)), shape)
    x = nodes.pixels(x)
    reads = _reads(x, windows)
    total = _over_taps(nodes, "ReduceSum", with_zeros(nodes, x, reads), reads, x.shape[0])
    return _map(nodes.add("Div", total, nodes.numbers(windows.divisor)), shape, x)


def max_pool(nodes: Nodes, layer: nn.MaxPool2d, name: str, x: Value) -> Value:
    """A tap outside of the map reads a pixel of its window that is read anyway, which leaves the maximum as it is."""
    windows, shape = _windows(layer, x)
    if nodes.precision == "float32":
        options = {"kernel_shape": windows.kernel, "strides": windows.stride, "pads": windows.padding * 2}
        pooled = nodes.add("MaxPool", nodes.planes(x).name, **options, dilations=windows.dilation)
        return Value(pooled, shape)
    x = nodes.pixels(x)
    reads = _reads(x, windows)
    reads = np.where(reads < 0, reads.max(axis=0), reads)
    return _map(_over_taps(nodes, "ReduceMax", x.name, reads, x.shape[0]), shape, x)


def _windows(
    layer: nn.AvgPool2d | nn.AdaptiveAvgPool2d | nn.MaxPool2d, x: Value
) -> tuple[Windows, tuple[int, int, int]]:
    _, windows = windows_of(layer, (x.shape[1], x.shape[2]))
    assert windows is not None  # or the layer's rule would have refused it
    return windows, (x.shape[0], *windows.outputs)


def _reads(x: Value, windows: Windows) -> Places:
    """The place that each tap of each output reads, -1 outside of the map: [taps, outputs]."""
    assert x.places is not None
    rows, columns = (windows.positions(axis) for axis in (0, 1))
    height, width = windows.map
    rows, columns = rows[:, None, :, None], columns[None, :, None, :]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    places = x.places[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]
    return np.where(inside, places, -1).reshape(math.prod(windows.kernel), -1)


def _over_taps(nodes: Nodes, kind: str, name: str, reads: Places, channels: int) -> str:
    """[outputs, N, channels]: the sum or the maximum over the first axis of the places."""
    taps, outputs = reads.shape
    name = nodes.reshape(nodes.gather(name, reads.ravel()), taps, outputs, -1)
    return nodes.reshape(nodes.add(kind, name, nodes.ints(0), keepdims=0), outputs, -1, channels)


def _map(name: str, shape: tuple[int, int, int], x: Value) -> Value:
    places = natural(*shape[1:])
    return Value(name, shape, places, places.size, x.order)
