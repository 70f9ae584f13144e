"""Convolutions with groups, dilation or circular padding, and transposed ones, as nodes: plain sums over the taps.

The pixels that the taps read are gathered, and each group of channels is one matrix product over taps and channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from zoo.lowering.convolution import with_zeros
from zoo.lowering.sizes import adjoint_sizes, sizes_of
from zoo.lowering.values import Places, Value, natural

if TYPE_CHECKING:
    from zoo.lowering.nodes import Nodes


def is_plain(layer: nn.Conv2d) -> bool:
    """Whether it is one group without dilation and with zero padding."""
    return layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"


def convolve_taps(nodes: Nodes, layer: nn.Conv2d, x: Value, kernel: str, bias: str | None) -> Value:
    """The convolution of a certified Conv2d of any kind, by a kernel [O, I / groups, rows, columns]."""
    sizes = sizes_of(layer, x.shape)
    if nodes.precision == "float32":
        name, pads = nodes.planes(x).name, sizes.padding * 2
        if sizes.circular:
            ends = (0, 0, *sizes.padding)
            name, pads = nodes.add("Pad", name, nodes.ints(*ends, *ends), mode="wrap"), (0, 0, 0, 0)
        inputs = (kernel,) if bias is None else (kernel, bias)
        options = {"kernel_shape": layer.kernel_size, "strides": layer.stride, "dilations": layer.dilation}
        name = nodes.add("Conv", name, *inputs, output=None, **options, pads=pads, group=layer.groups)
        return Value(name, sizes.output_shape)
    axes = []
    for axis in (0, 1):
        taps = np.arange(layer.kernel_size[axis])[:, None] * layer.dilation[axis]
        positions = np.arange(sizes.outputs[axis]) * sizes.stride[axis] - sizes.padding[axis] + taps
        side = sizes.map[axis]
        axes.append(
            positions % side if sizes.circular else np.where((positions >= 0) & (positions < side), positions, -1)
        )
    return _sum_taps(nodes, x, axes, kernel, bias, layer.groups, sizes.output_shape)


def transposed(nodes: Nodes, layer: nn.ConvTranspose2d, name: str, x: Value) -> Value:
    """Output o is a sum over the taps for which (o + padding - tap) / stride is the whole number of a pixel."""
    kernel = nodes.weight(f"{name}.weight")
    bias = nodes.bias(layer, name)
    adjoint = adjoint_sizes(layer, x.shape)
    axes = []
    for axis, (step, edge) in enumerate(zip(adjoint.stride, adjoint.padding, strict=True)):
        moved = np.arange(adjoint.map[axis]) + edge - np.arange(adjoint.kernel[axis])[:, None]
        inside = (moved % step == 0) & (moved >= 0) & (moved // step < x.shape[1 + axis])
        axes.append(np.where(inside, moved // step, -1))
    shape = (layer.out_channels, *adjoint.map)
    if nodes.precision == "float32":
        inputs = (nodes.planes(x).name, kernel, *([bias] if bias else []))
        options = {"kernel_shape": adjoint.kernel, "strides": adjoint.stride, "output_padding": layer.output_padding}
        return Value(nodes.add("ConvTranspose", *inputs, **options, pads=adjoint.padding * 2), shape)
    return _sum_taps(nodes, x, axes, nodes.transpose(kernel, 1, 0, 2, 3), bias, 1, shape)


def _sum_taps(
    nodes: Nodes, x: Value, axes: list[Places], kernel: str, bias: str | None, groups: int, shape: tuple[int, int, int]
) -> Value:
    """The sums over taps. axes: for rows and for columns, what each tap of each output reads, -1 where it reads 0."""
    x = nodes.own_channels(nodes.pixels(x))
    assert x.places is not None
    rows, columns = axes[0][:, None, :, None], axes[1][None, :, None, :]
    reads = np.where((rows >= 0) & (columns >= 0), x.places[rows, columns], -1)
    taps, outputs = reads.shape[0] * reads.shape[1], shape[1] * shape[2]
    inside, made = x.shape[0] // groups, shape[0] // groups
    name = nodes.gather(with_zeros(nodes, x, reads), reads.ravel())
    name = nodes.transpose(nodes.reshape(name, taps, outputs, -1, groups, inside), 3, 1, 2, 0, 4)
    matrix = nodes.transpose(nodes.reshape(kernel, groups, made, inside, taps), 0, 3, 2, 1)
    matrix = nodes.reshape(matrix, groups, taps * inside, made)
    name = nodes.add("MatMul", nodes.reshape(name, groups, -1, taps * inside), matrix)
    name = nodes.transpose(nodes.reshape(name, groups, outputs, -1, made), 1, 2, 0, 3)
    places = natural(*shape[1:])
    y = Value(nodes.reshape(name, outputs, -1, shape[0]), shape, places, places.size)
    return y if bias is None else nodes.each("Add", y, bias)
