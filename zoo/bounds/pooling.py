"""Pools: averages and maxima over windows of a map, which may overlap, and their windows as places.

Along each axis a window of k taps at distance d starts at i s - p for the output i. A tap outside of the map reads 0 in
an average, and nothing in a maximum.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from zoo.bounds.rounding import OUTWARD
from zoo.bounds.rule import RAISED, Bound, Context
from zoo.lowering.windows import Windows, windows_of


class Places(NamedTuple):
    """The windows along one axis: entry i, j counts how often output i reads input j."""

    counts: NDArray[np.float64]  # [outputs, inputs]

    @property
    def most_in_a_window(self) -> int:
        return int(self.counts.sum(axis=1).max())

    @property
    def most_over_a_pixel(self) -> int:
        return int(self.counts.sum(axis=0).max())


def average_pool(layer: nn.AvgPool2d | nn.AdaptiveAvgPool2d, context: Context) -> Bound:
    """Sums over windows, divided by one number: on each channel the Kronecker product of the sums along either axis.

    So its norm is that of the rows' matrix times that of the columns', over the divisor; both are of zeros and ones.
    Rounding: a sum of at most k^2 numbers and one division, and no entry is negative.
    """
    windows, axes, shape = _followed(layer, context)
    proofs = {
        name: context.inside(name, context.input_shape).prove([(axis.counts, None)])
        for name, axis in zip(("rows", "columns"), axes, strict=True)
    }
    norm = math.prod(proof.bound for proof in proofs.values()) * OUTWARD / windows.divisor * RAISED
    terms = {f"{axis}.{term}": value for axis, proof in proofs.items() for term, value in asdict(proof).items()}
    return Bound(shape, norm, "windows", terms, fan_in=math.prod(windows.kernel), absolute_norm=norm)


def average_pool_linf(layer: nn.AvgPool2d | nn.AdaptiveAvgPool2d, context: Context) -> Bound:
    """The largest window's share of the divisor."""
    windows, axes, shape = _followed(layer, context)
    norm = math.prod(axis.most_in_a_window for axis in axes) / windows.divisor * RAISED
    return Bound(shape, norm, "windows", {}, fan_in=math.prod(windows.kernel), absolute_norm=norm)


def max_pool(layer: nn.MaxPool2d, context: Context) -> Bound:
    """In l2 at most sqrt(m), m the most windows that one pixel is in; in l-infinity 1.

    *Proof.* A maximum moves by no more than one of its inputs does, so the square of a window's change is at most the
    sum of its inputs' squares, and each of these counts m times at most. A pixel above all others moves m.
    """
    _, axes, shape = _followed(layer, context)
    overlap = math.prod(axis.most_over_a_pixel for axis in axes) if context.norm == "l2" else 1
    lipschitz = 1.0 if overlap == 1 else math.sqrt(overlap) * OUTWARD
    return Bound(shape, lipschitz, "nonexpansive" if overlap == 1 else "overlap", {}, absolute_norm=lipschitz)


def _followed(
    layer: nn.AvgPool2d | nn.AdaptiveAvgPool2d | nn.MaxPool2d, context: Context
) -> tuple[Windows, tuple[Places, Places], tuple[int, int, int]]:
    channels, *sides = context.map_shape()
    refusal, windows = windows_of(layer, (sides[0], sides[1]))
    if windows is None:
        raise context.refuse(refusal)
    axes = tuple(Places(windows.counts(axis)) for axis in (0, 1))
    rows, columns = windows.outputs
    return windows, axes, (channels, rows, columns)  # type: ignore[return-value]
