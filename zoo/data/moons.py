"""The two moons: a data set of points in the plane that is computed, not read from files.

Source: the data of CLL's figures 2 and 4 (Losch, Stutz, Schiele, Fritz 2023): half circles of radius 1 around (0, 0)
and (1, 0.5), 2000 points, noise uniform in a disc of radius 0.1. The half circles are 0.5 apart, so the noisy ones are
no closer than 0.3: every point has a margin of 0.15, the epsilon of their figure. Where we differ: angles are uniform
at random, not on a grid, so that a test split of other points can be drawn; they show training points only.
"""

from __future__ import annotations

import hashlib

import numpy as np

from zoo.architectures.mlp import CORNER, SIDE
from zoo.data.datasets import DATASETS
from zoo.data.splits import Split, part_name
from zoo.errors import InputError

SAMPLES, NOISE = 2000, 0.1
SEEDS = {"train": 0, "test": 1}


def two_moons(split: str, limit: int | None = None) -> Split:
    """The points of a split, the same on every call: float32 [N, 1, 1, 2] in the unit square of `TwoMoonsMLP`.

    Raises InputError for another split than train and test.
    """
    if split not in SEEDS:
        raise InputError(f"two-moons has the splits {' and '.join(SEEDS)}, got {split!r}")
    generator = np.random.default_rng(SEEDS[split])
    labels = generator.integers(0, 2, SAMPLES)
    angle, direction = np.pi * generator.random(SAMPLES), 2 * np.pi * generator.random(SAMPLES)
    distance = NOISE * np.sqrt(generator.random(SAMPLES))  # uniform in the disc
    side = 1 - 2 * labels  # the second moon is the first one turned around (0.5, 0.25)
    x = labels + side * np.cos(angle) + distance * np.cos(direction)
    y = labels * 0.5 + side * np.sin(angle) + distance * np.sin(direction)
    points = (np.stack([x, y], axis=1) - CORNER) / SIDE
    images = points.astype(np.float32).reshape(SAMPLES, 1, 1, 2)[:limit]
    labels = labels.astype(np.int64)[:limit]
    revision = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    return Split(images, labels, DATASETS["two-moons"].labels, revision, part_name(split, len(labels), SAMPLES))
