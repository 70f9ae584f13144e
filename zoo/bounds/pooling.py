"""Rules of pools: averages and maxima over windows of a map, which may overlap.

Along each axis a window of k taps at distance d starts at i s - p for the output i. A tap outside of the map reads 0 in
an average, and nothing in a maximum.
"""

from __future__ import annotations

import math
from dataclasses import asdict

from torch import nn

from zoo.bounds.rounding import OUTWARD
from zoo.bounds.rule import RAISED, Bound, Context
from zoo.bounds.spectral import Matrix
from zoo.lowering.windows import Windows, windows_of


def average_pool(layer: nn.AvgPool2d | nn.AdaptiveAvgPool2d, context: Context) -> Bound:
    """Sums over windows, divided by one number: on each channel the Kronecker product of the sums along either axis.

    So its norm is that of the rows' matrix times that of the columns', over the divisor; both are of zeros and ones.
    Rounding: a sum of at most k^2 numbers and one division, and no entry is negative.
    """
    windows, axes, shape = _followed(layer, context)
    proofs = {
        name: context.inside(name, context.input_shape).prove([(counts, None)])
        for name, counts in zip(("rows", "columns"), axes, strict=True)
    }
    norm = math.prod(proof.bound for proof in proofs.values()) * OUTWARD / windows.divisor * RAISED
    terms = {f"{axis}.{term}": value for axis, proof in proofs.items() for term, value in asdict(proof).items()}
    return Bound(shape, norm, "windows", terms, fan_in=math.prod(windows.kernel), absolute_norm=norm)


def average_pool_linf(layer: nn.AvgPool2d | nn.AdaptiveAvgPool2d, context: Context) -> Bound:
    """The largest absolute row sum: the most inputs that a window holds, over the divisor."""
    windows, axes, shape = _followed(layer, context)
    norm = math.prod(int(counts.sum(axis=1).max()) for counts in axes) / windows.divisor * RAISED
    return Bound(shape, norm, "windows", {}, fan_in=math.prod(windows.kernel), absolute_norm=norm)


def max_pool(layer: nn.MaxPool2d, context: Context) -> Bound:
    """In l2 at most sqrt(m), m the most windows that one pixel is in; in l-infinity 1.

    *Proof.* A maximum moves by no more than one of its inputs does, so the square of a window's change is at most the
    sum of its inputs' squares, and each of these counts m times at most. A pixel above all others moves m.
    """
    _, axes, shape = _followed(layer, context)
    overlap = math.prod(int(counts.sum(axis=0).max()) for counts in axes) if context.norm == "l2" else 1
    lipschitz = 1.0 if overlap == 1 else math.sqrt(overlap) * OUTWARD
    return Bound(shape, lipschitz, "nonexpansive" if overlap == 1 else "overlap", {}, absolute_norm=lipschitz)


def _followed(
    layer: nn.AvgPool2d | nn.AdaptiveAvgPool2d | nn.MaxPool2d, context: Context
) -> tuple[Windows, tuple[Matrix, ...], tuple[int, int, int]]:
    """The pool's windows, how often output i reads input j along each axis, and the shape of its output."""
    channels, *sides = context.map_shape()
    refusal, windows = windows_of(layer, (sides[0], sides[1]))
    if windows is None:
        raise context.refuse(refusal)
    rows, columns = windows.outputs
    return windows, tuple(windows.counts(axis) for axis in (0, 1)), (channels, rows, columns)
