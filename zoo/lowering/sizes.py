"""The sizes of convolutions, by arithmetic on integers alone, for the proof and for the graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import nn

Pair = tuple[int, int]  # for rows and for columns


def output_side(side: int, kernel: int, stride: int, padding: int) -> int:
    """How many windows of `kernel` cells fit, one every `stride` cells, on `side` cells and `padding` at either end."""
    return (side + 2 * padding - kernel) // stride + 1


class Sizes(NamedTuple):
    """The sizes of a convolution of one group without dilation."""

    in_channels: int
    out_channels: int
    kernel: Pair
    stride: Pair
    padding: Pair
    map: Pair  # of the input
    circular: bool = False  # the padding is the map's other side, instead of zeros

    @property
    def outputs(self) -> Pair:
        """The sides of the output's map."""
        rows, columns = map(output_side, self.map, self.kernel, self.stride, self.padding)
        return rows, columns

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """The shape [C, H, W] of the output."""
        return self.out_channels, *self.outputs

    @property
    def cells(self) -> Sizes:
        """The same convolution with stride 1 and no padding: its pixels are cells of stride x stride pixels.

        A kernel that ends inside a cell is filled up with zeros.
        """
        rows, columns = (-(-side // step) for side, step in zip(self.kernel, self.stride, strict=True))
        sides = (self.outputs[0] + rows - 1, self.outputs[1] + columns - 1)
        channels = self.in_channels * math.prod(self.stride)
        return Sizes(channels, self.out_channels, (rows, columns), (1, 1), (0, 0), sides)


def sizes_of(layer: nn.Conv2d, input_shape: tuple[int, ...]) -> Sizes:
    """The sizes of a layer on maps [C, H, W], of which the proof and the graph decide alike.

    All its groups are taken as one, and a dilated kernel as one with zeros between its taps.
    """
    stride, padding = ((int(pair[0]), int(pair[1])) for pair in (layer.stride, layer.padding))
    rows, columns = (gap * (side - 1) + 1 for gap, side in zip(layer.dilation, layer.kernel_size, strict=True))
    circular = layer.padding_mode == "circular" and any(padding)
    sides = (input_shape[1], input_shape[2])
    return Sizes(input_shape[0], layer.out_channels, (rows, columns), stride, padding, sides, circular)


def adjoint_sizes(layer: nn.ConvTranspose2d, input_shape: tuple[int, ...]) -> Sizes:
    """The sizes of the convolution whose adjoint a transposed convolution is.

    It goes from that one's outputs to its inputs [C, H, W], by the same kernel. `map` has the sides of its output.
    It is no convolution onto those inputs unless `outputs` are their sides.
    """
    kernel, stride, padding, extra = (
        (int(pair[0]), int(pair[1])) for pair in (layer.kernel_size, layer.stride, layer.padding, layer.output_padding)
    )
    rows, columns = (
        (side - 1) * step - 2 * edge + width + more
        for side, step, edge, width, more in zip(input_shape[1:], stride, padding, kernel, extra, strict=True)
    )
    return Sizes(layer.out_channels, input_shape[0], kernel, stride, padding, (rows, columns))


def same_map(kernel_shape: Sequence[int], sides: Sequence[int]) -> Sizes:
    """The sizes of the convolution by a kernel [O, I, k, k], k odd, padded so that the map keeps its sides."""
    out_channels, in_channels, side, _ = kernel_shape
    padding = side // 2
    return Sizes(in_channels, out_channels, (side, side), (1, 1), (padding, padding), (sides[0], sides[1]))
