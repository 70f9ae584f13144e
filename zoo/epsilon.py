"""Epsilon, the size of a perturbation, as people write it: 36/255, 0.14 or a number. Standard library only."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from numbers import Real
from typing import TypeGuard

from zoo.errors import InputError

MAX_LENGTH = 40  # so that the exact fraction stays small
DECIMAL = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
SIZE = re.compile(rf" *([+-]?{DECIMAL}) *(?:/ *({DECIMAL}) *)?")
NOT_FINITE = re.compile(r"[+-]?(?:inf|infinity|nan)", re.IGNORECASE)


def parse_epsilon(value: str | float) -> float:
    """The epsilon as a float64 that is finite and not negative; a fraction is rounded once, to the nearest.

    Rounding to the nearest is safe: a float64 radius that is strictly larger than the rounded epsilon is larger
    than the exact one too. Raises InputError for anything else.

    >>> parse_epsilon("36/255") == parse_epsilon(36 / 255)
    True
    >>> parse_epsilon("0.5")
    0.5
    """
    try:
        if isinstance(value, str):
            epsilon = _parse(value)
        elif isinstance(value, Real) and not isinstance(value, bool):
            epsilon = float(value)
        else:
            raise ValueError
    except (ValueError, OverflowError, ZeroDivisionError):
        text = str(value)[:40]
        hint = f": write {text.replace(',', '.')}" if re.fullmatch("[0-9]+,[0-9]+", text) else ""
        raise InputError(f"epsilon must be a number such as 36/255 or 0.14, got {text!r}{hint}") from None
    if not math.isfinite(epsilon) or math.copysign(1, epsilon) < 0:
        raise InputError(f"epsilon must be finite and not negative, got {str(value)[:40]!r}")
    return epsilon


def is_radius(value: object) -> TypeGuard[float]:
    """Whether it is a float that a model can be made for: above 0 and finite."""
    return isinstance(value, float) and 0 < value < math.inf


def epsilon_text(size: float) -> str:
    """The epsilon as people write it: as a fraction of 255 where that is shorter and the same float64.

    >>> epsilon_text(36 / 255), epsilon_text(0.2), epsilon_text(1.58)
    ('36/255', '0.2', '1.58')
    """
    decimal = repr(float(size))
    if not 0 < size < 1:
        return decimal
    fraction = f"{round(255 * size)}/255"
    return fraction if parse_epsilon(fraction) == size and len(fraction) < len(decimal) else decimal


def _parse(text: str) -> float:
    """The number that the text writes, rounded once. Raises ValueError, ZeroDivisionError for a denominator of 0."""
    if NOT_FINITE.fullmatch(text):
        return math.nan
    match = SIZE.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if match is None:
        raise ValueError
    size = float(Fraction(match[1]) / Fraction(match[2] or 1))
    return -0.0 if match[1].startswith("-") else size  # -0 is refused like any negative number
