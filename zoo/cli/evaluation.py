"""The command that evaluates a model on a data set: `zoo evaluate`."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from zoo.cli.display import image_progress, note, pairs
from zoo.cli.shell import NameArgument
from zoo.cli.views import evaluation_pairs, evaluation_table, unit_line
from zoo.data.datasets import DATASETS, dataset_of
from zoo.epsilon import parse_epsilon
from zoo.errors import InputError, near
from zoo.files import check_utf8, exists, is_folder, partial_path, write_whole
from zoo.hub.client import load
from zoo.records import dumps

if TYPE_CHECKING:
    from zoo.inference.evaluate import LabelledImages
    from zoo.inference.runtime import Model


def evaluate(
    name: NameArgument,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="A data set's name, or a folder of class folders.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N images.", metavar="N")] = None,
    epsilon: Annotated[
        list[str] | None, typer.Option(metavar="EPSILON", help="A size to certify at; may be repeated.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Also write the rates (.json), or a row for each image (.parquet).", metavar="FILE"),
    ] = None,
) -> int:
    """Measure accuracy and certified accuracy on a data set.

    Prints clean accuracy, VRA (right and certified) at each epsilon, and the average certified radius.

    With --output FILE.parquet a run that was ended goes on where it was.

    DATASET is one that the zoo knows (its test split, found through ZOO_DATA or the hub), or a folder with one
    subfolder of images for each class, named as the model names it.
    """
    for text in epsilon or ():
        parse_epsilon(text)
    for text in (name, dataset, output or ""):  # the record has the command
        check_utf8(text)
    if output is not None:
        _check_output(output)
        if output.suffix not in (".json", ".parquet"):
            raise InputError(f"--output must end in .json or .parquet, got {output.name!r}")
    check_dataset(dataset)
    model = load(name)
    from zoo.inference.evaluate import evaluation_of, summarise
    from zoo.inference.results import Results

    data = images_of(model, dataset, limit)
    sizes = epsilon or dataset_of(model.config).epsilons[model.norm]
    command = shlex.join(["zoo", *sys.argv[1:]])
    start = time.perf_counter()
    if output is None or output.suffix == ".json":
        with image_progress("images", data.count) as advance:
            result = evaluation_of(model, data, sizes, advance, command)
        if output is not None:
            _write(output, dumps(result))
    else:
        results = Results(output, model, data)
        with image_progress("images", data.count) as advance:
            results.certify(advance)
        result = summarise(model, data, sizes, *results.arrays(), time.perf_counter() - start, command)
    if data.note:
        note(data.note)
    console = Console()
    console.print(evaluation_table(result))
    facts = dict(evaluation_pairs(result))
    if output is not None and output.suffix == ".parquet":
        del facts["took"]  # earlier runs may have had their share in it
    console.print(pairs(facts.items()))
    console.print()
    console.print(unit_line(model))
    return 0


def check_dataset(dataset: str) -> None:
    """Raise InputError unless it is a data set that the zoo knows, or a folder."""
    if dataset not in DATASETS and not is_folder(dataset):
        names = near(dataset, DATASETS)
        hint = f"did you mean {', '.join(names)}?" if names else f"known are {', '.join(DATASETS)}"
        raise InputError(f"no data set and no folder is called {dataset!r}: {hint}")


def images_of(model: Model, dataset: str, limit: int | None) -> LabelledImages:
    """The first `limit` images of a data set's test split, or of a folder of class folders. Raises InputError."""
    from zoo.inference.evaluate import dataset_images, folder_images

    known = dataset in DATASETS
    return dataset_images(model, dataset, limit) if known else folder_images(model, Path(dataset), limit)


def _check_output(path: Path) -> None:
    """Raise InputError unless `_write` can write the file."""
    if not path.name or (exists(path) and not path.is_file()):
        raise InputError(f"--output must name a file, {str(path)!r} is something else")
    if not is_folder(path.parent):
        raise InputError(f"no folder {path.parent} to write {path.name} in")
    partial = partial_path(path)
    try:
        partial.touch()
        partial.unlink()
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def _write(path: Path, text: str) -> None:
    """Write the file, which is left as it was if that fails. Raises InputError."""
    try:
        write_whole(path, text)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
