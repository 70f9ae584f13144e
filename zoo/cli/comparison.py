"""The command that sets two published models side by side: `zoo compare`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from zoo.cli.display import image_progress, pairs, plain, table
from zoo.cli.evaluation import check_dataset, images_of
from zoo.cli.shell import NameArgument
from zoo.data.datasets import dataset_of
from zoo.epsilon import parse_epsilon
from zoo.errors import InputError
from zoo.figures import percent_text, shape_text
from zoo.hub.client import fetch
from zoo.publication.folder import Folder
from zoo.publication.weights import weight_names
from zoo.records import Evaluation, aim


def compare(
    first: NameArgument,
    second: Annotated[str, typer.Argument(metavar="NAME", help="The model to set beside it.")],
    dataset: Annotated[
        str | None,
        typer.Argument(metavar="DATASET", help="Measure both now: a data set, or a folder of class folders."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N images.", metavar="N")] = None,
) -> int:
    """Set two models that know the same classes side by side.

    It shows what was measured of each, and how they differ image by image. Without DATASET the figures are those of
    their published evaluations.
    """
    if dataset is not None:
        check_dataset(dataset)
    elif limit is not None:
        raise InputError("--limit needs a DATASET")
    folders = fetch(first), fetch(second)
    one, other = (folder.config for folder in folders)
    if one.labels != other.labels:
        raise InputError(
            f"{one.name} knows {one.dataset}, {other.name} {other.dataset}: choose two that know the same classes"
        )
    evaluations = [folder.evaluation for folder in folders]
    if dataset is not None:
        evaluations = [_measure(folder, dataset, limit) for folder in folders]
    console = Console()
    console.print(pairs([("first", one.name), ("second", other.name)]))
    console.print()
    console.print(side_by_side(folders, evaluations))
    console.print()
    if one.norm != other.norm:
        console.print(f"Their radii are of different norms, {one.norm} and {other.norm}: VRA and ACR do not compare.")
        return 0
    if shared := image_by_image(*evaluations):
        console.print(shared)
        console.print()
        count = min(len(evaluation.radii) for evaluation in evaluations)
        console.print(
            plain(f"Of the first {count:,} images of {evaluations[0].dataset}: right and certified at epsilon.")
        )
    else:
        console.print(plain(f"Their images differ: zoo compare {first} {second} DATASET measures both on the same."))
    return 0


def _measure(folder: Folder, dataset: str, limit: int | None) -> Evaluation:
    from zoo.inference.evaluate import evaluation_of
    from zoo.inference.runtime import onnx_model

    model = onnx_model(folder, "float64")
    data = images_of(model, dataset, limit)
    epsilons = list(folder.evaluation.vra) or dataset_of(folder.config).epsilons[folder.config.norm]
    with image_progress(model.name, data.count) as advance:
        return evaluation_of(model, data, epsilons, advance, shlex.join(["zoo", *sys.argv[1:]]))


def side_by_side(folders: tuple[Folder, Folder], evaluations: list[Evaluation]) -> Table:
    """What the two models are and what they achieve; a difference is the second's rate less the first's."""
    one, other = evaluations

    def fact(name: str, of: list[str]) -> tuple[str, ...]:
        return (name, *of, "")

    def rate(name: str, *rates: float) -> tuple[str, ...]:
        return (name, *shown(percent_text, *rates), difference(f"{100 * (rates[1] - rates[0]):+.2f}"))

    def shown(text: Callable[[float], str], *values: float) -> list[str]:
        return [
            text(value) if evaluation.measured else "not measured"
            for value, evaluation in zip(values, evaluations, strict=True)
        ]

    def difference(text: str) -> str:
        return text if one.measured and other.measured else ""

    def rows() -> Iterator[tuple[str, ...]]:
        yield fact("data", [evaluation.dataset for evaluation in evaluations])
        yield fact("images", [f"{evaluation.images:,}" for evaluation in evaluations])
        yield fact("norm", [folder.config.norm for folder in folders])
        yield fact("made for", [aim(folder.config, folder.evaluation) for folder in folders])
        yield fact("input", [shape_text(folder.config.input_shape) for folder in folders])
        yield fact("loss", [str(folder.config.recipe.get("loss", "?")) for folder in folders])
        yield fact("epochs", [str(folder.config.took("epochs") or "?") for folder in folders])
        yield fact("weights", [f"{_megabytes(folder):.1f} MB" for folder in folders])
        yield rate("clean", one.clean_accuracy, other.clean_accuracy)
        if folders[0].config.norm != folders[1].config.norm:
            return
        for epsilon in one.vra:
            if epsilon in other.vra:
                yield rate(f"VRA at {epsilon}", one.vra[epsilon], other.vra[epsilon])
        yield ("ACR", *shown("{:.4f}".format, one.acr, other.acr), difference(f"{other.acr - one.acr:+.4f}"))

    return table(("", "first", "second", "difference"), rows(), ("first", "second", "difference"))


def _megabytes(folder: Folder) -> float:
    return sum((folder.path / name).stat().st_size for name in weight_names(folder.digests)) / 1e6


def image_by_image(one: Evaluation, other: Evaluation) -> Table | None:
    """On how many of the first images both, one or neither is right and certified; None if they are other images."""
    if (one.dataset, one.split, one.revision) != (other.dataset, other.split, other.revision):
        return None
    radii = list(zip(one.radii, other.radii, strict=False))  # 0 where the label is wrong
    if not radii:
        return None

    def counts(epsilon: str) -> tuple[str, ...]:
        size = parse_epsilon(epsilon)
        found = [(first > size, second > size) for first, second in radii]
        cases = ((True, True), (True, False), (False, True), (False, False))
        return (epsilon, *(str(found.count(case)) for case in cases))

    columns = ("epsilon", "both", "only first", "only second", "neither")
    return table(columns, [counts(epsilon) for epsilon in one.vra if epsilon in other.vra], columns)
