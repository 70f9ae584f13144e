"""Rules of the orthogonal layers of LipConvNet: the convolution exponential and the Householder activation.

They hold for all stored numbers. In the roundings, R bounds the norm of the input, |A| of a matrix is
its entrywise absolute value, and Higham's rules gamma_j + gamma_k (1 + gamma_j) <= gamma_{j+k} and u <= gamma_1 collect
the terms.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from fractions import Fraction

from zoo.bounds.convolution import torus_norm
from zoo.bounds.lowered import convolution_rounding
from zoo.bounds.rounding import OUTWARD, UNDERFLOW, gamma
from zoo.bounds.rule import RAISED, Bound, Context, l2
from zoo.layers import ConvExponential, Householder
from zoo.lowering.sizes import same_map

LARGEST_EXPONENT = 64.0
MAX_TERMS = 100  # 170! is the last that float64 holds


def conv_exponential(layer: ConvExponential, context: Context) -> Bound:
    """x -> S(A) x + b, S(A) = sum of A^i / i! up to i = T, for a skew convolution A: |S(A)| <= 1 + the series' rest.

    *Proof.* A skew operator is normal with spectrum on the imaginary axis, so |S(A)| is the largest |S(i l)| over real
    |l| <= a, a >= |A|. There |S(i l)| <= |exp(i l)| + sum of a^i / i! over i > T <= 1 + a^(T+1) / (T+1)! /
    (1 - a / (T+2)) where a < T + 2. Without that the triangle inequality gives the sum of a^i / i! up to T. The zero-
    padded A is skew exactly if the stored kernel is, which is checked.

    *Rounding.* With n and alpha >= | |A| | those of `zoo.bounds.lowered`, a' = a + gamma_{n+1} alpha. The computed
    terms A t_{i-1} / i are at most a'^i / i! R, and each step adds gamma_{n+1} alpha |t_{i-1}| / i. So t_i errs by at
    most gamma_{n+1} alpha a'^(i-1) / (i-1)! R, all of them by gamma_{n+1} alpha exp(a') R, and adding them and b by
    gamma_{T+1} (exp(a') R + |b|): in all at most gamma_{n+T+2} ((1 + alpha) exp(a') R + |b|).
    """
    shape = context.map_shape()
    side = layer.weight.shape[-1]
    if side % 2 == 0 or not 1 <= layer.terms <= MAX_TERMS:
        told = f"only kernels of odd side and 1 to {MAX_TERMS} terms are proved"
        raise context.refuse(f"{told}, got {side} and {layer.terms}")
    weight, terms = context.exact(layer.weight, shape[0], shape[0], side, side), layer.terms
    bias = context.exact(layer.bias, shape[0])
    if not (weight == -weight[:, :, ::-1, ::-1].swapaxes(0, 1)).all():
        raise context.refuse("its kernel is not exactly skew")
    # The norm enters only through the rest of the series, so the quick bound is tight enough.
    sizes = same_map(weight.shape, shape[1:])
    proof, torus = torus_norm([weight], sizes, context)
    norm = proof.bound
    if norm > LARGEST_EXPONENT:
        raise context.refuse(f"its convolution has norm {norm:.3g}, and exp of that bounds nothing")
    series = math.fsum(norm**power / math.factorial(power) for power in range(terms + 1)) * OUTWARD
    if norm < (terms + 2) / 2:
        rest = norm ** (terms + 1) / math.factorial(terms + 1) / (1.0 - norm / (terms + 2))
        series = min(series, (1.0 + rest * OUTWARD) * OUTWARD)
    rounded = convolution_rounding(weight, sizes)
    fan_in, absolute = rounded.terms, rounded.absolute
    grown = math.exp(norm + gamma(fan_in + 1) * absolute) * OUTWARD
    return Bound(
        context.input_shape,
        series * RAISED,
        "skew-exponential",
        {**asdict(proof), **torus},
        fan_in=fan_in + terms,
        absolute_norm=(1.0 + absolute) * grown * RAISED,
        offset_norm=(l2(bias, shape[1] * shape[2]) + (UNDERFLOW + terms * rounded.offset) * grown) * RAISED,
        lowering=str(rounded.lowering),
    )


def householder(layer: Householder, context: Context) -> Bound:
    """z -> z - v min(v.z, 0) on pairs: Lipschitz max(1, |v|^2 - 1), decided in fractions.

    *Proof.* It is continuous and linear on either side of v.z = 0, with Jacobian I or I - v v^T, whose eigenvalues are
    1 and 1 - |v|^2.

    *Rounding.* Each entry is z_k - v_k min(v_1 z_1 + v_2 z_2, 0): two roundings of the sum of two products, one of the
    product, one of the subtraction: at most gamma_4 (|z| + |v| |v|.|z|), and | |v| |v|^T | = |v|^2.
    """
    channels = context.input_shape[0]
    if channels % 2:
        raise context.refuse(f"it pairs two halves of its channels, and {channels} is an odd number")
    weight = context.exact(layer.weight, 2, channels // 2)
    square = max(Fraction(first) ** 2 + Fraction(second) ** 2 for first, second in weight.T.tolist())
    lipschitz = 1.0 if square <= 2 else float(square - 1) * OUTWARD
    return Bound(
        context.input_shape,
        lipschitz,
        "reflection",
        {},
        fan_in=2,
        absolute_norm=(1.0 + float(square)) * OUTWARD,
        offset_norm=UNDERFLOW * (1.0 + float(square)),
    )
