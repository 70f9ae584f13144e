"""Which proof bounds a convolution: the geometry that certification proves and training estimates."""

from __future__ import annotations

from typing import Literal

from torch import nn

# Multiply-adds of the Gram matrix of a materialised convolution that are worth an exact norm (about 10 s on 2 cores).
DENSE_COST = 4e11

Geometry = Literal["patches", "dense", "torus"]


def geometry(layer: nn.Conv2d, input_shape: tuple[int, int, int]) -> Geometry:
    """How the norm of this convolution on maps [C, H, W] is certified.

    `patches`: disjoint windows (stride = kernel, no padding): the norm of the kernel as a matrix, exactly.
    `dense`: small enough to write the operator out as a matrix: its norm, exactly.
    `torus`: the circular convolution on the smallest torus that contains the padded one; its norm is at least
    that of the zero-padded operator, by a factor of 1 + O(1/n^2).
    """
    if layer.stride == layer.kernel_size and layer.padding == (0, 0):
        return "patches"
    inputs = input_shape[0] * input_shape[1] * input_shape[2]
    rows, columns = output_side(layer, input_shape, 0), output_side(layer, input_shape, 1)
    outputs = layer.out_channels * rows * columns
    return "dense" if inputs * outputs * min(inputs, outputs) <= DENSE_COST else "torus"


def output_side(layer: nn.Conv2d, input_shape: tuple[int, int, int], axis: int) -> int:
    """The number of rows (axis 0) or columns (axis 1) of the output map."""
    padding, kernel, stride = int(layer.padding[axis]), layer.kernel_size[axis], layer.stride[axis]
    return (input_shape[1 + axis] + 2 * padding - kernel) // stride + 1


def torus_side(layer: nn.Conv2d, input_shape: tuple[int, int, int], axis: int) -> int:
    """The smallest side N >= n + padding of a torus that the stride divides."""
    padding, stride = int(layer.padding[axis]), layer.stride[axis]
    return -(-(input_shape[1 + axis] + padding) // stride) * stride
