"""How the command line shows numbers and tables: radii rounded down, bounds rounded up, 80 columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

RADIUS_DIGITS, BOUND_DIGITS = 4, 6


def radius_text(radius: float) -> str:
    """The radius with 4 decimals, never more than it is; nothing is certified by NaN."""
    if radius == math.inf:
        return "inf"
    return _decimal(math.floor(Fraction(radius) * 10**RADIUS_DIGITS) if radius > 0 else 0, RADIUS_DIGITS)


def bound_text(bound: float) -> str:
    """The finite bound with 6 decimals, never less than it is."""
    return _decimal(math.ceil(Fraction(bound) * 10**BOUND_DIGITS), BOUND_DIGITS)


def percent_text(rate: float) -> str:
    return f"{100 * rate:.2f} %"


def seconds_text(seconds: float) -> str:
    return "< 0.1 s" if seconds < 0.1 else f"{seconds:.1f} s"


def shape_text(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def count_text(number: int | None) -> str:
    """Millions with two decimals, thousands with none; a question mark where nobody has counted."""
    if number is None:
        return "?"
    return f"{number / 1e6:.2f} M" if number >= 10**5 else f"{number / 1e3:.1f} k"


def plain(text: str) -> Text:
    """The text as it is: no markup, and no control characters, which names from outside may hold."""
    return Text("".join(character if character.isprintable() else "?" for character in text), overflow="fold")


def heading(text: str) -> Text:
    """A row of a table that heads those below it."""
    return Text(text, style="bold")


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str | Text]], numbers: Sequence[str] = (), tight: bool = False
) -> Table:
    """A table whose columns in `numbers` are set flush right; `tight` leaves one space between columns."""
    result = Table(box=SIMPLE, pad_edge=False, show_edge=False, header_style="bold", padding=(0, int(not tight)))
    for column in columns:
        right = column in numbers
        result.add_column(column, justify="right" if right else "left", no_wrap=right, overflow="fold")
    for row in rows:
        result.add_row(*(cell if isinstance(cell, Text) else plain(cell) for cell in row))
    return result


def pairs(rows: Iterable[tuple[str, str]]) -> Table:
    """Names and values, one pair a line."""
    result = Table.grid(padding=(0, 2))
    result.add_column(style="bold", no_wrap=True)
    result.add_column(overflow="fold")
    for name, value in rows:
        result.add_row(name, plain(value))
    return result


def progress() -> Progress:
    """A progress bar on stderr; silent where stderr is not a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def proof_progress() -> Iterator[Callable[[str, int], None]]:
    """The `advance` of a proof, as a progress bar for each layer: a layer with `count` steps, or, with 0, a step."""
    with progress() as bar:
        task = bar.add_task("reading", total=None)

        def advance(layer: str, count: int) -> None:
            if count:
                bar.reset(task, total=count, description=layer)
            else:
                bar.advance(task)

        yield advance


def _decimal(number: int, digits: int) -> str:
    whole, part = divmod(number, 10**digits)
    return f"{whole}.{part:0{digits}d}"
