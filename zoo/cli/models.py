"""The commands that show and run models: `zoo list`, `info` and `predict`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from zoo.architectures import describe
from zoo.cli.shell import JsonOption, NameArgument, print_json
from zoo.display import pairs
from zoo.epsilon import parse_epsilon
from zoo.errors import InputError, MissingPackageError, UnpublishedModelError, require
from zoo.hub import fetch, load
from zoo.records import Prediction
from zoo.registry import ENTRIES, Entry, find, list_models
from zoo.tables import (
    abstention_line,
    entry_pairs,
    evaluation_pairs,
    evaluation_table,
    folder_pairs,
    layer_table,
    prediction_table,
    published_table,
    shape_table,
    top_k_table,
    unit_line,
    unpublished_table,
)

if TYPE_CHECKING:
    from zoo.runtime import Model


def list_command(
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="A shell pattern, as in '*-cifar10'.")] = "*",
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Only models with published weights.")] = False,
    as_json: JsonOption = False,
) -> int:
    """List the models: first the published ones and what they achieve, then those without weights, by family.

    VRA, verified-robust accuracy, is the share of test images that are classified right and certified at epsilon.
    """
    names = sorted(list_models(pattern, pretrained), key=lambda name: ENTRIES[name].digest is None)
    entries = [ENTRIES[name] for name in names]
    if not entries:
        kind = "published model" if pretrained else "model"
        raise InputError(
            f"no {kind} matches {pattern!r}: `zoo list` shows all names, {f'*{pattern}*'!r} looks inside of them"
        )
    if as_json:
        return print_json([_list_json(entry) for entry in entries])
    published = [entry for entry in entries if entry.digest is not None]
    others = entries[len(published) :]
    console = Console()
    if published:
        console.print(published_table(published))
    if published and others:
        console.print()
    if others:
        console.print(unpublished_table(others))
    console.print(
        f"\nModels: {len(entries)}, with weights: {len(published)}. VRA at the epsilon that each was made for."
    )
    console.print("Fewer: zoo list '*-cifar10', or --pretrained. The layers of one: zoo info NAME.")
    return 0


def info(name: NameArgument) -> int:
    """Show what a model is: its layers, and, where it is published, what is proved and what was measured."""
    console = Console()
    try:
        folder = fetch(name)
    except UnpublishedModelError as error:
        entry = find(name)
        console.print(pairs([*entry_pairs(entry), ("weights", str(error))]))
        console.print()
        try:
            require("torch", "torch")
        except MissingPackageError as missing:
            typer.echo(f"No layer table: {missing}")
        else:
            console.print(shape_table(entry.architecture))
        return 0
    console.print(pairs(folder_pairs(folder)))
    console.print()
    console.print(layer_table(folder.certificate))
    console.print()
    console.print(evaluation_table(folder.evaluation))
    console.print(pairs(evaluation_pairs(folder.evaluation)))
    return 0


def predict(
    name: NameArgument,
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="PNG, JPEG or WebP files.")],
    epsilon: Annotated[
        str | None, typer.Option(metavar="EPSILON", help="Certify at this size, such as 36/255, or abstain.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(metavar="K", min=1, help="Show the k nearest classes and top-k radii.")
    ] = None,
    backend: Annotated[str, typer.Option(metavar="NAME", help="onnx or torch.")] = "onnx",
    precision: Annotated[
        str, typer.Option(metavar="TYPE", help="float64 (proved) or float32 (an estimate).")
    ] = "float64",
    as_json: JsonOption = False,
) -> int:
    """Classify images, each with its certified radius.

    Images are cropped and resized to the model's size first; the radius speaks of the resized image.
    """
    if epsilon is not None:
        parse_epsilon(epsilon)  # a mistake here should not wait for the model
    model = load(name, backend, precision)
    predictions = [model.predict(image, epsilon) for image in images]
    ranks = len(predictions[0].topk_radius)
    if top_k is not None and top_k > ranks:
        raise InputError(f"--top-k must be at most {ranks} for {model.name}, got {top_k}")
    if as_json:
        return print_json(_predict_json(model, images, predictions))
    console = Console()
    console.print(prediction_table(model, images, predictions, epsilon))
    if top_k is not None:
        console.print()
        console.print(top_k_table(model, images, predictions, top_k))
    console.print()
    console.print(unit_line(model))
    if not model.proved:
        console.print("float32: these radii are estimates, not proved. --precision float64 proves them.")
    if epsilon is not None and (line := abstention_line(model, predictions, epsilon)):
        console.print(line, soft_wrap=True)  # one line, wherever it is read
    return 0


def _list_json(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "architecture": describe(entry.architecture),
        "dataset": entry.dataset,
        "norm": entry.norm,
        "input_shape": entry.architecture.input_shape,
        "parameters": entry.parameters,
        "pretrained": entry.digest is not None,
        "clean_accuracy": entry.clean_accuracy,
        "vra": entry.vra or None,
    }


def _predict_json(model: Model, images: list[str], predictions: list[Prediction]) -> dict[str, Any]:
    return {
        "model": model.name,
        "precision": model.precision,
        "proved": model.proved,
        "norm": model.norm,
        "unit": model.certificate.unit,
        "input_shape": model.input_shape,
        "labels": model.labels,
        "predictions": [
            {"image": image, **prediction.to_json()} for image, prediction in zip(images, predictions, strict=True)
        ],
    }
