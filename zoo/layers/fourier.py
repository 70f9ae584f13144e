"""The discrete Fourier transform of square maps as products of real matrices, each entry the nearest binary64 number.

A map of n x n cells with p zeros on every side is one on a torus of side t = n + 2 p. Its transform, scaled to be
unitary, is taken along the rows' axis for the frequencies 0 to t // 2, half of them, since the map is real, and along
the columns' axis for all t.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

PI = "3.14159265358979323846264338327950288419716939937510582097494459"
DIGITS, ZERO = 60, Decimal("1e-40")  # a cosine or sine of a torus' angles that is closer to 0 than this is 0


class Transform(NamedTuple):
    """The transform by real matrices: real parts of numbers stand above imaginary ones.

    The inverse transform is by the transposes, that of `rows` with its columns times `twice`, which stands for the
    frequencies that are left out, conjugates of others.
    """

    rows: Matrix  # [2 h, n], h = t // 2 + 1: cos above -sin
    columns: Matrix  # [2 t, 2 n]: exp(-i w) as a real matrix
    twice: Matrix  # [2 h]: 2 where a frequency has a conjugate, 1 where it is its own

    @property
    def half(self) -> int:
        """h, the number of frequencies along the rows' axis."""
        return len(self.rows) // 2

    @property
    def torus(self) -> int:
        """t, the number of frequencies along the columns' axis: the side of the torus."""
        return len(self.columns) // 2

    @property
    def back(self) -> Matrix:
        """The matrix from the frequencies back to the rows: [n, 2 h]."""
        return self.rows.T * self.twice


@lru_cache(maxsize=16)
def transform(side: int, padding: int = 0) -> Transform:
    """The matrices for maps of side x side cells; the same bits on every machine."""
    torus = side + 2 * padding
    half = torus // 2 + 1
    cosines, sines = _circle(torus)
    turns = np.arange(torus)[:, None] * np.arange(padding, padding + side) % torus
    cosine, sine = cosines[turns], sines[turns]
    twice = np.full(half, 2.0)
    twice[[0, -1] if torus % 2 == 0 else [0]] = 1.0
    matrices = Transform(
        np.vstack([cosine[:half], -sine[:half]]), np.block([[cosine, sine], [-sine, cosine]]), np.tile(twice, 2)
    )
    for matrix in matrices:
        matrix.setflags(write=False)
    return matrices


def _circle(torus: int) -> tuple[Matrix, Matrix]:
    """cos(2 pi j / t) / sqrt(t) and sin(2 pi j / t) / sqrt(t) for j from 0 to t - 1, by their series."""
    parts = np.zeros((2, torus))
    with localcontext() as context:
        context.prec = DIGITS
        root = Decimal(torus).sqrt()
        for turn in range(torus):
            angle, term, power = 2 * Decimal(PI) * turn / torus, Decimal(1), 0
            sums = [Decimal(0), Decimal(0)]
            while abs(term) > Decimal(10) ** -DIGITS:
                sums[power % 2] += term if power % 4 < 2 else -term
                power += 1
                term = term * angle / power
            parts[:, turn] = [0.0 if abs(entry) < ZERO else float(entry / root) for entry in sums]
    return parts[0], parts[1]
