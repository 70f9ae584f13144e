"""The rule of `SelfAttention`, on all inputs and for the stored matrices."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np

from zoo.bounds.rounding import OUTWARD, UNDERFLOW
from zoo.bounds.rule import RAISED, Bound, Context, schur_bound
from zoo.layers import SelfAttention


def self_attention(layer: SelfAttention, context: Context) -> Bound:
    """x -> (mean of v + attention) / 4: Lipschitz |V| (1 + 3 |Q| |K|) / 4.

    *Proof.* Write the T projected tokens as the rows of P [T, C], |p_i| <= 1, so |P| <= sqrt(T) in the spectral norm,
    too. The projection onto the ball is 1-Lipschitz for each token, hence for all of them in the Frobenius norm |.|_F.
    What follows is a polynomial G on a product of balls, which is convex, so its largest derivative there bounds it.
    Head h has the rows Q_h, K_h, V_h of the three matrices and gives

        G_h = (1 1^T P V_h^T + P Q_h^T K_h P^T P V_h^T) / T.

    Its derivative along dP has four terms. Each is bounded over all heads together, by |A B|_F <= |A| |B|_F and with
    the sum over h of |dP V_h^T|_F^2 = |dP V^T|_F^2 <= |V|^2 |dP|_F^2, and so for Q and K; a part is no longer than the
    whole, |Q_h| <= |Q|:

        1 1^T dP V_h^T / T                       |V| |dP|_F, for |1 1^T| = T
        (dP Q_h^T) (K_h P^T P V_h^T) / T         |Q| |dP|_F   max over h of |K_h| |P|^2 |V_h| / T
        (P Q_h^T K_h P^T) (dP V_h^T) / T         |V| |dP|_F   max over h of |Q_h| |K_h| |P|^2 / T
        (P Q_h^T) (K_h dP^T) (P V_h^T) / T       |K| |dP|_F   max over h of |Q_h| |V_h| |P|^2 / T

    With |P|^2 <= T they add up to |V| (1 + 3 |Q| |K|). It is met, as Q = K = V = I and P = c 1 e^T show: G is
    (c + c^3) 1 e^T there, of slope 1 + 3 c^2, up to c = 1.

    *Range.* |q_i| <= |Q|, and the matrix of head h that acts on it is a mean of v_jh k_jh^T, of norm at most |V| |K|:
    so |y_i| <= |V| (1 + |Q| |K|) / 4 for each of the T tokens.

    *Rounding.* The projection is y = x / max(1, largest |x_c|), then p = y / sqrt(max(1, |y|^2)): where the first
    divisor is not 1, some |y_c| is exactly 1, so this is x / max(1, |x|), and no square overflows. The second divisor
    errs by at most gamma_{C+4}, relatively (y once, its square and the sum C + 2, the root; a maximum with 1 keeps it),
    so p by gamma_{2C+10}, entrywise. Let bars mark what the same formulas give on entrywise absolute values, nu_Q >=
    | |Q| | and so on. A product by Q errs by at most gamma_{3C+10} of q-bar = |Q| |p|; the sum over T tokens of v k^T,
    its quotient by T and the sum over C / h channels of its product with q by gamma_n of the bars, n = 3 (3C + 10) + T
    + C / h + 3 with the last addition; the mean by less; the division by 4 is exact. So all errors are at most gamma_n
    of y-bar, and its norm is bounded as the range is, with each |p_i| <= |x_i| for one factor:

        | y-bar |_F <= nu_V (1 + nu_Q nu_K) / 4 |x|_F.

    Underflow loses less than (T C)^2 2^-1074 (1 + nu_Q) (1 + nu_K) (1 + nu_V).
    """
    channels, rows, columns = context.map_shape()
    tokens = rows * columns
    if layer.heads < 1 or channels % layer.heads:
        raise context.refuse(f"{channels} channels cannot be cut into {layer.heads} equal heads")
    proof: dict[str, float] = {}
    norms, absolutes = [], []
    for name in ("query", "key", "value"):
        weight = context.exact(getattr(layer, name), channels, channels)
        inner = context.inside(name, (channels,)).prove([(weight, None)])
        proof |= {f"{name}.{key}": value for key, value in asdict(inner).items()}
        norms.append(inner.bound)
        absolutes.append(schur_bound(np.abs(weight)))
    query, key, value = norms
    loss = math.prod(1.0 + absolute for absolute in absolutes)
    return Bound(
        context.input_shape,
        value * (1.0 + 3.0 * query * key) / 4.0 * RAISED,
        "self-attention",
        proof,
        fan_in=3 * (3 * channels + 10) + tokens + channels // layer.heads + 1,
        absolute_norm=absolutes[2] * (1.0 + absolutes[0] * absolutes[1]) / 4.0 * RAISED,
        offset_norm=UNDERFLOW * loss * OUTWARD,
        range_norm=math.sqrt(tokens) * value * (1.0 + query * key) / 4.0 * RAISED,
    )
