"""Constants of class pairs of a ReLU network, by LipLT: every product of layers that counts is written out.

The network is x_{k+1} = H_k x_k + G_k a(y_k), y_k = W_k x_k + b_k, with slopes of a from 0 to 1, then a head; in a
plain layer H = 0, G = I. With M_k = H_k + G_k W_k / 2 the differences of two inputs obey x_{k+1} = M_k x_k + G_k z_k,
|z_k| <= |y_k| / 2. So, unrolled from x_s on, for every row r of the head, and in the same way for every W_k,

    |r x_L| <= |r M_{L-1} ... M_s| |x_s| + 1/2 sum over s <= j < L of |r M_{L-1} ... M_{j+1} G_j| |y_j|.

Fazlyab, Entesari, Roy, Chellappa 2023, Theorem 3.3. A product that is too large to be written out is cut in two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .layers import Own, Part, below, chains
from .norms import (
    UP,
    Shape,
    Unchecked,
    conv_norm,
    conv_rounding,
    frobenius,
    gamma,
    nonnegative_norm,
    norm,
    steps_of,
)

LONGEST = 6  # layers of a product that is written out
LEAST = 1e-200  # of all norms below 1, multiplied: so that no product of norms underflows on the way
ENTRIES, WORK = 2**27, 4e11  # of a batch, and multiplications of a Gram matrix, at most


class Map(NamedTuple):
    """A linear map, at least its norm, and the relative rounding of its products, either way."""

    weight: np.ndarray
    before: Shape
    after: Shape
    norm: float
    lost: float


class Batch(NamedTuple):
    """Vectors [N, n] as computed; what they are off by has a Frobenius norm of at most `error`."""

    rows: np.ndarray
    error: float

    def bound(self) -> float:
        """At least the norm of the matrix of these rows."""
        return (norm(self.rows) + self.error) * UP

    def through(self, maps: Sequence[Map], back: bool = False) -> Batch:
        """Behind these maps; or, by their adjoints, in front of them."""
        rows, error = self
        for one in reversed(maps) if back else maps:
            error = (one.norm * error + one.lost * frobenius(rows)) * UP
            rows = applied(one, rows, back)
        return Batch(rows, error)

    def plus(self, other: Batch, factor: float) -> Batch:
        rounded = gamma(2) * (frobenius(self.rows) + factor * frobenius(other.rows))
        return Batch(self.rows + factor * other.rows, (self.error + factor * other.error + rounded) * UP)


class Step(NamedTuple):
    """One layer of the network; skip is None where H = 0."""

    skip: list[Map] | None
    before: list[Map]  # W
    after: list[Map]  # G
    lipschitz: float  # of the whole layer
    inputs: int
    hidden: int
    widest: int

    def moved(self, batch: Batch, back: bool = False) -> tuple[Batch, Batch]:
        """(W x, M x) of a batch of x, or (r G, r M) of rows r."""
        first, second = (self.after, self.before) if back else (self.before, self.after)
        inner = batch.through(first, back)
        outer = inner.through(second, back)
        if self.skip is None:
            return inner, Batch(outer.rows * 0.5, outer.error * 0.5)
        return inner, batch.through(self.skip, back).plus(outer, 0.5)


def applied(one: Map, rows: np.ndarray, back: bool) -> np.ndarray:
    """A x for each x of the rows, or A^T u for each u."""
    if one.weight.ndim == 2:
        return rows @ (one.weight if back else one.weight.T)
    (down, top), (right, left) = steps_of(one.weight, one.before, one.after)
    (_, height, width), (outputs, *out), taps = one.before, one.after, one.weight.shape[2:]
    slices = {(a, b): (slice(None), slice(a, a + down * out[0], down), slice(b, b + right * out[1], right))
              for a, b in np.ndindex(*taps)}  # fmt: skip
    edges = [(0, 0), (top, max(0, down * (out[0] - 1) + taps[0] - height - top)),
             (left, max(0, right * (out[1] - 1) + taps[1] - width - left)), (0, 0)]  # fmt: skip
    found = np.empty((len(rows), math.prod(one.before if back else one.after)))
    for start in range(0, len(rows), 64):  # channels last
        part = rows[start : start + 64].reshape(-1, *(one.after if back else one.before)).transpose(0, 2, 3, 1)
        if back:
            whole = np.zeros((len(part), top + height + edges[1][1], left + width + edges[2][1], one.before[0]))
            for tap, place in slices.items():
                whole[place] += product(part, one.weight[:, :, *tap])
            result = whole[:, top : top + height, left : left + width]
        else:
            padded, result = np.pad(part, edges), np.zeros((len(part), *out, outputs))
            for tap, place in slices.items():
                result += product(padded[place], one.weight[:, :, *tap].T)
        found[start : start + 64] = result.transpose(0, 3, 1, 2).reshape(len(part), -1)
    return found


def product(cells: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Each cell's channels times the matrix."""
    return (cells.reshape(-1, len(matrix)) @ matrix).reshape(*cells.shape[:-1], -1)


def map_of(part: Part, bound: float | None = None) -> Map:
    """The part's linear map; `bound` is at least its norm, where that has been checked."""
    weight = part.own["weight"]
    if weight.ndim == 2:
        lost = gamma(max(weight.shape) + 2) * nonnegative_norm(np.abs(weight))
        return Map(weight, part.before, part.after, norm(weight) if bound is None else bound, lost)
    steps = steps_of(weight, part.before, part.after)
    (terms, absolute), *_ = conv_rounding(weight, steps, "sums")
    terms = max(terms, weight.size // weight.shape[1])
    if bound is None:
        bound = conv_norm(weight, part.before, part.after, steps, part.proof)
    return Map(weight, part.before, part.after, bound, gamma(terms + 2) * absolute)


def chain_norm(maps: Sequence[Map]) -> float:
    return math.prod(one.norm * UP for one in maps) * UP


def steps_and_head(layers: list[dict[str, Any]], weights: Own) -> tuple[list[Step], list[Map]]:
    """The network behind its first layer, Pixels; and what is linear behind its last activation, up to the head."""
    steps: list[Step] = []
    pending: list[Map] = []
    start = layers[0]["output_shape"]
    for record in layers[1:]:
        name, kind, before, after = (record[key] for key in ("name", "kind", "input_shape", "output_shape"))
        part = Part(below(weights, f"{name}."), before, after, iter(()), record["proof"])
        if kind in ("Conv2d", "Linear"):
            pending.append(map_of(part, record["lipschitz_bound"]))
            continue
        if kind in ("Flatten", "Identity", "Dropout"):
            continue
        if kind == "ReLU":
            skip, ahead, behind = None, pending, []
        elif kind == "Residual":
            inner, branch = chains(part)
            skip = [*pending, *map(map_of, inner)]
            ahead, behind = [*pending, map_of(branch[0])], [map_of(one) for one in branch[1:]]
        else:
            raise Unchecked(f"{name}: LipLT through {kind} cannot be checked here")
        inputs, hidden = math.prod(start), math.prod(ahead[-1].after if ahead else before)
        widest = max(inputs, math.prod(after), *(math.prod(one.after) for one in [*(skip or ()), *ahead, *behind]))
        bound = chain_norm(pending) * record["lipschitz_bound"] * UP
        steps.append(Step(skip, ahead, behind, bound, inputs, hidden, widest))
        pending, start = [], after
    weight = weights["head.weight"]
    return steps, [*pending, map_of(Part({"weight": weight}, [weight.shape[1]], [len(weight)], iter(()), {}))]


def product_norms(steps: list[Step]) -> dict[tuple[int, int], float]:
    """At least |W_k M_{k-1} ... M_{j+1} G_j| for each j < k, by (k, j); for j = -1 the product begins at x_0."""
    sizes = {-1: steps[0].inputs, **{j: step.hidden for j, step in enumerate(steps)}}
    whole: dict[tuple[int, int], float] = {}
    for j in range(-1, len(steps) - 1):
        for k in range(j + 1, min(len(steps), j + LONGEST + 1)):
            widest, (less, more) = max(step.widest for step in steps[max(j, 0) : k + 1]), sorted((sizes[j], sizes[k]))
            plain = k == j + 1 and len(steps[k].before) == 1 and (j < 0 or not steps[j].after)
            if plain or less * less * more > WORK or less * widest > ENTRIES or less * more > ENTRIES:
                continue
            batch = Batch(np.eye(less), 0.0)
            if sizes[j] <= sizes[k]:
                batch = batch if j < 0 else batch.through(steps[j].after)
                for step in steps[j + 1 : k]:
                    batch = step.moved(batch)[1]
                batch = batch.through(steps[k].before)
            else:
                batch = batch.through(steps[k].before, back=True)
                for step in reversed(steps[j + 1 : k]):
                    batch = step.moved(batch, back=True)[1]
                batch = batch if j < 0 else batch.through(steps[j].after, back=True)
            whole[k, j] = batch.bound()
    found: dict[tuple[int, int], float] = {}
    for j in range(-1, len(steps) - 1):
        state = 1.0 if j < 0 else chain_norm(steps[j].after)  # of the product up to x_k
        for k in range(j + 1, len(steps)):
            cuts = [
                found[m, j] * 0.5 * whole[k, m] for m in range(j + 1, k) if (k, m) in whole and steps[m].skip is None
            ]
            found[k, j] = min(state * chain_norm(steps[k].before), whole.get((k, j), math.inf), *cuts) * UP
            state = (found[k, j] * 0.5 * chain_norm(steps[k].after) if steps[k].skip is None
                     else state * transformed_norm(steps[k])) * UP  # fmt: skip
    return found


def transformed_norm(step: Step) -> float:
    """At least |M|."""
    apart = (chain_norm(step.skip or ()) + 0.5 * chain_norm(step.before) * chain_norm(step.after)) * UP
    outputs = math.prod((step.after or step.before)[-1].after)
    if step.inputs**2 * outputs > WORK or step.inputs * step.widest > ENTRIES:
        return apart
    return min(apart, step.moved(Batch(np.eye(step.inputs), 0.0))[1].bound())


def pair_constants(layers: list[dict[str, Any]], weights: Own) -> np.ndarray:
    """At least the Lipschitz constants of f_j - f_i, [C, C]."""
    steps, tail = steps_and_head(layers, weights)
    chained = [tail, *(maps for step in steps for maps in (step.skip or [], step.before, step.after))]
    if math.prod(min(1.0, one.norm) for maps in chained for one in maps) < LEAST:
        raise Unchecked("products of norms so small may underflow")
    scale = layers[0]["lipschitz_bound"]
    products, hidden, reach = product_norms(steps), [], [scale]
    for k, step in enumerate(steps):
        unrolled = products[k, -1] * scale + math.fsum(0.5 * products[k, j] * hidden[j] for j in range(k))
        hidden.append(min(unrolled, chain_norm(step.before) * reach[k]) * UP)
        ahead = 0.0 if step.skip is None else chain_norm(step.skip) * reach[k]
        reach.append(min(ahead + chain_norm(step.after) * hidden[k] * UP, step.lipschitz * reach[k]) * UP)
    rows = Batch(np.eye(math.prod(tail[-1].after)), 0.0).through(tail, back=True)
    best, added = differences(rows) * reach[-1], np.zeros(())
    for k in reversed(range(len(steps))):
        inner, rows = steps[k].moved(rows, back=True)
        added = added + differences(inner) * (0.5 * hidden[k])
        best = np.minimum(best, added + differences(rows) * reach[k])
    return best * (1.0 + 2.0**-36)


def differences(batch: Batch) -> np.ndarray:
    """At least the norms of the differences of any two rows."""
    found = np.stack([np.sqrt(np.square(batch.rows - row).sum(axis=1)) for row in batch.rows])
    return found * (1.0 + gamma(batch.rows.shape[1] + 8)) + 1.5 * batch.error
