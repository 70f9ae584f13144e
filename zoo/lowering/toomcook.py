"""Toom-Cook's algorithm for short correlations, exactly: fewer products than the sum of taps has.

Outputs y_i = sum of w_j x_{i+j}, i < m, j < r, of the a = m + r - 1 inputs x are

    y = A ((G w) * (B x)),    * entry by entry,

with a products instead of m r. G w and, transposed, A are values of polynomials at a points, infinity among them; B
takes such values back to coefficients, transposed. In two dimensions each axis has its own A, G and B.

Source: Toom 1963, Cook 1966; Winograd 1980, "Arithmetic complexity of computations", for the transposed form; Lavin,
Gray 2016, arXiv 1509.09308, for convolutional networks.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Exact = tuple[tuple[Fraction, ...], ...]

# The finite points of the algorithms, in the order in which they are taken; infinity is always the last one. All their
# powers are short binary fractions, and points of similar size keep the numbers small.
POINTS = tuple(map(Fraction, ("0", "1", "-1", "1/2", "-2", "-1/2", "2", "1/4", "-4")))


class ToomCook(NamedTuple):
    """The three matrices for `outputs` outputs by `taps` taps, each entry as the nearest binary64 number.

    Entries of `back` and `data` are exact; those of `kernel` err by at most u, relatively.
    """

    back: Matrix  # A [m, a]
    kernel: Matrix  # G [a, r]
    data: Matrix  # B [a, a]

    @property
    def size(self) -> int:
        """a, the inputs of a tile and its products."""
        return len(self.data)


def exact_algorithm(outputs: int, taps: int) -> tuple[Exact, Exact, Exact]:
    """A [m, a], G [a, r] and B [a, a] in fractions, with integers in B."""
    size = outputs + taps - 1
    points = POINTS[: size - 1]
    if len(points) < size - 1:
        raise ValueError(f"{size - 1} points are needed for {outputs} outputs of {taps} taps, known: {len(POINTS)}")

    def values(degree: int) -> list[list[Fraction]]:
        """1, x, ..., x^(degree - 1) at each point; at the point infinity the last one is 1, the others are 0."""
        rows = [[point**power for power in range(degree)] for point in points]
        return [*rows, [Fraction(0)] * (degree - 1) + [Fraction(1)]]

    columns = _inverse(values(size))
    data, kernel = [], []
    for index, row in enumerate(values(taps)):
        entries = [column[index] for column in columns]  # a row of the transposed inverse
        factor = math.lcm(*(entry.denominator for entry in entries))
        data.append(tuple(entry * factor for entry in entries))
        kernel.append(tuple(entry / factor for entry in row))
    back = tuple(zip(*values(outputs), strict=True))
    return back, tuple(kernel), tuple(data)


@cache
def algorithm(outputs: int, taps: int) -> ToomCook:
    """The algorithm in binary64. One output, m = 1, is the plain sum of taps: G, B and A choose and add."""
    if outputs == 1:
        result = ToomCook(np.ones((1, taps)), np.eye(taps), np.eye(taps))
    else:
        parts = exact_algorithm(outputs, taps)
        result = ToomCook(*(np.array([[float(entry) for entry in row] for row in part]) for part in parts))
        for part, rounded in ((parts[0], result.back), (parts[2], result.data)):
            entries = zip(rounded.flat, sum(part, ()), strict=True)
            assert all(Fraction(float(entry)) == value for entry, value in entries)
    for matrix in result:
        matrix.setflags(write=False)
    return result


def _inverse(rows: list[list[Fraction]]) -> list[list[Fraction]]:
    """The inverse of a regular matrix of fractions, by Gauss and Jordan."""
    size = len(rows)
    work = [[*row, *(Fraction(int(i == j)) for j in range(size))] for i, row in enumerate(rows)]
    for column in range(size):
        pivot = next(index for index in range(column, size) if work[index][column])
        work[column], work[pivot] = work[pivot], work[column]
        leading = work[column][column]
        work[column] = [entry / leading for entry in work[column]]
        for index, row in enumerate(work):
            if index != column and row[column]:
                factor = row[column]
                work[index] = [entry - factor * other for entry, other in zip(row, work[column], strict=True)]
    return [row[size:] for row in work]
