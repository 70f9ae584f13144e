"""What each kind of layer must at least be given, from its weights: norms, and what its rounding can lose."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, NamedTuple, TypeVar

import numpy as np

from .norms import (
    LOST,
    UP,
    Failed,
    Shape,
    U,
    Unchecked,
    chain_rounding,
    conv_norm,
    conv_rounding,
    dense,
    frobenius,
    gamma,
    length,
    nonnegative_norm,
    norm,
    real_form,
    steps_of,
    torus_norm,
)

SAME = ("MinMax", "ReLU", "Flatten", "PadChannels", "FirstChannels", "PixelUnshuffle", "Abs", "GroupSort",
        "SpatialShift", "Identity", "Dropout")  # fmt: skip
WEIGHTS = {
    **dict.fromkeys((*SAME, "PatchPool", "L2Pool"), ()),
    "Pixels": ("mean", "scale"),
    "ConvexPotential": ("weight", "bias", "step"),
    "SelfAttention": ("query", "key", "value"),
}
Own = Mapping[str, np.ndarray]  # a layer's weights
T = TypeVar("T")


class Needs(NamedTuple):
    """Upper bounds: |h(x) - h(y)| <= lipschitz |x - y|, |h(0)| <= offset, and |h| <= reach for all that can come in.

    What the graph computes of a computed input x is off from h(x) by at most slope |x| + constant.
    """

    lipschitz: float = 1.0
    offset: float = 0.0
    slope: float = 0.0
    constant: float = 0.0
    reach: float = math.inf

    def then(self, other: Needs) -> Needs:
        """Of both, one after the other, in terms of the first one's input."""
        return Needs(
            self.lipschitz * other.lipschitz * UP + LOST,
            (other.lipschitz * self.offset + other.offset) * UP + LOST,
            (other.lipschitz * self.slope + other.slope * (self.lipschitz + self.slope)) * UP + LOST,
            (other.lipschitz * self.constant + other.slope * (self.offset + self.constant) + other.constant) * UP
            + LOST,
        )

    def plus(self, other: Needs) -> Needs:
        """Of their sum, whose addition rounds once more."""
        one, offset, slope, constant = (a + b for a, b in zip(self[:4], other[:4], strict=True))
        return Needs(one * UP, offset * UP, (slope + U * (one + slope)) * UP, (constant + U * (offset + constant)) * UP)


class Part(NamedTuple):
    """A layer, or one inside a block: its weights, shapes, the names of its sums, and the numbers that prove it."""

    own: Own
    before: Shape
    after: Shape
    lowerings: Iterator[str]
    proof: Mapping[str, float]

    @property
    def pixels(self) -> int:
        return math.prod(self.after[1:])

    @property
    def bias(self) -> np.ndarray:
        return self.own.get("bias", np.zeros(1))


def below(names: Mapping[str, T], start: str) -> dict[str, T]:
    """What belongs to the names that start so, without that start."""
    return {name.removeprefix(start): value for name, value in names.items() if name.startswith(start)}


def check_layer(record: dict[str, Any], weights: Own, linf: bool) -> None:
    """Raise Failed unless the record's numbers are upper bounds for these weights."""
    name, kind = record["name"], record["kind"]
    own, rules = below(weights, f"{name}."), LINF if linf else L2
    if kind not in rules:
        raise Unchecked(f"{name}: {kind} cannot be checked here")
    if kind != "Residual" and (other := sorted(set(own) - set(WEIGHTS.get(kind, ("weight", "bias"))))):
        raise Failed(f"{name}: a {kind} has no weights {', '.join(other)}")
    lowerings = iter(record["lowering"].split(", "))
    try:
        part = Part(own, record["input_shape"], record["output_shape"], lowerings, record["proof"])
        needs = rules[kind](part, record)
    except Failed as error:
        raise type(error)(f"{name}: {error}") from None
    reach = record["range_norm"]
    for told, value, needed in (
        ("lipschitz_bound", record["lipschitz_bound"], needs.lipschitz),
        ("offset_norm", record["offset_norm"], needs.offset),
        ("range_norm", math.inf if reach is None else reach, math.inf if reach is None else needs.reach),
    ):
        if not value >= needed:
            raise Failed(f"{name}: {told} is {value!r}, it must be at least {needed!r}")
    share = gamma(record["fan_in"] + 2) if record["fan_in"] else 0.0  # of what it rounds
    for told, needed in (("absolute_norm", needs.slope), ("offset_norm", needs.constant)):
        if not share * record[told] * UP >= needed:
            raise Failed(f"{name}: a rounding of {needed!r} is not covered by fan_in and {told}")


# Rules ---------------------------------------------------------------------------------------------------------------


def same(part: Part, record: Any) -> Needs:
    return Needs()


def pixels(part: Part, record: Any, linf: bool = False) -> Needs:
    scale, mean = np.abs(part.own["scale"]), part.own["mean"]
    offset, reach = np.abs(mean) * scale, np.maximum(np.abs(mean), np.abs(1.0 - mean)) * scale
    sizes = [float(one.max()) * UP if linf else length(one, part.pixels) for one in (offset, reach)]
    return Needs(float(scale.max()), sizes[0], 2 * U * float(scale.max()) * UP, 2 * U * sizes[0] * UP, sizes[1])


def matrix(weight: np.ndarray, offset: float) -> Needs:
    """x -> W x + b, |b| <= offset."""
    lost = gamma(weight.shape[1] + 1)
    return Needs(norm(weight), offset, lost * nonnegative_norm(np.abs(weight)) * UP, lost * offset * UP)


def linear(part: Part, record: Any) -> Needs:
    return matrix(part.own["weight"], length(part.bias))


def token_linear(part: Part, record: Any) -> Needs:
    return matrix(part.own["weight"], length(part.bias, part.after[0]))


def convolution(part: Part, record: Any) -> Needs:
    kernel = part.own["weight"]
    if kernel.shape[1] != part.before[0]:
        raise Unchecked("convolutions in groups cannot be checked here")
    steps = steps_of(kernel, part.before, part.after)
    ways = conv_rounding(kernel, steps, next(part.lowerings))
    offset, lost = length(part.bias, part.pixels), max(gamma(terms + 2) for terms, _ in ways)
    slope = max(gamma(terms + 2) * absolute for terms, absolute in ways) * UP
    return Needs(conv_norm(kernel, part.before, part.after, steps, part.proof), offset, slope, lost * offset * UP)


def potential(part: Part, record: Any) -> Needs:
    """x - W^T T relu(W x + b): its Jacobian I - W^T T D W, D of 0 and 1, lies between (1 - |T^(1/2) W|^2) I and I."""
    weight, step = part.own["weight"], part.own["step"]
    if (step < 0).any():
        raise Failed("a step is negative")
    root = np.sqrt(step) * (1.0 + 4.0 * U)
    scaled = root.reshape(-1, *[1] * (weight.ndim - 1)) * weight
    if weight.ndim == 2:
        size, absolute = norm(scaled), nonnegative_norm(np.abs(scaled))
        there, back = ((terms, absolute) for terms in reversed(weight.shape))
    else:
        steps, adjoint = [(1, side // 2) for side in weight.shape[2:]], scaled[:, :, ::-1, ::-1].swapaxes(0, 1)
        size = conv_norm(scaled, part.before, [len(weight), *part.after[1:]], steps, part.proof)
        there, back = (
            max(conv_rounding(kernel, steps, next(part.lowerings)), key=lambda way: gamma(way[0] + 2) * way[1])
            for kernel in (scaled, adjoint)
        )
    size = (size + 2.0 * U * max(there[1], back[1])) * UP
    hidden, rounded = gamma(there[0] + 2), gamma(back[0])
    bias = length(root * part.bias, part.pixels)
    reach, back_reach = size + hidden * there[1], size + rounded * back[1]  # of what W and W^T compute
    slope = size * hidden * there[1] + rounded * back[1] * reach + U * (1.0 + back_reach * reach)
    constant = (size * hidden + (rounded * back[1] + U * back_reach) * (1.0 + hidden)) * bias
    return Needs(max(1.0, (size**2 - 1.0) * UP), size * bias * UP, slope * UP, constant * UP)


def exponential(part: Part, record: Any) -> Needs:
    """S(A) = sum of A^i / i! up to i = T: |S(A)| <= 1 + the rest of the series, for A is skew, so exp(A) orthogonal."""
    weight = part.own["weight"]
    if not (weight == -weight[:, :, ::-1, ::-1].swapaxes(0, 1)).all():
        raise Failed("its kernel is not skew")
    steps = [(1, side // 2) for side in weight.shape[2:]]
    size = torus_norm(weight, [side + pad for side, (_, pad) in zip(part.before[1:], steps, strict=True)], steps)
    ways = conv_rounding(weight, steps, next(part.lowerings))
    terms = record["fan_in"] - max(count for count, _ in ways)
    if not 1 <= terms <= 100 or size >= (terms + 2) / 2:
        raise Failed(f"{terms} terms do not reach as far as a norm of {size:.4g}")
    rest = size ** (terms + 1) / math.factorial(terms + 1) / (1.0 - size / (terms + 2))
    offset = length(part.bias, part.pixels)
    slope = max(  # of each term, of all of them together, and of their sum
        (gamma(count + 1) * absolute + gamma(terms + 1)) * math.exp(size + gamma(count + 1) * absolute)
        for count, absolute in ways
    )
    return Needs((1.0 + rest) * UP, offset, slope * UP, gamma(terms + 1) * offset)


def householder(part: Part, record: Any) -> Needs:
    """I, or I - v v^T where v.z < 0, on pairs z: eigenvalues 1 and 1 - |v|^2. Four roundings."""
    square = max(Fraction(one) ** 2 + Fraction(two) ** 2 for one, two in part.own["weight"].T.tolist())
    return Needs(1.0 if square <= 2 else float(square - 1) * UP, 0.0, gamma(4) * float(square + 1))


def patch_pool(part: Part, record: Any) -> Needs:
    return Needs(slope=gamma((part.before[1] // part.after[1]) ** 2))


def l2_pool(part: Part, record: Any) -> Needs:
    """Norms of patches: sums of squares, which underflow below 2^-1074, and roots of them."""
    lost = math.sqrt(math.prod(part.before)) * 2.0**-536
    return Needs(slope=gamma((part.before[1] // part.after[1]) ** 2 + 1), constant=lost)


def position_offset(part: Part, record: Any) -> Needs:
    offset = length(part.own["weight"], part.before[0])
    return Needs(1.0, offset, U, U * offset)


def attention(part: Part, record: Any) -> Needs:
    """(1 1^T P V^T + sum over heads of P Q_h^T K_h P^T P V_h^T) / 4 T for the T rows p_i of P, |p_i| <= 1.

    P is x projected, row by row, which is 1-Lipschitz; |P|^2 <= T. By the product rule, the derivative along dP has the
    mean and three terms, each at most |Q| |K| |V| |dP| T / 4 T. A value is at most |V| (1 + |Q| |K|) / 4 for each row,
    and the same of absolute values, times gamma, bounds the rounding: p is off by the half of C + 2 roundings of its
    square and four more, so q, k and v by C more, and a product of the three by sums over T and at most C numbers.
    """
    channels, tokens = part.before[0], part.pixels
    q, k, v = (norm(part.own[name]) for name in ("query", "key", "value"))
    big_q, big_k, big_v = (nonnegative_norm(np.abs(part.own[name])) for name in ("query", "key", "value"))
    lost = gamma(3 * (channels // 2 + 5 + channels) + tokens + channels + 3)
    reach = math.sqrt(tokens) * v * (1.0 + q * k) / 4.0 * UP
    return Needs(v * (1.0 + 3.0 * q * k) / 4.0 * UP, 0.0, lost * big_v * (1.0 + big_q * big_k) / 4.0 * UP, 0.0, reach)


def fourier(side: int, torus: int, padding: int) -> list[tuple[np.ndarray, float]]:
    """|.| and norms of the transforms as real matrices: rows to t / 2 + 1 frequencies, columns to t, and both back."""
    half = torus // 2 + 1
    twice = np.array([1.0 if 2 * row % torus == 0 else 2.0 for row in range(half)] * 2)  # for the conjugates left out
    angles = np.outer(np.arange(torus), np.arange(padding, padding + side)) % torus * (2.0 * math.pi / torus)
    cosine, sine = (np.abs(wave(angles)) / math.sqrt(torus) * (1.0 + 2.0**-40) + 2.0**-46 for wave in (np.cos, np.sin))
    rows, columns = np.vstack([cosine[:half], sine[:half]]), np.block([[cosine, sine], [sine, cosine]])
    return [(rows, 1.0), (columns, 1.0), (columns.T, 1.0), (rows.T * twice, math.sqrt(2.0) * UP)]


def frequencies(weight: np.ndarray, side: int, size: float) -> tuple[int, float]:
    """The rounding of a map by complex matrices [2, t / 2 + 1, t, O, I] of norm at most `size` in Fourier's basis."""
    torus = weight.shape[2]
    real, imaginary = np.abs(weight).reshape(2, -1, *weight.shape[3:])
    middle = max(nonnegative_norm(one + other) for one, other in zip(real, imaginary, strict=True))
    parts = [(part.shape[1], one, nonnegative_norm(part)) for part, one in fourier(side, torus, (torus - side) // 2)]
    return chain_rounding([*parts[:2], (2 * weight.shape[4], size, middle), *parts[2:]])


def block_norm(weight: np.ndarray) -> float:
    """At least the largest norm of complex matrices [2, t / 2 + 1, t, O, I]."""
    return max(norm(real_form(*pair)) for pair in zip(*weight.reshape(2, -1, *weight.shape[3:]), strict=True))


def frequency_conv(part: Part, record: Any) -> Needs:
    """Zeros around the map, a unitary transform, matrices, the real part of the inverse, a cut: none adds to a norm."""
    weight = part.own["weight"]
    size, offset = block_norm(weight), length(part.bias, part.pixels)
    terms, absolute = frequencies(weight, part.before[1], size)
    return Needs(size, offset, gamma(terms + 1) * absolute * UP, U * offset)


def sandwich(part: Part, record: Any) -> Needs:
    """2 A^T relu(B x + b): y^T 2 A^T D B x <= |A y + B x|^2 / 2 <= |[A, B]|^2 for unit vectors x, y, D of 0 and 1."""
    weight, outputs = part.own["weight"], part.after[0]
    first, second = weight[..., outputs:], weight[..., :outputs].swapaxes(-1, -2)
    if weight.ndim == 2:
        size = norm(weight)
        there, back = ((one.shape[1], nonnegative_norm(np.abs(one))) for one in (first, second))
    else:
        size = block_norm(weight)
        there, back = (frequencies(one, part.before[1], size) for one in (first, second))
    bias = length(part.bias, part.pixels)
    hidden, rounded = gamma(there[0] + 1), gamma(back[0])
    slope = 2.0 * (size * hidden * there[1] + rounded * back[1] * (size + hidden * there[1]))
    constant = 2.0 * (size * hidden + rounded * back[1] * (1.0 + hidden)) * bias
    return Needs(size**2 * UP, 2.0 * size * bias * UP, slope * UP, constant * UP)


def distance(part: Part, record: Any) -> Needs:
    """b_j + max over i of |x_i - w_ji|, in l-infinity: two roundings of |x| + |w| + |b|."""
    far = float((np.abs(part.own["weight"]).max(axis=1) + np.abs(part.bias)).max()) * UP
    return Needs(1.0, far, gamma(2), gamma(2) * far)


def sorted_distance(part: Part, record: Any) -> Needs:
    """b_j + sum over i of c_i times the i-th largest |x_k - w_jk|, c_i = keep (1 - keep)^(i - 1), rounded in order."""
    told = re.fullmatch(r"(\d+) shares from (\S+)", record["method"])
    if told is None:
        raise Failed(f"its method is {record['method']!r}, which names no shares")
    terms, keep = int(told[1]), float(told[2])
    if not (0.0 < keep < 1.0 and 1 <= terms <= part.before[0]):
        raise Failed(f"{terms} terms by shares of {keep}")
    shares = [keep]
    while len(shares) < terms:
        shares.append(shares[-1] * (1.0 - keep))
    whole = math.fsum(shares) * (1.0 + 2.0**-51)
    far = float((np.abs(part.own["weight"]).max(axis=1) * whole + np.abs(part.bias)).max()) * UP
    return Needs(whole, far, gamma(terms + 2) * whole * UP, gamma(terms + 2) * far * UP)


def linear_linf(part: Part, record: Any) -> Needs:
    """A Linear, or a convolution by sums over its taps: some of them may fall on padding."""
    weight, offset = part.own["weight"].reshape(len(part.own["weight"]), -1), float(np.abs(part.bias).max())
    if next(part.lowerings) not in ("", "sums"):
        raise Unchecked("products of tiles cannot be checked here in l-infinity")
    rows, lost = max(map(math.fsum, np.abs(weight).tolist())) * (1.0 + 2.0**-51), gamma(weight.shape[1] + 1)
    return Needs(rows, offset, lost * rows * UP, lost * offset * UP)


# Blocks --------------------------------------------------------------------------------------------------------------


def chains(part: Part) -> tuple[list[Part], list[Part]]:
    """The layers with weights of a block's skip, which may be none, and of its branch.

    They are taken for what their weights look like. The first of either makes the map of the block's output, and the
    others keep it. A layer without weights is taken for an activation: 1-Lipschitz, exact, and 0 at 0.
    """
    names = dict.fromkeys(key.rpartition(".")[0] for key in part.own)
    places = {int(name[7:]): name for name in names if re.fullmatch(r"branch\.\d+", name)}
    told = {"skip", "loop", "aol", "sll", *map(str, places)}
    if len(places) + ("skip" in names) != len(names) or {key.split(".")[0] for key in part.proof} - told:
        raise Unchecked("a block of such layers cannot be checked here")
    found = []
    for chain in (["skip"] if "skip" in names else [], [places[place] for place in sorted(places)]):
        shape, parts = list(part.before), []
        for name in chain:
            own, proof = below(part.own, f"{name}."), below(part.proof, name.removeprefix("branch.") + ".")
            after = shape if "weight" not in own else [len(own["weight"]), *part.after[1:]]
            parts.append(Part(own, shape, after, part.lowerings, proof))
            shape = after
        if shape != list(part.after):
            raise Unchecked(f"a block that makes {shape} of its input where it should make {list(part.after)}")
        found.append(parts)
    return found[0], found[1]


def inner_needs(inner: Part) -> Needs:
    weight, sides = inner.own.get("weight", np.zeros(0)), len(inner.before)
    if set(inner.own) == {"query", "key", "value"}:
        return attention(inner, None)
    plain = set(inner.own) <= {"weight", "bias"} and (weight.ndim, sides) in ((4, 3), (2, 1))
    if plain and weight.shape[1] == inner.before[0]:
        return (convolution if sides == 3 else linear)(inner, None)
    raise Unchecked(f"a layer of {', '.join(inner.own)} inside a block cannot be checked here")


def residual(part: Part, record: Any) -> Needs:
    """H x + g(x), H the identity by default: |H| + |g|, or what the loop transformation makes of it: `loop_norm`."""
    skip, branch = chains(part)
    halves = [functools.reduce(Needs.then, map(inner_needs, chain), Needs()) for chain in (skip, branch)]
    found = halves[0].plus(halves[1])
    if "loop.tau" not in part.proof:
        return found
    return found._replace(lipschitz=min(found.lipschitz, loop_norm(part, skip, branch, halves[1].lipschitz)))


def written(inner: Part) -> np.ndarray:
    """A convolution or a Linear as a matrix."""
    weight = inner.own["weight"]
    if weight.ndim == 2:
        return weight
    return dense(weight, inner.before, inner.after, steps_of(weight, inner.before, inner.after))


def loop_norm(part: Part, skip: list[Part], branch: list[Part], product: float) -> float:
    """|H x + G a(W x + b)| <= |H + G W / 2| + |T^(1/2) W| / 2 for a of slopes 0 to 1 and any diagonal T >= G^T G.

    For a(y) - y / 2 has slopes of at most 1/2. By Cauchy's inequality T >= G^T G where T_i is the sum over j of
    |G^T G|_ij q_j / q_i, for any q > 0; |G| serves as well.
    """
    if not (len(branch) == 2 and {"branch.0.weight", "branch.2.weight"} <= set(part.own)):
        raise Unchecked("a block of more than W, an activation and G cannot be checked here")
    first, second = (written(inner) for inner in branch)
    ahead = written(skip[0]) if skip else np.eye(math.prod(part.before))
    count, sizes = len(first), [frobenius(one) for one in (first, second)]
    through = norm(ahead + 0.5 * (second @ first)) + gamma(count + 3) * sizes[0] * sizes[1] + U * frobenius(ahead)
    lengths = np.sqrt(np.square(second).sum(axis=0)) * (1.0 + 2.0**-32) + 1e-100
    gram = np.abs(second.T @ second) + gamma(len(second) + 8) * np.outer(lengths, lengths)
    best = product
    for q in (np.ones(count), 1.0 / lengths):
        squares = (gram @ q) / q * (1.0 + gamma(count + 8))
        scaled = np.sqrt(squares)[:, None] * first
        best = min(best, norm(scaled) + gamma(4) * math.sqrt(float(squares.max())) * sizes[0])
    return (through + 0.5 * best) * UP


L2 = {
    **dict.fromkeys(SAME, same), "Pixels": pixels, "Linear": linear, "TokenLinear": token_linear,
    "Conv2d": convolution, "ConvexPotential": potential, "ConvExponential": exponential, "Householder": householder,
    "PatchPool": patch_pool, "L2Pool": l2_pool, "PositionOffset": position_offset, "SelfAttention": attention,
    "FrequencyConv": frequency_conv, "Sandwich": sandwich, "Residual": residual,
}  # fmt: skip
LINF = {
    **dict.fromkeys(SAME, same), "Pixels": lambda part, record: pixels(part, record, linf=True),
    "Linear": linear_linf, "Conv2d": linear_linf, "LInfDistance": distance, "SortedDistance": sorted_distance,
}  # fmt: skip
