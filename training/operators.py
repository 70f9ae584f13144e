"""Linear layers as operators, by which layers that differ only in their weights share a batch of power iteration.

Each acts in the geometry in which `zoo.bounds` will bound it, so that training sees what the certificate will say.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.bounds.convolution import geometry, torus_sides
from zoo.errors import UncertifiableLayerError
from zoo.layers import TokenLinear
from zoo.lowering.sizes import sizes_of


class OperatorShape(NamedTuple):
    """What two layers have in common if, as linear operators, they differ only in their weights."""

    geometry: str  # "matrix", "patches", "dense" or "torus"
    weight_shape: tuple[int, ...]
    input_shape: tuple[int, ...]  # of the vectors that the iteration works on, without the batch
    stride: tuple[int, int]
    padding: tuple[int, int]
    remainder: tuple[int, int]  # rows and columns of the input that the transposed convolution must add


def matrix_operator(layer: nn.Linear | TokenLinear, shape: tuple[int, ...]) -> OperatorShape:
    return OperatorShape("matrix", tuple(layer.weight.shape), (layer.weight.shape[1],), (1, 1), (0, 0), (0, 0))


def convolution_operator(layer: nn.Conv2d, shape: tuple[int, ...]) -> OperatorShape:
    """The operator of a convolution. Raises UncertifiableLayerError for options that it does not cover."""
    if layer.groups != 1 or layer.dilation != (1, 1) or layer.padding_mode != "zeros":
        raise UncertifiableLayerError(
            "no estimate for a Conv2d with groups, dilation or circular padding; instead: groups=1, dilation=1, zeros"
        )
    sizes = sizes_of(layer, shape)
    kernel, stride, padding = sizes.kernel, sizes.stride, sizes.padding
    kind = geometry(sizes)
    weight_shape = tuple(layer.weight.shape)
    if kind == "patches":
        columns = layer.in_channels * kernel[0] * kernel[1]
        return OperatorShape(kind, weight_shape, (columns,), stride, (0, 0), (0, 0))
    if kind == "torus":
        return OperatorShape(kind, weight_shape, (shape[0], *torus_sides(sizes)), stride, (0, 0), (0, 0))
    remainder = (
        (shape[1] + 2 * padding[0] - kernel[0]) % stride[0],
        (shape[2] + 2 * padding[1] - kernel[1]) % stride[1],
    )
    return OperatorShape(kind, weight_shape, shape, stride, padding, remainder)


def _overhang(operator: OperatorShape) -> tuple[int, int]:
    """Rows and columns of the torus that its last windows read a second time."""
    kernel = operator.weight_shape[2:]
    return max(kernel[0] - operator.stride[0], 0), max(kernel[1] - operator.stride[1], 0)


def apply(operator: OperatorShape, weights: Tensor, vectors: Tensor) -> Tensor:
    """W v for each of the G layers of a group: weights [G, *weight_shape], vectors [G, *input_shape]."""
    if operator.geometry in ("matrix", "patches"):
        return torch.bmm(weights.flatten(2), vectors[:, :, None])[:, :, 0]
    maps = vectors
    if operator.geometry == "torus":
        rows, columns = _overhang(operator)
        maps = F.pad(maps, (0, columns, 0, rows), mode="circular")
    maps = F.conv2d(
        maps.flatten(0, 1)[None], weights.flatten(0, 1), None, operator.stride, operator.padding, groups=len(weights)
    )
    return maps[0].unflatten(0, (len(weights), -1))


def adjoint(operator: OperatorShape, weights: Tensor, images: Tensor) -> Tensor:
    """W^T u for each of the G layers of a group: weights [G, *weight_shape], images as `apply` gives them."""
    if operator.geometry in ("matrix", "patches"):
        return torch.bmm(weights.flatten(2).transpose(1, 2), images[:, :, None])[:, :, 0]
    maps = F.conv_transpose2d(
        images.flatten(0, 1)[None],
        weights.flatten(0, 1),
        None,
        operator.stride,
        operator.padding,
        operator.remainder,
        groups=len(weights),
    )
    maps = maps[0].unflatten(0, (len(weights), -1))
    if operator.geometry == "torus":
        maps = _fold(_fold(maps, 2, operator.input_shape[1]), 3, operator.input_shape[2])
    return maps


def _fold(maps: Tensor, axis: int, side: int) -> Tensor:
    """Add what is beyond `side` to the start of the axis; shorter maps are filled up with zeros."""
    length = maps.shape[axis]
    folded = maps.new_zeros([*maps.shape[:axis], side, *maps.shape[axis + 1 :]])
    folded.narrow(axis, 0, min(length, side)).copy_(maps.narrow(axis, 0, min(length, side)))
    if length > side:
        folded.narrow(axis, 0, length - side).add_(maps.narrow(axis, side, length - side))
    return folded
