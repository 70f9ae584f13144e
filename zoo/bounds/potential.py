"""The rule of `ConvexPotential`: the layers of CPL and SLL. It holds for all stored numbers.

In the rounding, R bounds the norm of the input, |A| of a matrix is its entrywise absolute value, and Higham's rules
gamma_j + gamma_k (1 + gamma_j) <= gamma_{j+k} and u <= gamma_1 collect the terms.
"""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np

from zoo.bounds.convolution import convolution_norm
from zoo.bounds.lowered import Rounding, convolution_rounding
from zoo.bounds.rounding import OUTWARD, UNDERFLOW, U, gamma
from zoo.bounds.rule import RAISED, Bound, Context, l2, schur_bound
from zoo.bounds.spectral import Matrix, NormProof
from zoo.layers import ConvexPotential
from zoo.lowering.choice import PLAIN_SUMS
from zoo.lowering.sizes import same_map


def convex_potential(layer: ConvexPotential, context: Context) -> Bound:
    """x -> x - W^T T relu(W x + b), T = diag(t), t >= 0: Lipschitz max(1, s - 1) for every s >= |T^(1/2) W|^2.

    *Proof.* On each piece of a segment the Jacobian is I - W^T T D W with D diagonal, entries 0 or 1: symmetric, and
    between I - W^T T W >= (1 - s) I and I. Nothing is assumed of how t was trained.

    T^(1/2) W is bounded by V: its rows scaled by r >= t^(1/2), rounded. A row scaled by more has no smaller norm, and
    the rounding of the product adds at most u | |V| |.

    *Rounding.* With sigma >= |T^(1/2) W|, beta >= |T^(1/2) b|, n and m the terms of W and W^T, nu >= sigma at least the
    norm of T^(1/2) |W|, or, of convolutions, the larger of those that `zoo.bounds.lowered` has for T^(1/2) W and its
    transpose (T multiplies channels, so it passes through U-bar), all errors of the hidden layer weighted by T^(1/2):
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
    there, back, lowering = _roundings(scaled, context)
    absolute = max(there.absolute, back.absolute) + UNDERFLOW
    norm = (proof.bound + 2.0 * U * absolute) * OUTWARD
    terms = there.terms
    computed = norm + gamma(terms + 2) * absolute
    reach = (l2(root * bias, pixels) + l2(root + 1.0, pixels) * UNDERFLOW + there.offset) * OUTWARD
    return Bound(
        context.input_shape,
        max(1.0, (norm * norm * RAISED - 1.0) * OUTWARD),
        "convex-potential",
        {**asdict(proof), **torus},
        fan_in=terms + back.terms + 1,
        absolute_norm=(1.0 + absolute * computed) * RAISED,
        offset_norm=(absolute * reach + UNDERFLOW + back.offset) * RAISED,
        lowering=lowering,
    )


def _same_map_norm(weight: Matrix, context: Context) -> tuple[NormProof, dict[str, float]]:
    """The norm of a matrix, or of a convolution of odd kernel whose padding keeps the size of the map."""
    if weight.ndim == 2:
        return context.prove([(weight, None)]), {}
    _, proof, torus = convolution_norm([weight], same_map(weight.shape, context.map_shape()[1:]), context)
    return proof, torus


def _roundings(scaled: Matrix, context: Context) -> tuple[Rounding, Rounding, str]:
    """The constants of the scaled matrix or convolution and of its transpose, and their lowerings."""
    if scaled.ndim == 2:
        absolute = schur_bound(np.abs(scaled))
        there, back = (Rounding(PLAIN_SUMS, terms, absolute, 0.0) for terms in reversed(scaled.shape))
        return there, back, ""
    sides = context.map_shape()[1:]
    adjoint = scaled[:, :, ::-1, ::-1].swapaxes(0, 1)
    there, back = (convolution_rounding(kernel, same_map(kernel.shape, sides)) for kernel in (scaled, adjoint))
    return there, back, f"{there.lowering}, {back.lowering}"
