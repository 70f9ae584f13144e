"""What a distance looks like: a drawn picture, and pictures at that distance from it, side by side."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from zoo.epsilon import parse_epsilon

PICTURE = "distance.png"
FULL = 255  # steps of a value of 8 bits
MIDDLE = 127  # the most steps by which any value can move towards the other end of its range
PANEL, GAP = 160, 8  # the least side of a panel and the space between two, in pixels


class Change(NamedTuple):
    """`values` numbers of a picture, each changed by `steps` of 255: scattered ones, or those of a square."""

    values: int
    steps: int
    side: int  # of the square; 0 if they are scattered


def changes(shape: Sequence[int], norm: str, epsilon: str) -> list[Change]:
    """The largest changes of 8-bit values within epsilon: over the whole picture and, in l2, in one square.

    Empty if every change is larger than epsilon, or if the input [C, H, W] is no picture.
    """
    channels, height, width = shape
    values, size = math.prod(shape), Fraction(parse_epsilon(epsilon)).limit_denominator(10**6) * FULL
    if channels not in (1, 3) or min(height, width) < 2 or size < 1:
        return []
    if norm == "linf":
        return [Change(values, min(int(size), MIDDLE), 0)]
    steps = min(MIDDLE, math.ceil(math.sqrt(size**2 / values)))
    found = [Change(min(values, int(size**2 / steps**2)), steps, 0)]
    side = max(1, math.ceil(math.sqrt(size**2 / channels) / MIDDLE))
    steps = math.isqrt(int(size**2 / (channels * side**2)))
    if steps and side <= min(height, width):
        found.append(Change(channels * side**2, steps, side))
    return found


def distance_picture(shape: Sequence[int], norm: str, epsilon: str) -> bytes:
    """A PNG file: the drawn picture at the input's size, enlarged, and beside it each of `changes` made to it."""
    import numpy as np
    from PIL import Image

    from zoo.data.samples import digit, scene

    channels, height, width = shape
    drawn = digit(3) if channels == 1 else scene("ship")
    original = np.asarray(drawn.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int64)
    panels = [original]
    for count, steps, side in changes(shape, norm, epsilon):
        chosen = np.zeros(original.shape, dtype=bool)
        if side:
            top, left = (height - side) // 2, (width - side) // 2
            chosen[top : top + side, left : left + side] = True
        else:
            chosen.flat[np.random.default_rng(0).permutation(original.size)[:count]] = True
        inward = np.where(original > MIDDLE, -steps, steps)
        panels.append(np.where(chosen, original + inward, original))
    scale = max(1, math.ceil(PANEL / height))
    canvas = Image.new(drawn.mode, (len(panels) * (scale * width + GAP) - GAP, scale * height), "white")
    for index, panel in enumerate(panels):
        enlarged = Image.fromarray(panel.astype(np.uint8)).resize(
            (scale * width, scale * height), Image.Resampling.NEAREST
        )
        canvas.paste(enlarged, (index * (scale * width + GAP), 0))
    file = io.BytesIO()
    canvas.save(file, format="PNG", optimize=True)
    return file.getvalue()
