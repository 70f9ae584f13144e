"""How the command line shows numbers and tables: radii rounded down, bounds rounded up, 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text


def printable(text: str) -> str:
    """The text without control characters, which words from outside may hold to rewrite the terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def plain(text: str) -> Text:
    """The printable text as it is: no markup."""
    return Text(printable(text), overflow="fold")


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
