"""What changes during training: frozen functions of progress, which is 0 at the first step and 1 after the last.

Recipes hold them as data. There are three forms; the functions below make the papers' schedules of them.
"""

import bisect
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal


@dataclass(frozen=True)
class Points:
    """A curve through (progress, value) points in the order of progress; constant before the first and after the last.

    `curve` says what is a straight line between two points: the value, its logarithm ("geometric", for positive
    values), or its exponential ("logarithmic"). "step" keeps a point's value until the next. Two points of the same
    progress make a jump to the second.
    Raises ValueError for points out of order, and for values that are not positive on a geometric curve.
    """

    points: tuple[tuple[float, float], ...]
    curve: Literal["linear", "geometric", "logarithmic", "step"] = "linear"

    def __post_init__(self) -> None:
        if not self.points or any(a[0] > b[0] for a, b in pairwise(self.points)):
            raise ValueError(f"points come in the order of progress, got {self.points}")
        drawn = [(a[1], b[1]) for a, b in pairwise(self.points) if a[0] < b[0]]
        if self.curve == "geometric" and any(min(values) <= 0 for values in drawn):
            raise ValueError(f"a geometric curve has positive values, got {self.points}")

    def __call__(self, progress: float) -> float:
        after = bisect.bisect_right(self.points, progress, key=lambda point: point[0])
        time, start = self.points[max(after - 1, 0)]
        if after in (0, len(self.points)) or self.curve == "step":
            return start
        next_time, end = self.points[after]
        share = (progress - time) / (next_time - time)
        match self.curve:
            case "geometric":
                return start * (end / start) ** share
            case "logarithmic":
                return math.log((1 - share) * math.exp(start) + share * math.exp(end))
        return (1 - share) * start + share * end


@dataclass(frozen=True)
class Cosine:
    """Linear from 0 to 1 while progress is below `warmup`, then half a cosine to 0."""

    warmup: float = 0.0

    def __call__(self, progress: float) -> float:
        if progress < self.warmup:
            return progress / self.warmup
        return 0.5 * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup)))


@dataclass(frozen=True)
class Polynomial:
    """end + (start - end) (1 - progress)^power: CLL's schedule for its slack p and its scale of K."""

    start: float
    end: float
    power: float

    def __call__(self, progress: float) -> float:
        return self.end + (self.start - self.end) * (1 - progress) ** self.power


Schedule = Points | Cosine | Polynomial


def constant(value: float) -> Points:
    """The value, always."""
    return Points(((0.0, value),))


def epsilon_ramp(epsilon: float, max_ratio: float) -> Points:
    """LiResNet's training radius: 0.1 epsilon at first, max_ratio epsilon from half-way on, linear between.

    Source: Hu et al. 2023 (LiResNet), arXiv 2301.12549, appendix B.1: (min(2t/T, 1) (max_ratio - 0.1) + 0.1) epsilon,
    max_ratio 2. Their code has 3 with generated data, 2 on ImageNet and, in its first snapshot, 1.5.
    """
    return Points(((0.0, 0.1 * epsilon), (0.5, max_ratio * epsilon)))


def logarithmic_half(epsilon: float) -> Points:
    """GloRo's training radius: from 0.01 epsilon to epsilon in the first half, its exponential growing linearly.

    Source: Leino, Wang, Fredrikson 2021 (GloRo), arXiv 2102.08452, the authors' code.
    """
    return Points(((0.0, 0.01 * epsilon), (0.5, epsilon)), "logarithmic")


def steps(*milestones: float) -> Points:
    """1, divided by 10 at each milestone, a share of the run."""
    return Points(((0.0, 1.0), *((at, 0.1**number) for number, at in enumerate(milestones, start=1))), "step")


def triangle() -> Points:
    """The rate rises from 0 to 1 at 40 % of the run, then falls to 1/20 at 80 % and to 0 at the end.

    Source: Meunier et al. 2022 (CPL), arXiv 2110.12690, the authors' code; SLL's as well.
    """
    return Points(((0.0, 0.0), (0.4, 1.0), (0.8, 1 / 20), (1.0, 0.0)))


def exponential_after(start: float, end: float) -> Points:
    """1 until progress `start`, then exponentially down to `end`: GloRo's and CRM's learning rates."""
    return Points(((0.0, 1.0), (start, 1.0), (1.0, end)), "geometric")


def exponent_phases(rise: float, fixed: float) -> Points:
    """The exponent p of l_p distance neurons: 8 until `rise`, geometrically to 1000 at `fixed`, then infinity.

    Source: Zhang, Jiang, He, Wang 2022, arXiv 2110.06850, section 5.1 and appendix; e_1 and e_2 of its table 3 are
    rise and fixed - rise of the epochs.
    """
    return Points(((0.0, 8.0), (rise, 8.0), (fixed, 1000.0), (fixed, math.inf)), "geometric")


def weight_phases(rise: float, fixed: float, start: float, end: float) -> Points:
    """The weight of the cross-entropy: `start`, geometrically down to `end` while the exponent rises, then 0.

    Source: as `exponent_phases`. In the last phase 0, as in the paper; their code keeps `end`.
    """
    return Points(((0.0, start), (rise, start), (fixed, end), (fixed, 0.0)), "geometric")
