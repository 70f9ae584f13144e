"""Rules of `FrequencyConv` and `Sandwich`: maps by one matrix for each frequency, and two of them around a relu.

**Norm.** Let F be the unitary transform of the torus, W^ the block diagonal map with the stored matrix at each stored
frequency and its conjugate at the opposite one. A real map x is turned into Re(F* W^ F x). (Of a pair of opposite
frequencies that are both stored, on the axes where a frequency is its own opposite, the conjugate of one need not be
the other: then it is only the real part that makes the answer real.) As |Re z| <= |z| and F is unitary,

    |Re(F* W^ F)| <= |W^| = max over the stored frequencies of |W_w|,

for whatever numbers are stored. Zeros around a map keep its norm, and cutting off lowers it. The adjoint is that by
the matrices W_w^H, and stacked operators are those by stacked matrices.

**Rounding.** The layer is a chain of real matrix products: the transform of either axis, the matrices, either axis
back. The constants of the transform are numbers of binary64, each within u of the ideal one, relatively. So a stage x
-> L x with sums of n products errs by at most gamma_{n+1} | |L| | |x^| on its computed input x^, and the rest of the
chain multiplies that by norms of ideal maps, which are 1 for the transforms (sqrt(2) for the last one, since it answers
for the conjugates of half of the frequencies). With sigma_i >= |L_i|, nu_i >= | |L_i| |, N - 1 the largest n_i, and
sigma'_i = sigma_i + gamma_N nu_i, which bounds the computed stage, the whole chain errs by at most

    gamma_N a |x|,   a = sum over i of nu_i times the product of sigma'_j over the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple

import numpy as np

from zoo.bounds.lowered import perron_bound
from zoo.bounds.rounding import OUTWARD, UNDERFLOW, gamma
from zoo.bounds.rule import RAISED, Bound, Context, l2, schur_bound
from zoo.bounds.spectral import Matrix
from zoo.layers import FrequencyConv, Sandwich
from zoo.layers.fourier import transform


class Stage(NamedTuple):
    """A matrix product of a chain: products in a sum, bounds of |L| and of | |L| |."""

    terms: int
    norm: float
    absolute: float


class ChainRounding(NamedTuple):
    """The rounding of a chain of matrix products, which errs by at most gamma_terms absolute |x|."""

    terms: int
    absolute: float


def chain_rounding(stages: Sequence[Stage]) -> ChainRounding:
    """N and a of the stages."""
    terms = max(stage.terms for stage in stages) + 1
    computed = [(stage.norm + gamma(terms) * stage.absolute) * OUTWARD for stage in stages]
    whole = math.prod(computed)
    parts = (stage.absolute * whole / one for stage, one in zip(stages, computed, strict=True))
    return ChainRounding(terms, sum(parts) * OUTWARD)


def frequency_chain(real: Matrix, imaginary: Matrix, norm: float, side: int, padding: int = 0) -> ChainRounding:
    """The chain of a layer with complex matrices [frequencies, O, I] of norm at most `norm`, on side x side cells."""
    matrices = transform(side, padding)
    rows, columns, back = (perron_bound(np.abs(part)) for part in (matrices.rows, matrices.columns, matrices.back))
    absolute = max(map(schur_bound, np.abs(real) + np.abs(imaginary)))
    return chain_rounding(
        [
            Stage(side, 1.0, rows),
            Stage(2 * side, 1.0, columns),
            Stage(2 * real.shape[2], max(norm, UNDERFLOW), absolute),  # the norm divides
            Stage(2 * matrices.torus, 1.0, columns),
            Stage(2 * matrices.half, math.sqrt(2.0) * OUTWARD, back),
        ]
    )


def frequency_conv(layer: FrequencyConv, context: Context) -> Bound:
    """The largest norm of the stored matrices, and the bias; the last addition rounds once more."""
    channels, *sides = context.map_shape()
    size, padding = layer.size, layer.padding
    _check_size(size, sides, context)
    if padding < 0:
        raise context.refuse(f"padding {padding} is negative")
    outputs = layer.weight.shape[-2]
    real, imaginary = _matrices(layer, context, size + 2 * padding, outputs, channels)
    bias = context.exact(layer.bias, outputs)
    proof = context.prove(list(zip(real, imaginary, strict=True)), len(real))
    chain = frequency_chain(real, imaginary, proof.bound, size, padding)
    return Bound(
        (outputs, size, size),
        proof.bound,
        "frequencies",
        asdict(proof),
        fan_in=chain.terms,
        absolute_norm=chain.absolute * RAISED,
        offset_norm=(l2(bias, size * size) + UNDERFLOW * (1.0 + chain.absolute)) * RAISED,
    )


def sandwich(layer: Sandwich, context: Context) -> Bound:
    """x -> 2 A^T relu(B x + b): Lipschitz s^2 for every s >= |[A, B]|.

    *Proof.* On each piece of a segment the Jacobian is 2 A^T D B with D diagonal, entries 0 or 1. For unit vectors x
    and y let u = A y and v = B x. In each entry 2 d u v <= (u + v)^2 / 2: where u v < 0 the left side is not positive,
    and elsewhere 2 u v <= (u + v)^2 / 2 because (u - v)^2 >= 0. Summed up, with [y, x] of length sqrt(2),

        y^T 2 A^T D B x <= |u + v|^2 / 2 = |[A, B] [y, x]|^2 / 2 <= s^2.

    Nothing is assumed of how A and B were trained. As circular convolutions they are real operators by the matrices
    A_w, B_w, and [A, B] is one by the stored [A_w, B_w]; relu acts on each cell, so that D stays diagonal.

    *Rounding.* With beta >= |b| over all cells, N and a those of the chain for B, M and c for A^T, s' = s + gamma_{N+1}
    a: the hidden layer errs by gamma_{N+1} (a R + beta), relu adds nothing, and as computed it is at most s' R + (1 +
    gamma_{N+1}) beta. A^T multiplies its error by s, and adds gamma_M c of it. The factor 2 is exact. In all at most

        2 gamma_{N+M+1} ((s a + c s') R + (s + c) beta).
    """
    size, outputs = layer.size, layer.out_features
    channels = context.input_shape[0]
    if not 0 < outputs < layer.weight.shape[-1]:
        raise context.refuse(f"{outputs} of {layer.weight.shape[-1]} columns cannot be those of A")
    hidden = layer.weight.shape[-2]
    bias = context.exact(layer.bias, hidden)
    if size is None:
        weight = context.exact(layer.weight, hidden, outputs + channels)
        proof = context.prove([(weight, None)])
        outer, inner = (
            chain_rounding([Stage(part.shape[axis], max(proof.bound, UNDERFLOW), schur_bound(np.abs(part)))])
            for axis, part in enumerate((weight[:, :outputs], weight[:, outputs:]))
        )
    else:
        _check_size(size, context.map_shape()[1:], context)
        real, imaginary = _matrices(layer, context, size, hidden, outputs + channels)
        proof = context.prove(list(zip(real, imaginary, strict=True)), len(real))
        outer, inner = (
            frequency_chain(part_of(real), part_of(imaginary), proof.bound, size)
            for part_of in (
                lambda matrices: matrices[:, :, :outputs].swapaxes(1, 2),  # A^T adds up over the hidden channels
                lambda matrices: matrices[:, :, outputs:],
            )
        )
    cells = context.input_shape[1:]
    offset = l2(bias, math.prod(cells))
    norm, lost = proof.bound, UNDERFLOW * (1.0 + inner.absolute) * (1.0 + outer.absolute)
    computed = norm + gamma(inner.terms + 1) * inner.absolute
    return Bound(
        (outputs, *cells),
        norm * norm * RAISED,
        "sandwich",
        asdict(proof),
        fan_in=inner.terms + outer.terms,
        absolute_norm=2.0 * (norm * inner.absolute + outer.absolute * computed) * RAISED,
        offset_norm=(2.0 * (norm + outer.absolute) * offset + lost) * RAISED,
    )


def _check_size(size: int, sides: Sequence[int], context: Context) -> None:
    if list(sides) != [size, size]:
        told = f"its matrices are those of maps of {size} x {size}, its input is one of {sides[0]} x {sides[1]}"
        raise context.refuse(f"{told}; instead: make it anew for that resolution")


def _matrices(
    layer: FrequencyConv | Sandwich, context: Context, torus: int, outputs: int, inputs: int
) -> tuple[Matrix, Matrix]:
    """Real and imaginary parts [frequencies, outputs, inputs]."""
    weight = context.exact(layer.weight, 2, torus // 2 + 1, torus, outputs, inputs)
    real, imaginary = weight.reshape(2, -1, outputs, inputs)
    return real, imaginary
