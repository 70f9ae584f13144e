"""From the body's bound to the two tables that a radius needs, one entry per ordered class pair.

    K[j, i] >= Lipschitz constant of f_j - f_i   (margin_lipschitz; 1 on the diagonal)
    T[j, i] >= rounding error of the computed margin at the input, plus that at any point of the ball
               (slack; -infinity on the diagonal)

With them `radius = min over i of (f_j - f_i - T_ji) / K_ji`, j the predicted class. The diagonal makes the predicted
class infinitely far from itself: it is left out by its index, never by the value of its logit, so ties count.

Every operation of `margin_tables` is an elementwise IEEE operation on NumPy arrays or floats in a fixed order (no
matrix product, no reduction of NumPy's), so every machine computes the same bits from the same weights.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zoo.bounds.rounding import OUTWARD, TINY, U, gamma
from zoo.bounds.rule import l1_of_rows
from zoo.bounds.spectral import Matrix, spectral_norm_bound
from zoo.errors import CertificateError

if TYPE_CHECKING:
    from zoo.bounds.liplt import LipLT

# The radius fl(fl(m - T) / K) exceeds (m - T) / K by a factor below (1 + u)^2. Raising K by more than that rounds every
# radius down and leaves no operation in the graph that an optimiser could take for a multiplication by 1 (one
# did remove a factor of 1 - 2^-50).
ROUND_DOWN = 1.0 + 2.0**-40


class MarginTables(NamedTuple):
    """K and T, float64 [C, C], both rounded up."""

    margin_lipschitz: Matrix
    slack: Matrix

    def sha256(self) -> str:
        """Of the float64 little-endian bytes, K first."""
        parts = (np.ascontiguousarray(table, dtype="<f8").tobytes() for table in self)
        return hashlib.sha256(b"".join(parts)).hexdigest()


def margin_tables(
    weight: Matrix,
    bias: Matrix,
    body_lipschitz: float,
    feature_norm: float,
    feature_error: float,
    norm: str = "l2",
    pairwise: Sequence[float] | None = None,
) -> MarginTables:
    """The tables for a head f = weight x + bias [C, d] on a body of the given Lipschitz and rounding bounds.

    With h_j the rows of the weight, |h| their dual norm (l2, or l1 where the features are bounded in l-infinity), R and
    E the bounds of the computed features' norm and error:

        K_ji = min(|h_j - h_i| body_lipschitz, pairwise_ji) ROUND_DOWN
        e_j  = gamma_{d+2} (|h_j| R + |b_j|)             the rounding of the computed logit j
        m_ji = |h_j - h_i| E + e_j + e_i                 the error of the computed margin
             + u (|f_j| + |f_i|)                         and of the subtraction, |f_j| <= |h_j| R + |b_j| + e_j
        T_ji = 2 m_ji                                    once at the input, once at the other point of the ball

    pairwise: other bounds of the constants of f_j - f_i, those of j = 1 (i = 0), then j = 2 (i = 0, 1), and so on.
    Both are positive, also for equal rows (K) and for rows of zeros (T): a tie is never 0 / 0.
    """
    classes, features = weight.shape
    norms = {"l2": _row_norms, "linf": l1_of_rows}[norm]
    row_norm = norms(weight)
    reach = (row_norm * feature_norm + np.abs(bias)) * OUTWARD
    local = gamma(features + 2) * reach * OUTWARD
    logit = (reach + local) * OUTWARD
    margin_lipschitz, slack = np.empty((classes, classes)), np.empty((classes, classes))
    for j in range(classes):
        distance = norms(weight - weight[j])
        margin_lipschitz[j] = np.maximum(distance * body_lipschitz * OUTWARD * ROUND_DOWN, TINY)
        error = distance * feature_error + local + local[j] + U * (logit + logit[j])
        slack[j] = 2.0 * error * OUTWARD + TINY
    if pairwise is not None:
        margin_lipschitz = np.minimum(margin_lipschitz, np.maximum(_symmetric(pairwise, classes) * ROUND_DOWN, TINY))
    diagonal = np.arange(classes)
    margin_lipschitz[diagonal, diagonal] = 1.0
    slack[diagonal, diagonal] = -np.inf
    return MarginTables(margin_lipschitz, slack)


def compared_constants(weight: Matrix, body_lipschitz: float, liplt: LipLT | None) -> dict[str, Matrix]:
    """Bounds of the constants of f_j - f_i, by the name of the rule that gives them, for comparison: each [C, C].

    From constants L_i of f_i and L of f: pairs L_ij directly, sums L_i + L_j (Leino et al. 2021), and sqrt(2) L
    (Tsuzuku et al. 2018); by the product of layer bounds with the head's weight [C, d], and by LipLT where it applies.
    A certificate takes the smaller of the two `pairs`.
    """
    rows = _row_norms(weight)
    network = spectral_norm_bound([(weight, None)]).bound * body_lipschitz * OUTWARD
    pairs = np.stack([_row_norms(weight - row) for row in weight]) * body_lipschitz * OUTWARD
    tables = {"product": (pairs, rows * body_lipschitz * OUTWARD, network)}
    if liplt is not None:
        tables["LipLT"] = (liplt.pairwise, liplt.classes, liplt.logits)
    named: dict[str, Matrix] = {}
    for rule, (pairs, single, network) in tables.items():
        named[f"{rule}, pairs"] = pairs
        named[f"{rule}, sums"] = (single[:, None] + single) * OUTWARD
        named[f"{rule}, sqrt(2)"] = np.full(pairs.shape, math.sqrt(2.0) * network * OUTWARD)
    return named


def _symmetric(pairwise: Sequence[float], classes: int) -> Matrix:
    rows, columns = np.tril_indices(classes, -1)
    if len(pairwise) != len(rows):
        raise CertificateError(f"pairwise has {len(pairwise)} constants, {classes} classes have {len(rows)} pairs")
    table = np.zeros((classes, classes))
    table[rows, columns] = table[columns, rows] = pairwise
    return table


def _row_norms(rows: Matrix) -> Matrix:
    """At least the l2 norm of each row, its squares added one column after the other; also of rows known up to u."""
    total = np.zeros(len(rows))
    for column in np.ascontiguousarray(rows.T):
        total = total + column * column
    return np.sqrt(total) * (1.0 + gamma(rows.shape[1] + 8))
