"""Two images of different labels are no nearer than their radii allow: the cheapest strong test of a certificate.

A segment from x, of label j, to x', of label i, has a point where f_j = f_i. No such point is nearer to x than the
radius of x against class i, nor nearer to x' than that of x' against class j, so

    class_radii(x)[i] + class_radii(x')[j] <= |x - x'|,

which is more than the same of the radii. One batch of answers tests every pair in it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from benchmarks.soundness.subject import Subject, pictures

U = 2.0**-53


class Found(NamedTuple):
    """What a batch's pairs show."""

    pairs: int  # unordered, of different labels
    nearest: float  # the smallest distance over sum of radii
    violations: list[tuple[int, int]]  # places in the batch of pairs that are too near, in exact arithmetic


def test(subject: Subject, count: int) -> dict[str, Any]:
    """The row of a model for about so many images."""
    images = pictures(subject, count, np.random.default_rng(0))
    outputs = subject.model.outputs(images)
    found = compare(images, outputs.label, outputs.class_radii, subject.norm)
    positive = float((outputs.radius > 0).mean())
    return {
        "images": len(images),
        "of positive radius": round(positive, 4),
        "pairs": found.pairs,
        "smallest ratio": found.nearest,
        "violations": len(found.violations),
    }


def compare(images: np.ndarray, labels: np.ndarray, class_radii: np.ndarray, norm: str) -> Found:
    """Every two images of different labels: images float32 [N, C, H, W], labels [N], class_radii float64 [N, C].

    Distances of all pairs are bounded from below by a matrix product and what it rounds; what could be the nearest or
    too near is measured anew by differences, and what is nearer than 1 + 1e-9 is decided in fractions.
    """
    flat = images.reshape(len(images), -1).astype(np.float64)
    rows, columns = np.triu_indices(len(images), 1)
    apart = labels[rows] != labels[columns]
    rows, columns, count = rows[apart], columns[apart], int(apart.sum())
    sums = class_radii[rows, labels[columns]] + class_radii[columns, labels[rows]]
    rows, columns, sums = rows[sums > 0], columns[sums > 0], sums[sums > 0]  # the others claim nothing
    least, most = (distance / sums for distance in _distances(flat, rows, columns, norm))
    close = np.flatnonzero((least <= most.min(initial=np.inf)) | (least < 1 + 1e-6))
    nearest, violations = np.inf, []
    for pair in close[np.argsort(least[close])]:
        one, other = int(rows[pair]), int(columns[pair])
        difference = np.abs(flat[one] - flat[other])
        length = difference.max() if norm == "linf" else np.sqrt(np.square(difference).sum())
        ratio = float(length / sums[pair])
        nearest = min(nearest, ratio)
        if ratio < 1 + 1e-9:
            radii = class_radii[one, labels[other]], class_radii[other, labels[one]]
            if not _far_enough(images[one].ravel(), images[other].ravel(), radii, norm):
                violations.append((one, other))
    return Found(count, nearest, violations)


def _distances(flat: np.ndarray, rows: np.ndarray, columns: np.ndarray, norm: str) -> tuple[np.ndarray, np.ndarray]:
    """At most and at least the distances of these pairs."""
    if norm == "linf":
        table = np.zeros((len(flat), len(flat)))
        for row, image in enumerate(flat[:-1]):
            table[row, row + 1 :] = np.abs(flat[row + 1 :] - image).max(axis=1)
        found = table[rows, columns]
        return found * (1 - 4 * U), found * (1 + 4 * U)
    squares = np.square(flat).sum(axis=1)
    sizes = squares[rows] + squares[columns]
    inner = (flat @ flat.T)[rows, columns]
    error = 4 * (flat.shape[1] + 8) * U * sizes
    found = sizes - 2 * inner
    return np.sqrt((found - error).clip(0)) * (1 - 4 * U), np.sqrt((found + error).clip(0)) * (1 + 4 * U)


def _far_enough(one: np.ndarray, other: np.ndarray, radii: tuple[float, float], norm: str) -> bool:
    """Whether the distance is at least the sum of the radii, with no rounding at all."""
    total = Fraction(float(radii[0])) + Fraction(float(radii[1]))
    differences = [Fraction(a) - Fraction(b) for a, b in zip(one.tolist(), other.tolist(), strict=True)]
    if norm == "linf":
        return max(map(abs, differences)) >= total
    return sum((difference**2 for difference in differences), Fraction(0)) >= total**2
