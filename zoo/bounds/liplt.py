"""LipLT: Lipschitz constants of whole ReLU networks from the norms of products of their layers.

The network is x_{k+1} = H_k x_k + G_k phi_k(y_k), y_k = W_k x_k + b_k for k < L (biases also in H and G), and a head
on x_L; a plain layer has H = 0 and G = I. phi_k acts on each number by itself, with slopes in [alpha_k, beta_k]. The
loop transformation of `zoo.bounds.residual` makes each step the linear map H^_k = H_k + centre_k G_k W_k plus
G_k psi_k(y_k), psi_k of slopes in [-halfwidth_k, halfwidth_k]. So the constants m_k of x_0 -> y_k obey

    m_k = |W_k H^_{k-1} ... H^_0| + sum over j < k of halfwidth_j |W_k H^_{k-1} ... H^_{j+1} G_j| m_j,            (19)

and a row h of the head has |h H^_{L-1} ... H^_0| + sum over j < L of halfwidth_j |h H^_{L-1} ... H^_{j+1} G_j| m_j.
*Proof.* For two inputs, the differences of x_{k+1} = H^_k x_k + G_k psi_k(y_k) unroll to a sum over paths; (19) is its
triangle inequality. Unrolled only down to some x_s, with a known constant of x_0 -> x_s, it holds as well. Down to x_L
it is the product bound, so the smallest over all s is never above that.

The norm of a product is proved for the matrix where it can be written out (`zoo.bounds.products`). Elsewhere the
product is cut into factors, and the smallest product of their norms over all ways to cut is found as a shortest path.
Products of more than MAX_CHAIN steps are always cut, so that the work grows linearly with the depth; they weigh
2^-MAX_CHAIN of the sum.

Source: Fazlyab, Entesari, Roy, Chellappa 2023 (CRM, LipLT), Theorem 3.3. Where we differ: proved norms, and the minimum
with the product bound at every layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from zoo.bounds.convolution import MAX_BATCH_ENTRIES, affordable
from zoo.bounds.products import Chain, Operator, Vectors, basis, chain_norm, representable
from zoo.bounds.residual import Loop, find_loop, follow, loop_transform
from zoo.bounds.rounding import OUTWARD, TINY, gamma
from zoo.bounds.rule import RAISED, Context
from zoo.bounds.spectral import Matrix
from zoo.bounds.table import LINEAR, SLOPES, TABLE, bound_layer
from zoo.errors import UncertifiableLayerError
from zoo.layers import Residual
from zoo.records import LayerBound

MAX_CHAIN = 6


@dataclass(frozen=True)
class LipLT:
    """Lipschitz bounds of functions of the input image."""

    hidden: tuple[float, ...]  # of each y_k: m_k
    body: float  # of the features, the head's input
    pairwise: Matrix  # [C, C], of f_j - f_i
    classes: Matrix  # [C], of f_i
    logits: float  # of all logits together


@dataclass(frozen=True)
class Block:
    """One step of the network, and its own Lipschitz bound."""

    loop: Loop
    lipschitz: float

    @property
    def widest(self) -> int:
        shapes = [operator.output_shape for chain in self.loop.chains for operator in chain]
        return max(math.prod(shape) for shape in (self.loop.shape, *shapes))


def liplt(network: nn.Sequential, layers: Sequence[LayerBound]) -> LipLT:
    """The constants of a network whose body's layers have these bounds.

    Raises UncertifiableLayerError, which says why, where LipLT does not apply or gains nothing.
    """
    if reason := _refusal(network):
        raise UncertifiableLayerError(reason)
    blocks, tail = _blocks(network, layers)
    if not representable(tail, *(chain for one in blocks for chain in one.loop.chains)):
        raise UncertifiableLayerError("products of the weights could leave the range of binary64: LipLT does not apply")
    return compose_loops(blocks, tail, layers[0].lipschitz_bound)


def _refusal(network: nn.Sequential) -> str | None:
    """Why LipLT does not apply to the network; None where it does."""
    kinds = [(name, layer) for name, layer in list(network._modules.items())[1:-1] if type(layer) not in LINEAR]
    for name, layer in kinds:
        inner = [layer]
        if isinstance(layer, Residual):
            inner = [one for one in layer.branch if type(one) not in LINEAR] or [layer]
            if len(inner) > 1 or not (layer.skip is None or type(layer.skip) in LINEAR):
                return f"layer {name!r} is not H x + G phi(W x): LipLT does not apply"
        if type(inner[0]) not in SLOPES:
            return (
                f"layer {name!r} has no elementwise activation with slopes in [alpha, beta], alpha >= 0, but "
                f"{type(inner[0]).__name__}: LipLT gains nothing"
            )
    return None if kinds else "no layer has an activation: LipLT has nothing to transform"


def compose_loops(blocks: Sequence[Block], tail: Chain, scale: float = 1.0) -> LipLT:
    """The constants of the blocks and the linear layers `tail` behind them; `scale` is the constant of their input.

    The norms of all of them are `representable`.
    """
    norms = product_norms(blocks)
    hidden: list[float] = []
    reach = [scale]  # of each x_k
    for k, block in enumerate(blocks):
        halves = [one.loop.halfwidth * norm * m for one, norm, m in zip(blocks[:k], norms[k][1:], hidden, strict=True)]
        looped = (norms[k][0] * scale + math.fsum(halves)) * OUTWARD
        hidden.append(min(looped, chain_norm(block.loop.before) * reach[k] * OUTWARD))
        skipped = 0.0 if block.loop.skip is None else chain_norm(block.loop.skip) * reach[k]
        summed = (skipped + block.loop.slopes[1] * chain_norm(block.loop.after) * hidden[k]) * OUTWARD
        reach.append(min(summed, block.lipschitz * reach[k] * OUTWARD))
    classes = tail[-1].output_shape[0]
    rows = basis((classes,)).through(tail, adjoint=True)
    measured, looped = _measure(rows), np.zeros(classes**2 + classes + 1)
    best = measured * reach[-1]
    for k in reversed(range(len(blocks))):
        if classes * blocks[k].widest > MAX_BATCH_ENTRIES:
            break
        loop = blocks[k].loop
        inner, rows_before = loop_transform(rows, loop, adjoint=True)
        looped += (measured if inner is rows else _measure(inner)) * (loop.halfwidth * hidden[k])
        rows = rows_before
        measured = _measure(rows)
        best = np.minimum(best, looped + measured * reach[k])
    best = best * RAISED
    pairwise, single = best[: classes**2].reshape(classes, classes), best[classes**2 : -1]
    return LipLT(tuple(hidden), reach[-1], pairwise, single, float(best[-1]))


def _blocks(network: nn.Sequential, layers: Sequence[LayerBound]) -> tuple[list[Block], Chain]:
    """The steps of the body, and the linear layers behind the last one, of which the last is the head."""
    children = list(network._modules.items())
    blocks: list[Block] = []
    pending: Chain = ()
    start = layers[0].output_shape
    for (name, layer), bound in zip(children[1:-1], layers[1:], strict=True):
        assert layer is not None
        if linear := LINEAR.get(type(layer)):
            pending = (*pending, Operator(layer, linear, bound.input_shape, bound))
            continue
        lipschitz = chain_norm(pending) * bound.lipschitz_bound * OUTWARD
        if isinstance(layer, Residual):
            taus = {f"{name}.{term}".removesuffix(".tau"): value for term, value in bound.proof.items()}
            context = Context(name, bound.input_shape, taus=taus, rows=TABLE)
            skip = follow({} if layer.skip is None else {"skip": layer.skip}, context)
            loop = find_loop(skip, follow(layer.branch._modules, context), start)
            assert loop is not None  # as `_refusal` found
            loop = loop._replace(skip=pending + (loop.skip or ()), before=pending + loop.before)
        else:
            loop = Loop(start, None, pending, (), SLOPES[type(layer)])
        blocks.append(Block(loop, lipschitz))
        pending, start = (), bound.output_shape
    head = network[-1]
    bound = bound_layer(head, Context(children[-1][0], layers[-1].output_shape))
    return blocks, (*pending, Operator(head, LINEAR[nn.Linear], layers[-1].output_shape, bound))


def product_norms(blocks: Sequence[Block]) -> list[list[float]]:
    """Entry k, 0: at least |W_k H^_{k-1} ... H^_0|; entry k, j + 1: at least |W_k H^_{k-1} ... H^_{j+1} G_j|, j < k.

    A product is a path from x_0 or from behind psi_j to y_k. Its edges: W_k from x_k to y_k, G_j from behind psi_j to
    x_{j+1}, H^_k from x_k to x_{k+1}, the products that were written out, and, where H_k = 0, the factor centre_k from
    y_k to behind psi_k.
    """
    written = _written_norms(blocks)
    table: list[list[float]] = [[0.0] * (k + 1) for k in range(len(blocks))]
    for start in range(-1, len(blocks) - 1):
        behind = {start: 1.0}  # behind psi_j, by j; x_0 as -1
        state = 1.0 if start < 0 else chain_norm(blocks[start].loop.after)  # at x_k
        for k in range(start + 1, len(blocks)):
            loop = blocks[k].loop
            steps = [norm * written[k, j] for j, norm in behind.items() if (k, j) in written]
            norm = min(state * chain_norm(loop.before), *steps, math.inf) * OUTWARD
            table[k][start + 1] = norm
            if loop.skip is None:
                behind[k] = loop.centre * norm * OUTWARD
                state = behind[k] * chain_norm(loop.after) * OUTWARD
            else:
                state = state * _transformed_norm(blocks[k]) * OUTWARD
    return table


def _written_norms(blocks: Sequence[Block]) -> dict[tuple[int, int], float]:
    """At least the norms of the products that can be written out and have more than one layer.

    By (k, j) for W_k H^_{k-1} ... H^_{j+1} G_j; j is -1 for the product that starts at x_0.
    """
    shapes = {-1: blocks[0].loop.shape, **{j: block.loop.hidden for j, block in enumerate(blocks)}}
    sides = {j: math.prod(shape) for j, shape in shapes.items()}
    columns: dict[int, list[int]] = {}  # the ends of each start's products, followed from the start
    rows: dict[int, list[int]] = {}  # the starts of each end's products, followed from the end
    for k in range(len(blocks)):
        for j in range(max(-1, k - MAX_CHAIN), k):
            widest = max(block.widest for block in blocks[max(j, 0) : k + 1])
            single = len(blocks[k].loop.before) == 1 and k == j + 1 and (j < 0 or not blocks[j].loop.after)
            if single or not affordable(sides[j], sides[k]) or min(sides[j], sides[k]) * widest > MAX_BATCH_ENTRIES:
                continue
            if sides[j] <= sides[k]:
                columns.setdefault(j, []).append(k)
            else:
                rows.setdefault(k, []).append(j)
    written: dict[tuple[int, int], float] = {}
    for j, ends in columns.items():
        vectors = basis(shapes[j]).through(() if j < 0 else blocks[j].loop.after)
        for k in range(j + 1, ends[-1] + 1):
            inner, vectors = loop_transform(vectors, blocks[k].loop)
            if k in ends:
                written[k, j] = inner.norm().bound
    for k, starts in rows.items():
        vectors = basis(shapes[k]).through(blocks[k].loop.before, adjoint=True)
        for j in range(k - 1, starts[0] - 1, -1):
            if j < 0:
                inner = vectors
            else:
                inner, vectors = loop_transform(vectors, blocks[j].loop, adjoint=True)
            if j in starts:
                written[k, j] = inner.norm().bound
    return written


def _transformed_norm(block: Block) -> float:
    """At least |H^| of a block."""
    loop = block.loop
    apart = loop.centre * chain_norm(loop.before) * chain_norm(loop.after)
    norm = (apart if loop.skip is None else chain_norm(loop.skip) + apart) * OUTWARD
    side = math.prod(loop.shape)
    if affordable(side, math.prod(loop.output)) and side * block.widest <= MAX_BATCH_ENTRIES:
        norm = min(norm, loop_transform(basis(loop.shape), loop)[1].norm().bound)
    return norm


def _measure(rows: Vectors) -> Matrix:
    """At least the norms of the differences of these rows, of the rows, and of their matrix: [C C + C + 1]."""
    matrix = rows.computed.flatten(1).numpy()
    differences = [np.square(matrix - row).sum(axis=1) for row in matrix]
    lengths = np.square(matrix).sum(axis=1)
    norms = np.sqrt(np.concatenate([*differences, lengths]) + TINY) * (1.0 + gamma(matrix.shape[1] + 8))
    rounded = (norms + math.sqrt(2.0) * rows.error) * OUTWARD
    return np.append(rounded, rows.norm().bound)
