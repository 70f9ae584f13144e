"""Attacks inside the certified radii, judged by the graph that ships, in float64.

Each start is an image, a class i other than its label j, and 0.9999 of the certified distance to that class. In there
f_j > f_i must hold, and on the way no margin may fall by more than its constant allows:

    (f_j - f_i)(x) - (f_j - f_i)(x') <= K_ji |x - x'| + T_ji.

The second is tested by every point, also where the label is far from falling; the largest share of it that was used
says how near an attack came.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.soundness.subject import Subject
from export.robustness import differentiable
from zoo.attacks import apgd, steepest
from zoo.records import Outputs

SHARE = 0.9999  # of the certified distance
STEPS = {"APGD": 4, "steepest fall": 3}  # of a start: more steps find hardly more, more starts do
BATCH = 64
IMAGES = 256  # that the starts are drawn from


class Verdict(NamedTuple):
    """What one attacked image shows."""

    inside: bool  # within the certified distance, in float64
    share: float  # of the drop that is allowed
    violated: bool


def test(subject: Subject, starts: int) -> dict[str, Any]:
    """The row of a model: half of the starts by each attack."""
    random, generator = np.random.default_rng(1), torch.Generator().manual_seed(1)
    outputs = subject.model.outputs(subject.images[:IMAGES])
    able = np.flatnonzero(outputs.radius > 1e-3)
    rows = able[random.integers(0, len(able), starts)]
    targets = _targets(outputs, rows, random)
    logits = differentiable(subject.network, torch.from_numpy(subject.images[:1]), "no")
    verdicts = []
    for start in range(0, starts, BATCH):
        part, wanted = rows[start : start + BATCH], targets[start : start + BATCH]
        images, labels = torch.from_numpy(subject.images[part]), outputs.label[part]
        reach = torch.from_numpy(SHARE * outputs.class_radii[part, wanted]).float()

        def gap(points: Tensor, labels: np.ndarray = labels, wanted: np.ndarray = wanted) -> Tensor:
            picked = (logits(points).gather(1, torch.from_numpy(side)[:, None])[:, 0] for side in (wanted, labels))
            return next(picked) - next(picked)

        if start < starts // 2:
            points = apgd(gap, images, reach, subject.norm, STEPS["APGD"], generator)
        else:
            points = steepest(gap, images, reach, subject.norm, STEPS["steepest fall"])
        verdicts += judge(subject, Outputs(*(value[part] for value in outputs)), images.numpy(), points.numpy(), wanted)
    inside = [verdict for verdict in verdicts if verdict.inside]
    return {
        "starts": len(inside),
        "steps": STEPS,
        "largest share of the allowed drop": max((verdict.share for verdict in inside), default=0.0),
        "violations": sum(verdict.violated for verdict in verdicts),
    }


def _targets(outputs: Outputs, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """For every second start the nearest class, for the others any class at a finite distance."""
    radii = np.where(np.isfinite(outputs.class_radii[rows]), outputs.class_radii[rows], np.inf)
    drawn = np.where(np.isfinite(radii), random.random(radii.shape), -1.0).argmax(axis=1)
    return np.where(np.arange(len(rows)) % 2 == 0, radii.argmin(axis=1), drawn)


def judge(
    subject: Subject, before: Outputs, images: np.ndarray, points: np.ndarray, targets: np.ndarray
) -> list[Verdict]:
    """What the graph answers for the points, against what it certified for the images."""
    after = subject.model.outputs(points)
    slack, lipschitz = (table.numpy() for table in (subject.proved.slack, subject.proved.margin_lipschitz))
    verdicts = []
    for row, (label, target) in enumerate(zip(before.label.tolist(), targets.tolist(), strict=True)):
        t, k = float(slack[label, target]), float(lipschitz[label, target])
        margins = [logits[row, label] - logits[row, target] for logits in (before.logits, after.logits)]
        distance = _distance(images[row], points[row], subject.norm)
        share = float((margins[0] - margins[1]) / (k * distance + t))
        own, other = float(before.radius[row]), float(before.class_radii[row, target])
        wrong = (after.label[row] != label and not _above(distance, own, images[row], points[row], subject.norm)) or (
            margins[1] <= 0 and not _above(distance, other, images[row], points[row], subject.norm)
        )
        if share > 1 - 1e-9:
            fallen = Fraction(float(margins[0])) - Fraction(float(margins[1])) - Fraction(t)
            square = _square(images[row], points[row], subject.norm)
            wrong |= fallen > 0 and fallen**2 > Fraction(k) ** 2 * square
        verdicts.append(Verdict(distance <= other, share, bool(wrong)))
    return verdicts


def _distance(one: np.ndarray, other: np.ndarray, norm: str) -> float:
    apart = np.abs(one.astype(np.float64) - other)
    return float(apart.max() if norm == "linf" else np.sqrt(np.square(apart).sum()))


def _above(distance: float, radius: float, one: np.ndarray, other: np.ndarray, norm: str) -> bool:
    """Whether the distance of the images exceeds the radius; where float64 cannot tell, in fractions."""
    if abs(distance - radius) > 1e-9 * radius:
        return distance > radius
    return _square(one, other, norm) > Fraction(radius) ** 2


def _square(one: np.ndarray, other: np.ndarray, norm: str) -> Fraction:
    """The square of the distance of two images of float32 numbers, exactly."""
    apart = [
        Fraction(a) - Fraction(b) for a, b in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True) if a != b
    ]
    if norm == "linf":
        return max(map(abs, apart), default=Fraction(0)) ** 2
    return sum((entry * entry for entry in apart), Fraction(0))
