"""A larger certified radius for one image, from what its network can do inside one ball; PyTorch and NumPy only.

Around the image x most ReLUs are on or off, and most MinMax pairs keep their order, for every point of a ball. Two
values z, z' of an activation's input inside the ball then have

    phi(z') - phi(z) = (C + D^T S D / 2) (z' - z),   S diagonal with entries in [-1, 1],

with D the rows e_i of the ReLUs that may change and e_a - e_b of the pairs that may exchange, for max(a, b) and
min(a, b) are (a + b +- |a - b|) / 2, relu(a) = (a + |a|) / 2, and |.| has slopes in [-1, 1]; C is 1 on what is on, 0
on what is off, a permutation on ordered pairs, and the mean of both slopes where something may change.

So the difference of two values of any layer is a sum of paths, each a matrix times a source whose norm is at most
`size` |x' - x|: the input, and S D (z' - z) of each activation. Two ways of counting are sound. *Expanded*, each
activation adds a path and C continues the others; what is fixed is linear, as in LipLT. *Cut*, an activation of which
something may change replaces all paths by one, whose source is phi(z') - phi(z), no longer than z' - z without the
units that are off. That gives the product of the layers' norms without their units that are off, which is never above
the product of the whole layers' norms. Sometimes one way gives the smaller constant, sometimes the other, so a margin
takes the smaller.

Source: Huang, Zhang, Shi, Kolter, Anandkumar 2021 (Local-Lip-B), arXiv 2111.01395, the masks and the cut product;
Fazlyab et al. 2023 (LipLT), theorem 3.3, the expansion. Where we differ: slopes by unit, pairs of MinMax, intervals in
l2 as well as in l-infinity, norms that are proved, rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo.bounds.convolution import written_out
from zoo.bounds.margins import ROUND_DOWN
from zoo.bounds.rounding import OUTWARD, TINY, U, gamma
from zoo.bounds.rule import RAISED, Shape
from zoo.bounds.spectral import Matrix, spectral_norm_bound
from zoo.errors import UncertifiableLayerError
from zoo.layers import MinMax, Pixels
from zoo.lowering.sizes import sizes_of

if TYPE_CHECKING:
    from zoo.certificate.model import CertifiedModel

MAX_MATRIX_ENTRIES = 2**24  # entries of a layer written out as a matrix; 2c2f on MNIST needs 2^22.3
BALLS = 6  # tried for one image, after the one that the global bounds prove


class LocalRadius(NamedTuple):
    """The label of an image, an l2 distance up to which it does not change, and the ball in which that was proved."""

    label: int
    radius: float
    ball: float  # the size of the ball whose local bounds prove the radius; 0 where the model's global bounds prove it


class Interval(NamedTuple):
    """Values [units] of a layer: low <= exact value <= high."""

    low: Matrix
    high: Matrix


class PathTerm(NamedTuple):
    """A part of the difference of a layer's values at two points of the ball: a matrix times a source."""

    matrix: Matrix  # [units, source], as computed
    error: float  # at least the Frobenius norm of what the matrix is off by
    size: float  # at least |source| / |x' - x|


class Activation(NamedTuple):
    """What an activation can do on an interval: C z = weight (z[one] + z[two]), D z = z[plus] - z[minus]."""

    one: NDArray[np.intp]
    two: NDArray[np.intp]
    weight: Matrix
    plus: NDArray[np.intp]
    minus: NDArray[np.intp] | None  # None: D z = z[plus]
    alive: NDArray[np.bool_]  # [units]: the output depends on this unit


def local_radius(model: CertifiedModel, image: Tensor) -> LocalRadius:
    """The label of an image, and an l2 distance up to which it does not change: at least the radius of `model` itself.

    The claims are those of the certificate. (R): inside the ball of radius `ball` >= radius every f_j - f_i, j the
    label, has a local Lipschitz constant, so the exact margin at x' is at least its value at x less that constant times
    |x' - x|. (D): the computed margins differ from the exact ones, at x and at x', by no more than the slack table T in
    all, which is a bound for every input and is subtracted here as it is there. The result is the largest
    min(ball, min over i of (f_j - f_i - T_ji) / K_ji(ball)) of a few balls, rounded down.

    For small networks: every layer is written out as a matrix, and the number of norms to prove for each ball grows
    with the square of the number of layers.
    image: [C, H, W]; one with a value outside [0, 1] gets radius 0.
    Raises UncertifiableLayerError unless every layer is a Linear, Conv2d, Flatten, ReLU or MinMax of at most 2^24
    entries as a matrix.
    """
    if model.dtype != torch.float64:
        raise UncertifiableLayerError(f"only a float64 model has proved radii, this one computes in {model.dtype}")
    if model.norm != "l2":
        raise UncertifiableLayerError(f"local radii are l2 only, this model is certified in {model.norm}")
    with torch.no_grad():
        outputs = model(image[None])
    label, known = int(outputs.label[0]), float(outputs.radius[0])
    best = LocalRadius(label, known, 0.0)
    widest = math.sqrt(image.numel())  # the largest distance of two images
    if not 0.0 < known < widest:
        return best
    pixels = image.detach().cpu().to(torch.float64).numpy()
    logits, slack = outputs.logits[0].cpu().numpy(), model.slack[label].cpu().numpy()
    spare = (logits[label] - logits) - slack
    rivals = np.arange(len(spare)) != label

    def reach(ball: float) -> float:
        """How far the label is proved by the constants of this ball, were the ball large enough."""
        with np.errstate(over="ignore"):  # infinitely far where the margin is constant on the ball
            return float((spare / margin_constants(model.network, pixels, ball, label))[rivals].min())

    # The smaller the ball, the farther it reaches: the best one lies between any ball and what it reaches.
    near, ball = known, min(reach(known), widest)
    far = ball
    for _ in range(BALLS):
        if far <= near * RAISED:
            break
        found = reach(ball)
        if min(ball, found) > best.radius:
            best = LocalRadius(label, min(ball, found), ball)
        near, far = (ball, min(far, found)) if found >= ball else (max(near, found), ball)
        ball = (near + far) / 2
    return best


def margin_constants(network: nn.Sequential, image: Matrix, ball: float, label: int) -> Matrix:
    """At least the Lipschitz constant of each f_label - f_i on the ball around the image [C, H, W], rounded up."""
    shape: Shape = image.shape
    point, values, paths = _pixels(network[0], image, ball)
    ways = [paths, paths]  # expanded, cut
    for layer in network[1:-1]:
        if type(layer) in (nn.ReLU, MinMax):
            activation = _activation(layer, values, shape)
            point, values = (_activated(layer, interval, shape) for interval in (point, values))
            ways = [_expand(ways[0], activation), _cut(ways[1], activation)]
        elif type(layer) is nn.Flatten:
            shape = (math.prod(shape),)
        else:
            weight, bias, shape = _matrix(layer, shape)
            ways = [[_times(weight, path) for path in paths] for paths in ways]
            point, values = _affine(weight, bias, point), _affine(weight, bias, values)
            for paths in ways:
                values = _meet(values, _grown(point, ball * _row_sizes(paths)))
    head = network[-1]
    assert isinstance(head, nn.Linear)
    rows = _exact(head.weight)
    rows = rows[label] - rows
    return np.maximum(np.minimum(*(_row_constants(rows, paths) for paths in ways)) * ROUND_DOWN, TINY)


# Layers --------------------------------------------------------------------------------------------------------------


def _pixels(layer: nn.Module, image: Matrix, ball: float) -> tuple[Interval, Interval, list[PathTerm]]:
    """The first layer at the image and on the ball, and its one path: diag(scale)."""
    if type(layer) is not Pixels:
        raise UncertifiableLayerError(f"the first layer must be Pixels, got {type(layer).__name__}")
    mean, scale = _exact(layer.mean)[:, None, None], _exact(layer.scale)[:, None, None]

    def on(distance: float) -> Interval:
        ends = [(np.clip(image + side * distance, 0.0, 1.0) - mean) * scale for side in (-1.0, 1.0)]
        slack = gamma(8) * (1.0 + distance + np.abs(mean)) * np.abs(scale) + TINY
        return Interval((np.minimum(*ends) - slack).ravel(), (np.maximum(*ends) + slack).ravel())

    scales = np.broadcast_to(scale, image.shape).ravel()
    if scales.size**2 > MAX_MATRIX_ENTRIES:
        raise UncertifiableLayerError(f"an input of {scales.size} numbers is too large for a local bound")
    return on(0.0), on(ball), [PathTerm(np.diag(scales), 0.0, 1.0)]


def _matrix(layer: nn.Module, shape: Shape) -> tuple[Matrix, Matrix, Shape]:
    """A linear layer written out: its matrix, its bias and the shape of its output."""
    if type(layer) not in (nn.Linear, nn.Conv2d):
        raise UncertifiableLayerError(
            f"no local bound for {type(layer).__name__}; there is one for Linear, Conv2d, Flatten, ReLU and MinMax"
        )
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    outputs = (layer.out_features,) if isinstance(layer, nn.Linear) else sizes_of(layer, shape).output_shape
    if (entries := math.prod(shape) * math.prod(outputs)) > MAX_MATRIX_ENTRIES:
        raise UncertifiableLayerError(
            f"a {type(layer).__name__} of {entries} entries is too large for a local bound, "
            f"which takes {MAX_MATRIX_ENTRIES}"
        )
    weight = _exact(layer.weight)
    bias = np.zeros(outputs[0]) if layer.bias is None else _exact(layer.bias)
    if isinstance(layer, nn.Conv2d):
        weight = written_out(weight, layer, shape)
    return weight, np.repeat(bias, math.prod(outputs[1:])), outputs


def _exact(tensor: Tensor) -> Matrix:
    return tensor.detach().cpu().to(torch.float64).numpy()


def _pairs(layer: MinMax, shape: Shape) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The units in whose places the maxima stand, and those of the minima; an odd one out is in neither."""
    units = np.arange(math.prod(shape)).reshape(shape)
    half = shape[0] // 2
    first, second = (units[:half], units[half:]) if layer.pairing == "halves" else (units[: 2 * half : 2], units[1::2])
    return first.ravel(), second.ravel()


def _activation(layer: nn.Module, values: Interval, shape: Shape) -> Activation:
    """What the activation can do while its inputs [units] stay in the interval."""
    low, high = values
    one, two = np.arange(len(low)), np.arange(len(low))
    weight, alive = np.full(len(low), 0.5), np.full(len(low), True)
    if not isinstance(layer, MinMax):
        alive = high > 0.0
        changes = alive & (low < 0.0)
        weight[changes], weight[~alive] = 0.25, 0.0
        return Activation(one, two, weight, np.flatnonzero(changes), None, alive)
    first, second = _pairs(layer, shape)
    ordered, exchanged = low[first] >= high[second], high[first] <= low[second]
    changes = ~(ordered | exchanged)
    exchanged &= ~ordered
    one[first[exchanged]] = two[first[exchanged]] = second[exchanged]
    one[second[exchanged]] = two[second[exchanged]] = first[exchanged]
    two[first[changes]], two[second[changes]] = second[changes], first[changes]
    return Activation(one, two, weight, first[changes], second[changes], alive)


def _activated(layer: nn.Module, values: Interval, shape: Shape) -> Interval:
    """The activation's outputs: both kinds are increasing in each input, and computed without rounding."""
    if not isinstance(layer, MinMax):
        return Interval(*(np.maximum(end, 0.0) for end in values))
    first, second = _pairs(layer, shape)
    ends = [end.copy() for end in values]
    for new, old in zip(ends, values, strict=True):
        new[first], new[second] = np.maximum(old[first], old[second]), np.minimum(old[first], old[second])
    return Interval(*ends)


# Intervals -----------------------------------------------------------------------------------------------------------


def _affine(weight: Matrix, bias: Matrix, values: Interval) -> Interval:
    """An interval that holds W z + b for every z of the interval, as |W (z - middle)| <= |W| half its width."""
    middle = (values.low + values.high) / 2
    half = np.maximum(values.high - middle, middle - values.low) * OUTWARD
    absolute, terms = np.abs(weight), weight.shape[1] + 2
    return _grown(
        Interval(*[weight @ middle + bias] * 2),
        (absolute @ half + gamma(terms) * (absolute @ np.abs(middle) + np.abs(bias))) * (1.0 + gamma(terms)) * RAISED,
    )


def _grown(values: Interval, by: Matrix) -> Interval:
    """The interval, wider by this much on both sides."""
    low, high = values.low - by, values.high + by
    return Interval(low - 4.0 * U * np.abs(low) - TINY, high + 4.0 * U * np.abs(high) + TINY)


def _meet(one: Interval, other: Interval) -> Interval:
    """The values that lie in both intervals."""
    return Interval(np.maximum(one.low, other.low), np.minimum(one.high, other.high))


# Paths ---------------------------------------------------------------------------------------------------------------


def _times(weight: Matrix, path: PathTerm) -> PathTerm:
    error = _frobenius(weight) * (path.error + gamma(weight.shape[1] + 2) * _frobenius(path.matrix))
    return PathTerm(weight @ path.matrix, error * OUTWARD + TINY, path.size)


def _expand(paths: list[PathTerm], activation: Activation) -> list[PathTerm]:
    """The paths behind the activation: C times each, and one more, D^T / 2, where something may change."""
    one, two, weight, plus, minus, _ = activation
    through = [
        PathTerm(
            weight[:, None] * (path.matrix[one] + path.matrix[two]),
            (path.error + 2.0 * U * _frobenius(path.matrix)) * OUTWARD + TINY,
            path.size,
        )
        for path in paths
    ]
    if not len(plus):
        return through
    choose = np.zeros((len(weight), len(plus)))
    choose[plus, np.arange(len(plus))] = 1.0
    if minus is not None:
        choose[minus, np.arange(len(plus))] = -1.0

    def differences(matrix: Matrix) -> Matrix:
        return matrix[plus] if minus is None else matrix[plus] - matrix[minus]

    return [*through, PathTerm(choose, 0.0, _length(paths, differences) / 2)]


def _cut(paths: list[PathTerm], activation: Activation) -> list[PathTerm]:
    """The paths behind the activation: one in the place of all, or those of `_expand` where nothing may change.

    Its source is the difference of the activation's outputs on the units that are not off, which is no longer than the
    difference of its inputs there; on the others the output stays 0.
    """
    alive = activation.alive
    if not len(activation.plus):
        return _expand(paths, activation)
    return [PathTerm(np.eye(len(alive))[:, alive], 0.0, _length(paths, lambda matrix: matrix[alive]))]


def _length(paths: list[PathTerm], rows: Callable[[Matrix], Matrix]) -> float:
    """At least the norm of the sum of the paths divided by |x' - x|, restricted to some rows or differences of two."""
    total = 0.0
    for path in paths:
        # Differences of disjoint pairs have norm sqrt(2), and round once.
        error = 2.0 * (path.error + U * _frobenius(path.matrix)) * OUTWARD
        total += spectral_norm_bound([(rows(path.matrix), None)], perturbation=error).bound * path.size
    return total * OUTWARD


def _row_sizes(paths: list[PathTerm]) -> Matrix:
    """At least |z'_k - z_k| / |x' - x| for each unit k of a layer, the paths being those of its values z and z'."""
    return _sum([(_row_norms(path.matrix) + path.error) * path.size for path in paths])


def _row_constants(rows: Matrix, paths: list[PathTerm]) -> Matrix:
    """At least |d (z' - z)| / |x' - x| for each of these rows d, the paths being those of a layer's values z and z'.

    Each entry of d is a difference that was rounded once; the exact difference is what the result holds for.
    """
    lengths, terms = _row_norms(rows), rows.shape[1] + 4
    return _sum(
        [
            (_row_norms(rows @ path.matrix) + lengths * (path.error + gamma(terms) * _frobenius(path.matrix)) * RAISED)
            * path.size
            for path in paths
        ]
    )


def _sum(parts: list[Matrix]) -> Matrix:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total * RAISED


def _row_norms(matrix: Matrix) -> Matrix:
    return np.sqrt(np.square(matrix).sum(axis=1) + TINY) * RAISED


def _frobenius(matrix: Matrix) -> float:
    return math.sqrt(float(np.square(matrix).sum()) + TINY) * (1.0 + 2.0**-16)
