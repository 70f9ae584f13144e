"""How radii, bounds, ratios, rates, times and sizes are written: radii rounded down, bounds rounded up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

RADIUS_DIGITS, BOUND_DIGITS = 4, 6


def radius_text(radius: float) -> str:
    """The radius with 4 decimals, rounded down; NaN, which certifies nothing, is written as 0."""
    if radius == math.inf:
        return "inf"
    return _decimal(math.floor(Fraction(radius) * 10**RADIUS_DIGITS) if radius > 0 else 0, RADIUS_DIGITS)


def bound_text(bound: float) -> str:
    """The finite bound with 6 decimals, rounded up."""
    return _decimal(math.ceil(Fraction(bound) * 10**BOUND_DIGITS), BOUND_DIGITS)


def ratio_text(bound: float, estimate: float) -> str:
    """The bound over the estimate with 4 decimals; empty where nothing was estimated."""
    return f"{bound / estimate:.4f}" if estimate else ""


def percent(rate: float) -> str:
    """The rate in percent with two decimals, without the sign."""
    return f"{100 * rate:.2f}"


def percent_text(rate: float) -> str:
    """The rate in percent with two decimals and the sign."""
    return f"{percent(rate)} %"


def seconds_text(seconds: float) -> str:
    """The time with one decimal."""
    return "< 0.1 s" if seconds < 0.1 else f"{seconds:.1f} s"


def shape_text(shape: Sequence[int]) -> str:
    """The sizes as they are said: 3 x 32 x 32."""
    return " x ".join(map(str, shape))


def count_text(number: int | None) -> str:
    """The number in millions, or in thousands below a tenth of one; a question mark where it is not known."""
    if number is None:
        return "?"
    return f"{number / 1e6:.2f} M" if number >= 10**5 else f"{number / 1e3:.1f} k"


def _decimal(number: int, digits: int) -> str:
    whole, part = divmod(number, 10**digits)
    return f"{whole}.{part:0{digits}d}"
