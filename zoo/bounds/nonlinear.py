"""Rules of trained layers that are no single matrix, and of the fixed maps around them.

Each constant holds for the stored numbers, whatever they were trained to be. In the roundings, R bounds the norm of
the input, |A| of a matrix is its entrywise absolute value, and Higham's rules gamma_j + gamma_k (1 + gamma_j) <=
gamma_{j+k} and u <= gamma_1 collect the terms.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from fractions import Fraction

import numpy as np
from torch import nn

from zoo.bounds.convolution import convolution_norm, same_map, torus_norm
from zoo.bounds.rule import RAISED, Bound, Context, l2, schur_bound
from zoo.bounds.spectral import Matrix, NormProof
from zoo.layers import (
    ConvExponential,
    ConvexPotential,
    FirstChannels,
    Householder,
    PadChannels,
    PatchPool,
    TokenLinear,
)
from zoo.rounding import OUTWARD, UNDERFLOW, U, gamma

LARGEST_EXPONENT = 64.0
MAX_TERMS = 100  # 170! is the last that float64 holds


def pad_channels(layer: PadChannels, context: Context) -> Bound:
    if layer.channels < context.input_shape[0]:
        raise context.refuse(f"it cannot pad {context.input_shape[0]} channels to {layer.channels}")
    return Bound((layer.channels, *context.input_shape[1:]), 1.0, "nonexpansive", {})


def first_channels(layer: FirstChannels, context: Context) -> Bound:
    if not 1 <= layer.channels <= context.input_shape[0]:
        raise context.refuse(f"it cannot take {layer.channels} of {context.input_shape[0]} channels")
    return Bound((layer.channels, *context.input_shape[1:]), 1.0, "nonexpansive", {})


def space_to_depth(layer: nn.PixelUnshuffle, context: Context) -> Bound:
    """A permutation of the numbers, where the factor divides the map."""
    channels, rows, columns = context.map_shape()
    factor = layer.downscale_factor
    if factor < 1 or rows % factor or columns % factor:
        raise context.refuse(f"{factor} does not divide a map of {rows} x {columns}")
    return Bound((channels * factor**2, rows // factor, columns // factor), 1.0, "nonexpansive", {})


def patch_pool(layer: PatchPool, context: Context) -> Bound:
    """Disjoint patches, each multiplied by a vector of k^2 entries 1 / k: orthonormal rows, norm 1.

    Rounding: a sum of k^2 numbers and one division, at most gamma_{k^2} of the same map of |x|, whose norm is 1.
    """
    channels, rows, columns = context.map_shape()
    if layer.size < 1 or rows % layer.size or columns % layer.size:
        raise context.refuse(f"patches of {layer.size} do not fill a map of {rows} x {columns}")
    shape = (channels, rows // layer.size, columns // layer.size)
    return Bound(shape, 1.0, "orthonormal", {}, fan_in=layer.size**2)


def token_linear(layer: TokenLinear, context: Context) -> Bound:
    """A kron I: the norm of the matrix A, once for all channels."""
    channels, rows, columns = context.map_shape()
    tokens = rows * columns
    weight = context.exact(layer.weight, tokens, tokens)
    proof = context.prove([(weight, None)])
    return Bound(
        context.input_shape,
        proof.bound,
        "gram-cholesky",
        asdict(proof),
        fan_in=tokens,
        absolute_norm=schur_bound(np.abs(weight)),
        offset_norm=l2(context.exact(layer.bias, tokens), channels),
    )


def convex_potential(layer: ConvexPotential, context: Context) -> Bound:
    """x -> x - W^T T relu(W x + b), T = diag(t), t >= 0: Lipschitz max(1, s - 1) for every s >= |T^(1/2) W|^2.

    *Proof.* On each piece of a segment the Jacobian is I - W^T T D W with D diagonal, entries 0 or 1: symmetric, and
    between I - W^T T W >= (1 - s) I and I. Nothing is assumed of how t was trained.

    T^(1/2) W is bounded by V: its rows scaled by r >= t^(1/2), rounded. A row scaled by more has no smaller norm, and
    the rounding of the product adds at most u | |V| |.

    *Rounding.* With sigma >= |T^(1/2) W|, nu >= |T^(1/2) |W| | >= sigma, beta >= |T^(1/2) b|, sums of n and m products
    in W and W^T, all errors of the hidden layer weighted by T^(1/2):
    W x + b errs by gamma_{n+1} (nu R + beta), relu adds nothing, the product by t one rounding:
    gamma_{n+2} (nu R + beta). So T^(-1/2) times the computed hidden layer is at most sigma' R + (1 + gamma_{n+2}) beta,
    sigma' = sigma + gamma_{n+2} nu, and W^T adds gamma_m nu of it:

        gamma_{n+2} sigma (nu R + beta) + gamma_m nu (sigma' R + (1 + gamma_{n+2}) beta)
            <= gamma_{n+m+2} nu (sigma' R + beta).

    The subtraction adds u (R + the norm of the second term): gamma_{n+m+3} (R + nu sigma' R + nu beta) in all.
    """
    if layer.weight.ndim not in (2, 4):
        raise context.refuse(f"a weight of {layer.weight.ndim} dimensions is neither a matrix nor a kernel")
    hidden, _, *taps = layer.weight.shape
    shape = context.map_shape() if taps else context.input_shape
    if len(shape) != (3 if taps else 1):
        raise context.refuse(f"a weight {list(layer.weight.shape)} does not fit an input {list(shape)}")
    if taps and (taps[0] != taps[-1] or taps[0] % 2 == 0):
        raise context.refuse(f"only square kernels of odd side are proved, got {taps}")
    weight = context.exact(layer.weight, hidden, shape[0], *(taps[:1] * 2))
    bias, step = context.exact(layer.bias, hidden), context.exact(layer.step, hidden)
    if (step < 0).any():
        raise context.refuse("a step is negative")
    root = np.sqrt(step) * (1.0 + 4.0 * U)
    scaled = root.reshape(-1, *[1] * (weight.ndim - 1)) * weight
    proof, torus = _same_map_norm(scaled, context)
    pixels = math.prod(shape[1:])
    absolute = schur_bound(np.abs(scaled).sum(axis=tuple(range(2, scaled.ndim)))) + UNDERFLOW
    norm = (proof.bound + 2.0 * U * absolute) * OUTWARD
    terms, back = math.prod(weight.shape[1:]), len(weight) * math.prod(taps)
    computed = norm + gamma(terms + 2) * absolute
    reach = (l2(root * bias, pixels) + l2(root + 1.0, pixels) * UNDERFLOW) * OUTWARD
    return Bound(
        context.input_shape,
        max(1.0, (norm * norm * RAISED - 1.0) * OUTWARD),
        "convex-potential",
        {**asdict(proof), **torus},
        fan_in=terms + back + 1,
        absolute_norm=(1.0 + absolute * computed) * RAISED,
        offset_norm=(absolute * reach + UNDERFLOW) * RAISED,
    )


def conv_exponential(layer: ConvExponential, context: Context) -> Bound:
    """x -> S(A) x + b, S(A) = sum of A^i / i! up to i = T, for a skew convolution A: |S(A)| <= 1 + the series' rest.

    *Proof.* A skew operator is normal with spectrum on the imaginary axis, so |S(A)| is the largest |S(i l)| over real
    |l| <= a, a >= |A|. There |S(i l)| <= |exp(i l)| + sum of a^i / i! over i > T <= 1 + a^(T+1) / (T+1)! /
    (1 - a / (T+2)) where a < T + 2. Without that the triangle inequality gives the sum of a^i / i! up to T. The zero-
    padded A is skew exactly if the stored kernel is, which is checked.

    *Rounding.* Sums of n products, alpha >= | |A| |, a' = a + gamma_{n+1} alpha. The computed terms A t_{i-1} / i are
    at most a'^i / i! R, and each step adds gamma_{n+1} alpha |t_{i-1}| / i. So t_i errs by at most gamma_{n+1} alpha
    a'^(i-1) / (i-1)! R, all of them by gamma_{n+1} alpha exp(a') R, and adding them and b by gamma_{T+1} (exp(a') R +
    |b|): in all at most gamma_{n+T+2} ((1 + alpha) exp(a') R + |b|).
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
    # The norm enters only by the series' rest, so the quick bound serves.
    proof, torus = torus_norm(weight, same_map(weight.shape), shape, context)
    norm = proof.bound
    if norm > LARGEST_EXPONENT:
        raise context.refuse(f"its convolution has norm {norm:.3g}, and exp of that bounds nothing")
    series = math.fsum(norm**power / math.factorial(power) for power in range(terms + 1)) * OUTWARD
    if norm < (terms + 2) / 2:
        rest = norm ** (terms + 1) / math.factorial(terms + 1) / (1.0 - norm / (terms + 2))
        series = min(series, (1.0 + rest * OUTWARD) * OUTWARD)
    fan_in = math.prod(weight.shape[1:])
    absolute = schur_bound(np.abs(weight).sum(axis=(2, 3)))
    grown = math.exp(norm + gamma(fan_in + 1) * absolute) * OUTWARD
    return Bound(
        context.input_shape,
        series * RAISED,
        "skew-exponential",
        {**asdict(proof), **torus},
        fan_in=fan_in + terms,
        absolute_norm=(1.0 + absolute) * grown * RAISED,
        offset_norm=(l2(bias, shape[1] * shape[2]) + UNDERFLOW * grown) * RAISED,
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
        raise context.refuse(f"halves of {channels} channels do not pair")
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


def _same_map_norm(weight: Matrix, context: Context) -> tuple[NormProof, dict[str, float]]:
    """The norm of a matrix, or of a convolution of odd kernel whose padding keeps the size of the map."""
    if weight.ndim == 2:
        return context.prove([(weight, None)]), {}
    _, proof, torus = convolution_norm(weight, same_map(weight.shape), context.map_shape(), context)
    return proof, torus
