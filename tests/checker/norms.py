"""Upper bounds that need not be trusted: of norms, by verified eigenvalues, and of what sums of products round."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

import numpy as np

U = 2.0**-53
UP = 1.0 + 2.0**-44  # outweighs what a few scalar operations lose
TINY = 2.0**-1000  # outweighs what products lose that underflow, 2^-1074 each
LOST = 2.0**-1060  # outweighs what a few scalars lose that underflow
POINTS = [Fraction(text) for text in ("0", "1", "-1", "1/2", "-2", "-1/2", "2", "1/4", "-4")]  # of Toom-Cook; infinity

Shape = Sequence[int]
Steps = list[tuple[int, int]]  # stride and padding of the rows and of the columns


class Failed(Exception):
    """What is wrong with the folder."""


class Unchecked(Failed):
    """Why the folder cannot be checked this way, which says nothing for or against it."""


def gamma(terms: int) -> float:
    """The relative error of a sum of so many products, rounded up."""
    return terms * U / (1.0 - terms * U) * UP


def frobenius(matrix: np.ndarray) -> float:
    return math.sqrt(float(np.square(matrix).sum())) * (1.0 + 2.0**-16)


def length(vector: np.ndarray, copies: int = 1) -> float:
    """At least the l2 norm of so many copies of the vector."""
    return math.sqrt(math.fsum(entry * entry for entry in vector.ravel().tolist()) * copies) * UP


def norm(matrix: np.ndarray) -> float:
    """At least the spectral norm of a matrix, from eigenvalues that need not be trusted.

    For any V, L with G V = V L + R and V^T V = I + O, |O| < 1, and x = V y:

        x^T G x = y^T (V^T V L + V^T R) y <= (max L + |O| max |L| + |V| |R|) |y|^2,    |x|^2 >= (1 - |O|) |y|^2.
    """
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    side, inner = matrix.shape
    gram = matrix @ matrix.T
    values, vectors = np.linalg.eigh(gram)
    largest, reach = max(float(values.max()), 0.0), float(np.abs(values).max())
    size = frobenius(vectors)
    skew = frobenius(vectors.T @ vectors - np.eye(side)) + gamma(side + 8) * (size**2 + side)
    rest = frobenius(gram @ vectors - vectors * values) + gamma(side + 8) * size * (frobenius(gram) + reach)
    if not skew < 0.5:
        raise Failed("the eigenvectors that were found are not orthogonal")
    square = (largest + skew * reach + math.sqrt(1.0 + skew) * rest) / (1.0 - skew)
    return math.sqrt((square + gamma(inner + 8) * frobenius(matrix) ** 2) * UP + TINY) * UP


def nonnegative_norm(matrix: np.ndarray) -> float:
    """The same of a matrix without negative entries, for which the geometric mean of its largest sums serves, too."""
    sums = math.sqrt(float(matrix.sum(axis=0).max()) * float(matrix.sum(axis=1).max())) * (1.0 + 2.0**-32)
    return min(sums, norm(matrix))


def real_form(real: np.ndarray, imaginary: np.ndarray) -> np.ndarray:
    """A complex matrix as a real one of the same norm."""
    return np.block([[real, -imaginary], [imaginary, real]])


# Convolutions --------------------------------------------------------------------------------------------------------


def steps_of(kernel: np.ndarray, before: Shape, after: Shape) -> Steps:
    """For rows and columns the stride and padding that give the shapes: the nearest stride, the least padding."""
    found = []
    for side, out, taps in zip(before[1:], after[1:], kernel.shape[2:], strict=True):
        pairs = [(stride, padding) for stride in range(1, side + 1) for padding in range(taps)]
        fits = [(s, p) for s, p in pairs if side + 2 * p >= taps and (side + 2 * p - taps) // s + 1 == out]
        if not fits:
            raise Failed(f"no stride gives {list(after)} from {list(before)} with a kernel of {taps}")
        found.append(min(fits, key=lambda fit: (abs(fit[0] * out - side), fit)))
    return found


def dense(kernel: np.ndarray, before: Shape, after: Shape, steps: Steps) -> np.ndarray:
    """The zero-padded convolution as a matrix."""
    matrix = np.zeros((*after, *before))
    for row, column in np.ndindex(*after[1:]):
        for down, right in np.ndindex(*kernel.shape[2:]):
            y, x = row * steps[0][0] - steps[0][1] + down, column * steps[1][0] - steps[1][1] + right
            if 0 <= y < before[1] and 0 <= x < before[2]:
                matrix[:, row, column, :, y, x] = kernel[:, :, down, right]
    return matrix.reshape(math.prod(after), math.prod(before))


def torus_norm(kernel: np.ndarray, torus: Sequence[int], steps: Steps) -> float:
    """At least the norm of the circular convolution on a torus of these sides, multiples of the strides.

    Where a map with its padding of zeros fits into the torus, reading over its end is reading the padding: so no
    zero-padded convolution has a larger norm. Fourier's basis makes it one small matrix for each frequency.
    """
    (down, right), taps, (rows, columns) = (stride for stride, _ in steps), kernel.shape[2:], torus
    absolute = np.abs(kernel).sum(axis=(2, 3))
    error = 2.0 * gamma(math.prod(taps) + 64) * frobenius(absolute) * math.sqrt(down * right)
    largest = 0.0
    for row in range(rows // down // 2 + 1):
        for column in range(columns // right):
            parts = []
            for a, b in np.ndindex(down, right):
                y, x = row + a * (rows // down), column + b * (columns // right)
                turns = np.add.outer(y * columns * np.arange(taps[0]), x * rows * np.arange(taps[1])) % (rows * columns)
                angles = turns * (2.0 * math.pi / (rows * columns))
                parts.append([(kernel * wave(angles)).sum(axis=(2, 3)) for wave in (np.cos, np.sin)])
            largest = max(largest, norm(real_form(*(np.hstack(part) for part in zip(*parts, strict=True)))))
    return (largest + error) / math.sqrt(down * right) * UP


def conv_norm(kernel: np.ndarray, before: Shape, after: Shape, steps: Steps, told: Mapping[str, float]) -> float:
    """At least the convolution's norm, in the way that the proof tells: on a torus, or written out."""
    sides = before[1:]
    if "torus_rows" in told:
        padded = [-(-(side + padding) // stride) * stride for side, (stride, padding) in zip(sides, steps, strict=True)]
        if [told["torus_rows"], told["torus_columns"]] != padded:
            raise Unchecked("a convolution with another padding than zeros cannot be checked here")
        return torus_norm(kernel, padded, steps)
    if all(step == (taps, 0) for step, taps in zip(steps, kernel.shape[2:], strict=True)):  # disjoint patches
        return norm(kernel.reshape(len(kernel), -1))
    return norm(dense(kernel, before, after, steps))


# Rounding ------------------------------------------------------------------------------------------------------------


def toom_cook(outputs: int, taps: int) -> list[np.ndarray]:
    """|A|, |G|, |B| of y = A ((G w) * (B x)): values of polynomials at the points, and Lagrange's basis."""
    if outputs == 1:
        return [np.ones((1, taps)), np.eye(taps), np.eye(taps)]
    points = POINTS[: outputs + taps - 2]
    back, kernel, data = [], [], []
    for point in [*points, None]:
        others = [other for other in points if other != point]
        basis = [Fraction(1)]
        for other in others:
            basis = [low - other * high for low, high in zip([Fraction(0), *basis], [*basis, Fraction(0)], strict=True)]
        scale = Fraction(1) if point is None else math.prod((point - other for other in others), start=Fraction(1))
        entries = [entry / scale for entry in [*basis, *[Fraction(0)] * (len(points) + 1 - len(basis))]]
        factor = math.lcm(*(entry.denominator for entry in entries))
        data.append([abs(entry * factor) for entry in entries])
        powers = [[point**power for power in range(count)] if point is not None else [0] * (count - 1) + [1]
                  for count in (outputs, taps)]  # fmt: skip
        back.append([abs(value) for value in powers[0]])
        kernel.append([abs(Fraction(value) / factor) for value in powers[1]])
    result = [np.array([[float(entry) for entry in row] for row in part]) for part in (back, kernel, data)]
    return [result[0].T, result[1], result[2]]


def conv_rounding(kernel: np.ndarray, steps: Steps, told: str) -> list[tuple[int, float]]:
    """(terms, at least the norm of the absolute values) of the sums over taps, and of the products of tiles."""
    found = [(math.prod(kernel.shape[1:]), nonnegative_norm(np.abs(kernel).sum(axis=(2, 3))))]
    if told == "sums":
        return found
    tile = [int(side) for side in told.removeprefix("toom-cook ").split("x")]
    down, right = strides = [stride for stride, _ in steps]
    counts = [-(-taps // stride) for taps, stride in zip(kernel.shape[2:], strides, strict=True)]
    ends = [(0, n * stride - taps) for n, stride, taps in zip(counts, strides, kernel.shape[2:], strict=True)]
    cells = np.pad(np.abs(kernel), [(0, 0), (0, 0), *ends])
    cells = cells.reshape(*kernel.shape[:2], counts[0], down, counts[1], right).transpose(0, 3, 5, 1, 2, 4)
    cells = cells.reshape(len(kernel), -1, *counts)
    axes = [toom_cook(outputs, taps) for outputs, taps in zip(tile, counts, strict=True)]
    terms = cells.shape[1]
    for outputs, taps in zip(tile, counts, strict=True):
        size = outputs + taps - 1 if outputs > 1 else taps
        terms += size + (size + taps + 1 if outputs > 1 else 0)
    bars = np.einsum("ap,bq,oipq->aboi", axes[0][1], axes[1][1], cells).reshape(-1, len(kernel), cells.shape[1])
    sizes = np.array([nonnegative_norm(bar) for bar in bars])
    back, data = (np.kron(axes[0][part], axes[1][part]) for part in (0, 2))
    shared = math.prod(-(-part[2].shape[1] // outputs) for part, outputs in zip(axes, tile, strict=True))
    return [*found, (terms, norm(back * sizes @ data) * math.sqrt(shared) * UP)]


def chain_rounding(stages: Iterable[tuple[int, float, float]]) -> tuple[int, float]:
    """(terms, a) of products L_n ... L_1 x by stages (terms, |L_i|, at least | |L_i| |): off by gamma(terms) a |x|.

    A stage errs on its computed input by gamma of the entrywise absolute value, and what follows multiplies that.
    """
    stages = list(stages)
    terms = max(count for count, *_ in stages) + 1
    reached = [one + gamma(terms) * absolute for _, one, absolute in stages]
    others = (math.prod(reached[:place] + reached[place + 1 :]) for place in range(len(stages)))
    return terms, sum(stage[2] * other for stage, other in zip(stages, others, strict=True)) * UP
