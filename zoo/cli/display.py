"""How the command line shows text, tables and progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import TypeVar

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

Item = TypeVar("Item")


def printable(text: str) -> str:
    """The text without control characters, by which text from outside could rewrite the terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def note(text: str) -> None:
    """A line on stderr about the answer on stdout."""
    print(f"zoo: {printable(text)}", file=sys.stderr)


def plain(text: str) -> Text:
    """The printable text, of which nothing is markup."""
    return Text(printable(text), overflow="fold")


def grouped(
    items: Iterable[Item], title: Callable[[Item], str], cells: Callable[[Item], Sequence[str]]
) -> list[Sequence[str | Text]]:
    """A row for each item, sorted by title; before the items of each title an empty row and the title."""
    rows: list[Sequence[str | Text]] = []
    for name, group in groupby(sorted(items, key=title), key=title):
        members = [cells(item) for item in group]
        empty = [""] * (len(members[0]) - 1)
        rows += [["", *empty], [Text(name, style="bold"), *empty], *members]
    return rows


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
def image_progress(name: str, count: int) -> Iterator[Callable[[int], None]]:
    """The `advance` of a run over so many images as a progress bar."""
    with progress() as bar:
        task = bar.add_task(name, total=count)
        yield lambda done: bar.advance(task, done)


@contextmanager
def proof_progress() -> Iterator[Callable[[str, int], None]]:
    """The `advance` of a proof as a progress bar that starts anew with each layer."""
    with progress() as bar:
        task = bar.add_task("reading", total=None)

        def advance(layer: str, count: int) -> None:
            if count:
                bar.reset(task, total=count, description=layer)
            else:
                bar.advance(task)

        yield advance
