"""The windows of pools: which pixels of a map each output reads, for the proof and for the graph."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from zoo.lowering.sizes import Pair, output_side


class Windows(NamedTuple):
    """Windows of kernel[0] x kernel[1] taps on a map; a tap on the padding reads 0, or nothing in a maximum."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    map: Pair  # of the input
    divisor: int = 1

    @property
    def outputs(self) -> Pair:
        """The sides of the output's map."""
        reach = (gap * (side - 1) + 1 for gap, side in zip(self.dilation, self.kernel, strict=True))
        rows, columns = map(output_side, self.map, reach, self.stride, self.padding)
        return rows, columns

    def positions(self, axis: int) -> NDArray[np.int64]:
        """The positions that each tap reads along an axis, also outside of the map: [taps, outputs]."""
        taps = np.arange(self.kernel[axis])[:, None] * self.dilation[axis]
        return np.arange(self.outputs[axis]) * self.stride[axis] - self.padding[axis] + taps

    def counts(self, axis: int) -> NDArray[np.float64]:
        """How often each output reads each pixel along an axis: [outputs, inputs], 0 or 1."""
        counts = np.zeros((self.outputs[axis], self.map[axis]))
        for row in self.positions(axis):
            inside = (row >= 0) & (row < self.map[axis])
            counts[np.flatnonzero(inside), row[inside]] += 1
        return counts


def windows_of(layer: nn.AvgPool2d | nn.AdaptiveAvgPool2d | nn.MaxPool2d, sides: Pair) -> tuple[str, Windows | None]:
    """The windows of a pool on a map; if these are not proved, the reason and None."""
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        outputs = tuple(
            side if wanted is None else int(wanted)
            for wanted, side in zip(_pair(layer.output_size), sides, strict=True)
        )
        if any(wanted < 1 or side % wanted for wanted, side in zip(outputs, sides, strict=True)):
            told = f"{outputs[0]} x {outputs[1]} outputs do not divide a map of {sides[0]} x {sides[1]}"
            return f"{told}; instead: nn.AvgPool2d, whose windows are of one size", None
        kernel: Pair = (sides[0] // outputs[0], sides[1] // outputs[1])
        return "", Windows(kernel, kernel, (0, 0), (1, 1), sides, kernel[0] * kernel[1])
    if layer.ceil_mode:
        return "ceil_mode=True is not proved; instead: padding", None
    kernel, stride, padding = _pair(layer.kernel_size), _pair(layer.stride), _pair(layer.padding)
    dilation = _pair(layer.dilation) if isinstance(layer, nn.MaxPool2d) else (1, 1)
    if min(*kernel, *stride, *dilation) < 1:
        return "a kernel, stride or dilation below 1 is no window", None
    if isinstance(layer, nn.MaxPool2d):
        if layer.return_indices:
            return "return_indices=True gives no map; instead: False", None
        windows = Windows(kernel, stride, padding, dilation, sides)
        if min(windows.outputs) > 0 and not all(windows.counts(axis).any(axis=1).all() for axis in (0, 1)):
            return "a window reads no pixel, whose maximum is minus infinity", None
    else:
        if any(padding) and not layer.count_include_pad:
            return "count_include_pad=False is not proved with a padding; instead: True", None
        divisor = layer.divisor_override or kernel[0] * kernel[1]
        if divisor < 1:
            return f"divisor_override={divisor} is not proved, only numbers from 1", None
        windows = Windows(kernel, stride, padding, dilation, sides, divisor)
    if any(2 * edge > side for edge, side in zip(padding, kernel, strict=True)):
        return f"a padding of {padding} is more than half of the windows, which PyTorch refuses", None
    if min(windows.outputs) < 1:
        return f"its windows do not fit a map of {sides[0]} x {sides[1]}", None
    return "", windows


def _pair(value: object) -> Pair:
    numbers = tuple(value) if isinstance(value, tuple | list) else (value,)
    return numbers if len(numbers) == 2 else numbers * 2  # type: ignore[return-value]
