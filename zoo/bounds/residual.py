"""Residual blocks h(x) = H x + g(x), and what the loop transformation gains where g(x) = G phi(W x + b).

phi acts on each number by itself and has slopes in [alpha, beta]. With centre = (alpha + beta) / 2 and halfwidth =
(beta - alpha) / 2, psi(y) = phi(y) - centre y has slopes in [-halfwidth, halfwidth], and

    h(x) = (H + centre G W) x + G psi(W x + b) + a constant.                                              (14)

Source: Fazlyab, Entesari, Roy, Chellappa 2023, "Certified robustness via dynamic margin maximization and improved
Lipschitz regularization", section 3 and Theorem 3.2. Their T is any diagonal matrix with G^T G <= T.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from zoo.bounds.convolution import affordable
from zoo.bounds.products import Chain, Operator, Vectors, basis, chain_norm, representable
from zoo.bounds.rounding import MAX_BOUND, OUTWARD, TINY, UNDERFLOW, U, gamma
from zoo.bounds.rule import RAISED, Bound, Context, Row, changed_by_hooks
from zoo.bounds.spectral import Matrix, NormProof
from zoo.layers import Residual

OWN_TERMS = {"skip", "loop", "aol", "sll"}  # the first words of a block's own terms, of the skip and of `loop_bounds`


class Loop(NamedTuple):
    """The parts of H x + G phi(W x + b) on an input of a shape; skip: H, None for 0."""

    shape: tuple[int, ...]
    skip: Chain | None
    before: Chain  # W
    after: Chain  # G
    slopes: tuple[float, float] = (0.0, 1.0)

    @property
    def chains(self) -> tuple[Chain, Chain, Chain]:
        return (self.skip or (), self.before, self.after)

    @property
    def centre(self) -> float:
        return sum(self.slopes) / 2.0

    @property
    def halfwidth(self) -> float:
        """At least the distance of either slope to the centre as rounded."""
        return max(self.centre - self.slopes[0], self.slopes[1] - self.centre) * OUTWARD

    @property
    def hidden(self) -> tuple[int, ...]:
        return self.before[-1].output_shape if self.before else self.shape

    @property
    def output(self) -> tuple[int, ...]:
        return self.after[-1].output_shape if self.after else self.hidden


def residual(layer: Residual, context: Context) -> Bound:
    """x -> H x + g(x): Lipschitz |H| + K_g, K_g the product of the bounds of g's layers; H is the identity by default.

    It holds in either norm. In l2 those of `loop_bounds` hold as well, and the smallest counts, where g is linear
    layers, one elementwise activation and linear layers again, all small enough to be written out.

    Rounding. Let |x| = R. After some layers of g the exact value is at most K R + o and the computed one errs by at
    most gamma_m (a R + e); at first K = 1 and o = m = a = e = 0. A layer of constants K', o' and local error
    gamma_n (a' |input| + o'), n = fan_in + 2, reads a computed input of at most (K + gamma_m a) R + o + gamma_m e and
    leaves

        a <- K' a + a' (K + gamma_m a),  e <- K' e + a' (o + gamma_m e) + o',  m <- max(m, n),
        K <- K' K,  o <- K' o + o';

    an exact layer (n = 0) adds neither a' nor o' to the error. H has the same constants. With those of both added, and
    the larger m, the last addition rounds once more, by u |H^ x + g^(x)|: at most gamma_{m+1} ((K + a) R + o + e).
    """
    if type(layer.branch) is not nn.Sequential or changed_by_hooks(layer.branch):
        raise context.refuse("its branch is not a plain nn.Sequential")
    if taken := sorted(OWN_TERMS & set(layer.branch._modules)):
        raise context.refuse(f"a layer of its branch has the name {taken[0]!r}, which its own proof has; rename it")
    skip = follow({} if layer.skip is None else {"skip": layer.skip}, context)
    branch = follow(layer.branch._modules, context)
    if branch.shape != skip.shape:
        raise context.refuse(f"its branch makes {list(branch.shape)} of {list(context.input_shape)}")
    proof, lipschitz = {**skip.proof, **branch.proof}, skip.lipschitz + branch.lipschitz
    if context.norm == "l2" and (loop := find_loop(skip, branch, context.input_shape)) is not None:
        bounds, terms = loop_bounds(loop, context)
        proof |= terms
        lipschitz = min([lipschitz, *bounds.values()])
    return Bound(
        branch.shape,
        lipschitz * RAISED,
        "residual",
        proof,
        fan_in=max(skip.roundings - 1, branch.roundings - 1, 1),
        absolute_norm=(skip.lipschitz + branch.lipschitz + skip.slope + branch.slope) * RAISED,
        offset_norm=(skip.offset + branch.offset + skip.constant + branch.constant) * RAISED,
        lowering=", ".join([*skip.lowerings, *branch.lowerings]),
    )


@dataclass
class Walk:
    """What is known behind some layers in sequence; the docstring of `residual` defines the numbers."""

    shape: tuple[int, ...]
    lipschitz: float = 1.0  # K
    offset: float = 0.0  # o
    roundings: int = 0  # m
    slope: float = 0.0  # a
    constant: float = 0.0  # e
    rows: list[Row] = field(default_factory=list)  # of each layer
    operators: list[Operator | None] = field(default_factory=list)  # of each layer, None where it is not linear
    proof: dict[str, float] = field(default_factory=dict)
    lowerings: list[str] = field(default_factory=list)  # of the layers that have one


def follow(layers: Mapping[str, nn.Module | None], context: Context) -> Walk:
    """The numbers of `residual` after these layers.

    Raises UncertifiableLayerError where one on the way is above `MAX_BOUND`.
    """
    walk, gain = Walk(context.input_shape), context.gain
    for name, layer in layers.items():
        assert layer is not None
        if getattr(layer, "inplace", False):
            raise context.refuse(f"{name} works in place, and may overwrite the input that its other half reads")
        bound = replace(context.inside(name, walk.shape), gain=gain).bound(layer)
        reach_slope = walk.lipschitz + gamma(walk.roundings) * walk.slope
        reach_constant = walk.offset + gamma(walk.roundings) * walk.constant
        walk.slope, walk.constant = bound.lipschitz_bound * walk.slope, bound.lipschitz_bound * walk.constant
        if bound.fan_in:
            walk.slope += bound.absolute_norm * reach_slope
            walk.constant += bound.absolute_norm * reach_constant + bound.offset_norm + UNDERFLOW
            walk.roundings = max(walk.roundings, bound.fan_in + 2)
        # A product that underflows would forget what later layers, and the numbers before the block, multiply it by.
        walk.lipschitz = walk.lipschitz * bound.lipschitz_bound + TINY
        walk.slope += TINY
        walk.offset = bound.lipschitz_bound * walk.offset + bound.offset_norm
        gain = context.gain * (1.0 + walk.lipschitz + walk.offset + walk.slope + walk.constant)
        if not gain <= MAX_BOUND:
            raise context.refuse(f"the weights up to {name} are too large: the rounding of binary64 cannot be bounded")
        walk.lowerings += [bound.lowering] if bound.lowering else []
        walk.proof |= {f"{name}.{key}": value for key, value in bound.proof.items()}
        row = context.rows[type(layer)]
        walk.rows.append(row)
        walk.operators.append(None if row.linear is None else Operator(layer, row.linear, walk.shape, bound))
        walk.shape = bound.output_shape
    return walk


def find_loop(skip: Walk, branch: Walk, shape: tuple[int, ...]) -> Loop | None:
    """The block as H x + G phi(W x + b); None unless its layers have that form."""
    places = [place for place, operator in enumerate(branch.operators) if operator is None]
    if len(places) != 1 or (slopes := branch.rows[places[0]].slopes) is None or None in skip.operators:
        return None
    before, after = branch.operators[: places[0]], branch.operators[places[0] + 1 :]
    return Loop(shape, tuple(skip.operators), tuple(before), tuple(after), slopes)  # type: ignore[arg-type]


def loop_bounds(loop: Loop, context: Context) -> tuple[dict[str, float], dict[str, float]]:
    """Lipschitz bounds of H x + G phi(W x + b), by the name of their T, and the terms of their proofs.

        |H + centre G W| + halfwidth |T^(1/2) W|      for a diagonal T with G^T G <= T                      (16)

    *Proof.* |G (psi(y) - psi(y'))|^2 is at most the sum of T_i (psi_i - psi'_i)^2 <= halfwidth^2 T_i (y_i - y'_i)^2.
    With A = |G^T G| entrywise, T - G^T G >= 0 for T_i = sum of A_ij q_j / q_i over j and any q > 0, because
    A_ij |x_i x_j| <= A_ij (x_i^2 q_j / q_i + x_j^2 q_i / q_j) / 2. Here `sn` has T = |G|^2 (spectral normalisation),
    `aol` q = 1, and `sll` q_i = 1 / |G e_i|, which no scaling of the hidden units changes.

    Both are empty where the matrices are too many or too large to be written out.
    """
    inputs, hidden, outputs = (math.prod(shape) for shape in (loop.shape, loop.hidden, loop.output))
    if not representable(*loop.chains):
        return {}, {}
    if not (affordable(inputs, outputs) and affordable(hidden, inputs) and affordable(hidden, outputs)):
        return {}, {}
    _, transformed = loop_transform(basis(loop.shape), loop)
    proof = _prove(transformed, context.inside("loop", loop.shape))
    terms = {f"loop.{key}": value for key, value in asdict(proof).items()}
    bounds = {"sn": chain_norm(loop.after) * chain_norm(loop.before)}
    columns, rows = basis(loop.hidden).through(loop.after), basis(loop.hidden).through(loop.before, adjoint=True)
    gram = _absolute_gram(columns)
    lengths = np.sqrt(gram.diagonal())
    weights = {"aol": np.ones(hidden), "sll": 1.0 / np.where(lengths > 1e-100, lengths, 1.0)}
    for name, q in weights.items():
        scaled = _scaled(rows, (gram @ q) / q * (1.0 + gamma(hidden + 8)))
        proof_of_rows = _prove(scaled, context.inside(name, loop.shape))
        bounds[name] = proof_of_rows.bound
        terms |= {f"{name}.{key}": value for key, value in asdict(proof_of_rows).items()}
    return {name: (proof.bound + loop.halfwidth * bound) * OUTWARD for name, bound in bounds.items()}, terms


def loop_transform(vectors: Vectors, loop: Loop, adjoint: bool = False) -> tuple[Vectors, Vectors]:
    """(W X, H^ X) for the columns X of the batch, H^ = H + centre G W; adjoint: (X G, X H^) for its rows X."""
    first, second = (loop.after, loop.before) if adjoint else (loop.before, loop.after)
    inner = vectors.through(first, adjoint)
    outer = inner.through(second, adjoint)
    if loop.skip is None:
        return inner, outer.times(loop.centre)
    return inner, vectors.through(loop.skip, adjoint).plus(outer, loop.centre)


def _prove(vectors: Vectors, context: Context) -> NormProof:
    return context.prove([(vectors.computed.flatten(1).numpy(), None)], perturbation=vectors.error)


def _absolute_gram(columns: Vectors) -> Matrix:
    """At least |G^T G| entrywise, for G whose columns these are."""
    matrix = columns.computed.flatten(1).numpy()
    peak = math.sqrt(float(np.square(matrix).sum(axis=1).max())) * RAISED
    error = gamma(matrix.shape[1] + 8) * peak**2 + columns.error * (2.0 * peak + columns.error)
    return np.abs(matrix @ matrix.T) * (1.0 + 4.0 * U) + error * OUTWARD + TINY


def _scaled(rows: Vectors, squares: Matrix) -> Vectors:
    """diag(r) W for some r >= squares^(1/2): a row scaled by more has no smaller norm."""
    roots = torch.from_numpy(np.sqrt(squares) * (1.0 + 4.0 * U))
    matrix = rows.computed.flatten(1)
    largest = float(roots.max())
    return Vectors(roots[:, None] * matrix, (largest * (rows.error + U * rows.size)) * OUTWARD + TINY)
