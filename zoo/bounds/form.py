"""How a layer is written in JSON: the arguments of its class, one `Form` in each row of the table."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

MAX_SIZE = 1_000_000
MAX_SIDE = 4096  # of kernels, strides, paddings and dilations


class Argument(NamedTuple):
    """One argument of a layer's class."""

    expected: str  # what it may be, in words
    is_valid: Callable[[Any], bool]  # whether a JSON value may be it
    state: Callable[[Any], Any] = lambda value: value  # from the layer's value to JSON
    make: Callable[[Any], Any] = lambda value: value  # from JSON to what the class takes
    read: Callable[[Any], Any] | None = None  # the layer's value; None where it is the attribute of this name

    def of(self, read: Callable[[Any], Any]) -> Argument:
        """This argument, with its value read from the layer by `read` instead of from the attribute of its name."""
        return self._replace(read=read)

    def or_null(self) -> Argument:
        """This argument, which may also be null."""
        valid = self.is_valid
        return self._replace(expected=f"{self.expected} or null", is_valid=lambda value: value is None or valid(value))


class Form:
    """The arguments from which `make` makes a layer that, with the same weights, computes the same."""

    def __init__(self, make: Callable[..., nn.Module], **arguments: Argument):
        self.make, self.arguments = make, arguments


def one_of(*words: str) -> Argument:
    return Argument(f"one of {', '.join(words)}", lambda value: isinstance(value, str) and value in words)


def whole(low: int, high: int) -> Argument:
    return Argument(
        f"a whole number from {low:,} to {high:,}", lambda value: type(value) is int and low <= value <= high
    )


def two(argument: Argument) -> Argument:
    """A pair for rows and columns; PyTorch's classes also take one number for both."""

    def are_valid(value: Any) -> bool:
        return isinstance(value, list) and len(value) == 2 and all(map(argument.is_valid, value))

    def pair(value: Any) -> Any:
        numbers = list(value) if isinstance(value, tuple | list) else [value]
        return numbers if len(numbers) == 2 else numbers * 2

    return Argument(f"two of {argument.expected}", are_valid, pair, tuple)


def several(argument: Argument) -> Argument:
    return Argument(
        f"a list, each {argument.expected}",
        lambda value: isinstance(value, list) and all(map(argument.is_valid, value)),
        list,
        tuple,
    )


SIZE = whole(1, MAX_SIZE)
SIDES, PADDING = two(whole(1, MAX_SIDE)), two(whole(0, MAX_SIDE))
AXIS = whole(-9, 9)
FLAG = Argument("true or false", lambda value: type(value) is bool)
BIAS = FLAG.of(lambda layer: layer.bias is not None)
NUMBER = Argument("a finite number", lambda value: type(value) in (int, float) and math.isfinite(value), float, float)
# Layers inside a layer, which `zoo.bounds.written` writes and makes.
LAYER = Argument("a layer or null", lambda value: value is None or isinstance(value, dict))
LAYERS = Argument("a list of layers", lambda value: isinstance(value, list))
