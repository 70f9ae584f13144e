"""Upper bounds of spectral norms, proved by a Cholesky factor and its residual.

For a matrix S and a number tau, let M = tau I - S S^H. If L is *any* matrix, then L L^H >= 0 gives

    tau I - S S^H = L L^H - R >= -|R| I,   so   |S|^2 <= tau + |R|,   R = L L^H - M.

A Cholesky factorisation proposes L; the residual R is then evaluated, with its own rounding bounded, so neither
LAPACK's factorisation nor the eigenvalue that proposed tau is trusted: a wrong one only makes the bound worse.
Complex products are written as real ones, so that the model of arithmetic (M) of `zoo.bounds.rounding` covers them.

Source: Rump 2011, "Verified bounds for singular values", BIT 51, in the a-posteriori form above.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.bounds.rounding import OUTWARD, TINY, U, gamma

Matrix = NDArray[np.float64]
HEADROOM = 1e-8  # tau above the largest eigenvalue, so that the factorisation succeeds; costs 5e-9 of the norm


# What is measured (residuals, a-priori rounding) is published twice as large: another machine, whose sums round in
# another order, then measures less than what it checks. It costs about 1e-12 of a bound.
PUBLISHED = 2.0


@dataclass(frozen=True)
class Family:
    """Matrices that are made anew each time that they are asked for: all together may not fit into memory."""

    make: Callable[[], Iterator[tuple[Matrix, Matrix | None]]]

    def __iter__(self) -> Iterator[tuple[Matrix, Matrix | None]]:
        return self.make()


@dataclass(frozen=True)
class NormProof:
    """Numbers that hold for every matrix of a family, and the bound that follows from them alone."""

    tau: float
    residual: float  # of the Cholesky factor of tau I - S S^H, its own rounding included
    rounding: float  # of the computed S S^H and of the diagonal
    perturbation: float = 0.0  # the spectral norm of what S itself is off by
    divisor: float = 1.0  # of the family: sqrt(s_rows s_columns) for the symbol of a strided convolution

    @property
    def bound(self) -> float:
        """At least |S| / divisor for every matrix S of the family; the same bits on every machine."""
        root = math.sqrt((self.tau + self.residual + self.rounding) * OUTWARD)
        return (root + self.perturbation) * OUTWARD / self.divisor * OUTWARD


def spectral_norm_bound(
    family: Iterable[tuple[Matrix, Matrix | None]],
    tau: float = 0.0,
    perturbation: float = 0.0,
    divisor: float = 1.0,
    advance: Callable[[], None] = lambda: None,
) -> NormProof:
    """No matrix of the family, divided by `divisor`, has a spectral norm above the proof's bound.

    family: pairs (real, imaginary) of float64 matrices [m, n], imaginary None for real ones, each known up to an
        error of spectral norm `perturbation`; the first ones are asked for again if a later one raises tau.
    tau: where to start; a tau from an earlier proof saves the eigenvalues, and one that is too small is raised.
    advance: called after each matrix, for a progress bar.
    """
    tau, last, errors = max(tau, TINY), 0, []
    for number, matrix in enumerate(family):
        before, (tau, *error) = tau, _enclosed(*matrix, tau)
        last = last if tau == before else number
        errors.append(error)
        advance()
    # The published tau is the last one. The first matrices are proved already, with a smaller one; they are measured
    # with the last one as well, as a verification will.
    errors += [_enclosed(*matrix, tau)[1:] for matrix in islice(family, last)]
    residual, rounding = (max(column) for column in zip(*errors, strict=True))
    return NormProof(tau, PUBLISHED * residual, PUBLISHED * rounding, PUBLISHED * perturbation, divisor)


def _enclosed(real: Matrix, imaginary: Matrix | None, tau: float) -> tuple[float, float, float]:
    """For one matrix: tau, raised until there is a Cholesky factor; the factor's residual; the rounding."""
    if real.shape[0] > real.shape[1]:  # the smaller of S S^H and S^H S; conjugation changes no norm
        real, imaginary = real.T, None if imaginary is None else -imaginary.T
    gram, gram_error = _gram(real, imaginary)
    headroom = HEADROOM
    with np.errstate(over="ignore", invalid="ignore"):  # the tau of a hostile certificate proves infinity, silently
        while (proof := _enclose(gram, tau)) is None:
            tau = max(float(np.linalg.eigvalsh(gram)[-1]), tau) * (1.0 + headroom)
            headroom *= 2.0
    residual, diagonal_error = proof
    return tau, residual, (gram_error + diagonal_error) * OUTWARD


def _gram(real: Matrix, imaginary: Matrix | None) -> tuple[Any, float]:
    """S S^H as computed, and a bound of the Frobenius norm of its error."""
    inner = real.shape[1]
    if imaginary is None:
        return real @ real.T, 2.0 * gamma(inner + 8) * _square_norm(real)
    both = np.hstack([real, imaginary])
    cross = imaginary @ real.T
    return (both @ both.T) + 1j * (cross - cross.T), 2.0 * gamma(2 * inner + 8) * _square_norm(both)


def _enclose(gram: Any, tau: float) -> tuple[float, float] | None:
    """(|R|, error of the diagonal) for M = tau I - gram, R = L L^H - M; None where no Cholesky factor is found."""
    size = len(gram)
    diagonal = gram.diagonal().real
    matrix = -gram
    matrix[np.diag_indices(size)] = tau - diagonal
    try:
        factor = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return None
    product, product_error = _gram(factor.real, factor.imag if np.iscomplexobj(factor) else None)
    residual = math.sqrt(_square_norm(product - matrix)) + product_error
    residual += 2.0 * gamma(2 * size + 8) * math.sqrt(_square_norm(matrix))
    if math.isnan(residual):  # a factor that is no number proves nothing, and a maximum would lose it
        residual = math.inf
    diagonal_error = 2.0 * U * (tau + float(np.abs(diagonal).max()))
    return residual * OUTWARD, diagonal_error


def _square_norm(matrix: Any) -> float:
    """At least the square of the Frobenius norm, for any matrix of fewer than 2^35 entries."""
    parts = (matrix.real, matrix.imag) if np.iscomplexobj(matrix) else (matrix,)
    total = sum(float(np.square(part).sum()) for part in parts)
    return total * (1.0 + 2.0**-16) + TINY
