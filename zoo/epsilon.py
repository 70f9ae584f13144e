"""Epsilon, the size of a perturbation, as people write it: 36/255, 0.14 or a number. Standard library only."""

from __future__ import annotations

import math
from numbers import Real

from zoo.errors import InputError


def parse_epsilon(value: str | float) -> float:
    """The epsilon as a float64 that is finite and not negative; a fraction is rounded once, to the nearest.

    Rounding to the nearest is safe: a float64 radius that is strictly larger than the rounded epsilon is larger
    than the exact one too. Raises InputError for anything else.
    """
    try:
        if isinstance(value, str):
            numerator, slash, denominator = value.partition("/")
            epsilon = float(numerator) / _finite(denominator) if slash else float(value)
        elif isinstance(value, Real) and not isinstance(value, bool):
            epsilon = float(value)
        else:
            raise ValueError
    except (ValueError, OverflowError, ZeroDivisionError):
        raise InputError(f"epsilon must be a number such as 36/255 or 0.14, got {str(value)[:40]!r}") from None
    if not math.isfinite(epsilon) or math.copysign(1, epsilon) < 0:
        raise InputError(f"epsilon must be finite and not negative, got {str(value)[:40]!r}")
    return epsilon


def _finite(text: str) -> float:
    """The number; an infinite denominator would make any epsilon 0."""
    if not math.isfinite(number := float(text)):
        raise ValueError
    return number
