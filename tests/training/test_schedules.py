"""Schedules against values worked by hand, from the first step to the last."""

import math

import pytest

from training.schedules import (
    Cosine,
    Points,
    Polynomial,
    constant,
    epsilon_ramp,
    exponent_phases,
    exponential_after,
    logarithmic_half,
    steps,
    triangle,
    weight_phases,
)

CASES = {
    "constant": (constant(0.15), {0: 0.15, 0.5: 0.15, 1: 0.15}),
    "liresnet": (epsilon_ramp(36 / 255, 2.0), {0: 3.6 / 255, 0.25: 1.05 * 36 / 255, 0.5: 72 / 255, 1: 72 / 255}),
    "snapshot": (epsilon_ramp(2.0, 1.5), {0: 0.2, 0.125: 0.9, 0.25: 1.6, 0.5: 3.0, 1: 3.0}),
    "gloro": (
        logarithmic_half(0.5),
        {0: 0.005, 0.25: math.log((math.exp(0.005) + math.exp(0.5)) / 2), 0.5: 0.5, 1: 0.5},
    ),
    "steps": (steps(0.5, 0.75), {0: 1, 0.4999: 1, 0.5: 0.1, 0.7499: 0.1, 0.75: 0.01, 1: 0.01}),
    "triangle": (triangle(), {0: 0, 0.2: 0.5, 0.4: 1, 0.6: 0.525, 0.8: 0.05, 0.9: 0.025, 1: 0}),
    "exponential": (exponential_after(0.5, 1e-4), {0: 1, 0.5: 1, 0.75: 1e-2, 1: 1e-4}),
    "exponent": (
        exponent_phases(0.25, 0.75),
        {0: 8, 0.25: 8, 0.5: math.sqrt(8000), 0.7499999: 1000, 0.75: math.inf, 1: math.inf},
    ),
    "weight": (weight_phases(0.25, 0.75, 0.1, 1e-3), {0: 0.1, 0.25: 0.1, 0.5: 1e-2, 0.7499999: 1e-3, 0.75: 0, 1: 0}),
    "cosine": (Cosine(), {0: 1, 1 / 3: 0.75, 0.5: 0.5, 1: 0}),
    "warm-up": (Cosine(0.2), {0: 0, 0.1: 0.5, 0.2: 1, 0.6: 0.5, 1: 0}),
    "slack": (Polynomial(1e-3, 1e-15, 50), {0: 1e-3, 0.5: 1e-15 + (1e-3 - 1e-15) / 2**50, 1: 1e-15}),
    "scale of K": (Polynomial(0.01, 1.0, 10), {0: 0.01, 0.5: 1 - 0.99 / 1024, 1: 1.0}),
    "power": (Polynomial(0.0, 0.5, 5), {0: 0.0, 0.5: 0.5 * 31 / 32, 1: 0.5}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_schedule_by_hand(name):
    schedule, values = CASES[name]
    for progress, value in values.items():
        assert schedule(progress) == pytest.approx(value, rel=1e-5, abs=1e-16)


def test_the_phases_meet_at_the_same_steps():
    exponent, weight = exponent_phases(100 / 1300, 1250 / 1300), weight_phases(100 / 1300, 1250 / 1300, 0.1, 5e-4)
    for step in range(1301):
        p, value = exponent(step / 1300), weight(step / 1300)
        assert (p == 8) == (value == 0.1) == (step <= 100)
        assert (p == math.inf) == (value == 0) == (step >= 1250)


@pytest.mark.parametrize(
    ("points", "curve", "message"),
    [
        ((), "linear", "order of progress"),
        (((0.5, 1.0), (0.0, 2.0)), "linear", "order of progress"),
        (((0.0, 0.0), (1.0, 2.0)), "geometric", "positive values"),
    ],
)
def test_impossible_points_are_refused(points, curve, message):
    with pytest.raises(ValueError, match=message):
        Points(points, curve)
