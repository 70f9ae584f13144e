"""The commands that show and run models: `zoo list`, `info`, `predict` and `samples`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from zoo.architectures import describe
from zoo.cli.display import note, pairs
from zoo.cli.shell import JsonOption, NameArgument, print_json
from zoo.cli.views import (
    abstention_line,
    entry_pairs,
    evaluation_pairs,
    evaluation_table,
    folder_pairs,
    layer_table,
    prediction_table,
    published_table,
    ranking_table,
    reason,
    shape_table,
    top_k_table,
    unit_line,
    unpublished_table,
    worth_line,
)
from zoo.data.class_folders import PICTURES
from zoo.data.datasets import DATASETS
from zoo.epsilon import parse_epsilon
from zoo.errors import InputError, MissingPackageError, UnpublishedModelError, require
from zoo.files import is_folder
from zoo.hub.client import fetch, load
from zoo.records import NORMS, Prediction, ranks
from zoo.registry import ENTRIES, Entry, find, list_models

if TYPE_CHECKING:
    from zoo.inference.runtime import Model


# A picture whose border is on average lighter has no black ground: none of MNIST's test images, 5 of Fashion-MNIST's.
LIGHT = 0.25


def list_command(
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="A shell pattern, as in '*-cifar10'.")] = "*",
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Only those that load offline.")] = False,
    dataset: Annotated[
        str | None, typer.Option(metavar="DATASET", help="Only those of this data set, or of a copy of it.")
    ] = None,
    norm: Annotated[str | None, typer.Option(metavar="NORM", help="Only those of this norm: l2 or linf.")] = None,
    epsilon: Annotated[
        str | None, typer.Option(metavar="EPSILON", help="Only published ones, the largest VRA at this size first.")
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """List the models, the published ones first.

    Of the published ones it shows what they achieve; those without weights follow by family.
    Published ones that neither came with this installation nor were pulled stand apart.
    VRA, verified-robust accuracy, is the share of test images that are classified right and certified at epsilon.
    Which one should I use? `zoo list --dataset mnist --norm l2 --epsilon 0.3` has the best one first.
    """
    if norm is not None and norm not in NORMS:
        raise InputError(f"--norm must be l2 or linf, got {norm!r}")
    if dataset is not None and dataset not in DATASETS:
        raise InputError(f"no data set is called {dataset!r}, known are {', '.join(DATASETS)}")
    here = [ENTRIES[name] for name in list_models(pattern, pretrained=True)]
    matching = [entry for entry in map(ENTRIES.__getitem__, list_models(pattern)) if entry not in here]
    elsewhere = [entry for entry in matching if entry.digest is not None]
    others = [entry for entry in matching if entry.digest is None]
    here, elsewhere, others = (
        [entry for entry in entries if _matches(entry, dataset, norm)] for entries in (here, elsewhere, others)
    )
    entries = here if pretrained else here + elsewhere + others
    if not entries:
        kind = "model with weights here" if pretrained else "model"
        which = " ".join([repr(pattern), *(f"of {what}" for what in (dataset, norm) if what)])
        inside = "" if "*" in pattern else f", zoo list {f'*{pattern}*'!r} those that contain it"
        raise InputError(f"no {kind} matches {which}: `zoo list` shows all names{inside}")
    if epsilon is not None:
        entries = _best_first([entry for entry in entries if entry.digest is not None], epsilon)
    if as_json:
        return print_json([_list_json(entry, entry in here) for entry in entries])
    console = Console()
    copies = sorted({entry.dataset for entry in entries if entry.dataset != (dataset or entry.dataset)})
    copied = f"{', '.join(copies)}: a copy of {dataset} in other quality, whose rates are its own." if copies else ""
    if epsilon is not None:
        console.print(ranking_table(entries, here, epsilon))
        console.print()
        if copied:
            console.print(copied)
        if any(entry not in here for entry in entries):
            console.print("What is not on this machine: `zoo pull NAME` asks a hub for it.")
        console.print("Differences below a point mean little. Side by side: zoo compare NAME NAME.")
        return 0
    for shown, table in (
        (here, published_table(here, "published")),
        (elsewhere, published_table(elsewhere, "published elsewhere")),
        (others, unpublished_table(others)),
    ):
        if shown and (shown is here or not pretrained):
            console.print(table)
            console.print()
    console.print(f"Models: {len(entries)}, with weights: {len(here)}. VRA at the epsilon that each was made for.")
    if elsewhere:
        console.print(f"Published elsewhere: {len(elsewhere)}, in a checkout's model_cards/; a hub may have them.")
    if copied:
        console.print(copied)
    console.print("Fewer: --dataset, --norm, --pretrained, zoo list '2c2f-*'. The layers of one: zoo info NAME.")
    return 0


def _matches(entry: Entry, dataset: str | None, norm: str | None) -> bool:
    """Whether the model has this data set, or a copy of it, and this norm; None stands for any."""
    return dataset in (None, entry.dataset, DATASETS[entry.dataset].original) and norm in (None, entry.norm)


def _best_first(entries: list[Entry], epsilon: str) -> list[Entry]:
    """The models that were measured at epsilon, by data set and norm, the largest VRA first.

    Raises InputError where there is none.
    """
    size = parse_epsilon(epsilon)
    measured = [entry for entry in entries if entry.vra_at(size) is not None]
    if not measured:
        nearest = [f"{norm} {', '.join(texts)}" for norm in NORMS if (texts := _nearest(entries, norm, size))]
        hint = f"nearest: {'; '.join(nearest)}" if nearest else "none of them is published"
        raise InputError(f"no such model was measured at {epsilon}; {hint}")
    return sorted(measured, key=lambda entry: (entry.dataset, entry.norm, -(entry.vra_at(size) or 0.0)))


def _nearest(entries: list[Entry], norm: str, size: float) -> list[str]:
    """The two epsilons nearest to this size at which models of this norm were measured, the smaller one first."""
    known = {parse_epsilon(text): text for entry in entries if entry.norm == norm for text in entry.vra}
    return [known[other] for other in sorted(sorted(known, key=lambda other: abs(other - size))[:2])]


def info(name: NameArgument) -> int:
    """Show a model's layers, what is proved and what was measured.

    Of a model without weights, its layers alone.
    """
    console = Console()
    try:
        folder = fetch(name)
    except UnpublishedModelError as error:
        entry = find(name)
        console.print(pairs([*entry_pairs(entry), ("weights", str(error))]))
        console.print()
        try:
            require("torch")
        except MissingPackageError as missing:
            typer.echo(f"No layer table: {missing}")
        else:
            console.print(shape_table(entry.architecture))
        return 0
    console.print(pairs(folder_pairs(folder)))
    console.print()
    console.print(layer_table(folder.certificate))
    console.print()
    if not folder.evaluation.measured:
        console.print("Not measured: there was no test set. zoo evaluate NAME FOLDER measures it.")
        return 0
    console.print(evaluation_table(folder.evaluation))
    console.print(pairs(evaluation_pairs(folder.evaluation)))
    return 0


def predict(
    name: NameArgument,
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="PNG, JPEG or WebP files, or folders of them.")],
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

    Images are cropped and resized to the model's size first; the radius speaks of the resized image. Models of MNIST
    and Fashion-MNIST know light on a black ground. Where an image cannot be read, its line says why, and the command
    ends with 1.
    """
    size = None if epsilon is None else parse_epsilon(epsilon)  # a mistake here should not wait for the model
    model = load(name, backend, precision)
    most = ranks(len(model.labels))
    if top_k is not None and top_k > most:
        raise InputError(f"--top-k must be at most {most} for {model.name}, got {top_k}")
    images = [file for image in images for file in _files(image)]
    answers, unlike = _answers(model, images, size)
    answered = [
        (image, answer) for image, answer in zip(images, answers, strict=True) if isinstance(answer, Prediction)
    ]
    failed = [answer for answer in answers if isinstance(answer, InputError)]
    if not answered:
        raise failed[0] if len(failed) == 1 else InputError(f"no image can be read: {failed[0]}")
    if failed:
        note(f"{len(failed)} of {len(images)} images cannot be read")
    if unlike:
        names = unlike[0] if len(unlike) == 1 else f"{unlike[0]} and {len(unlike) - 1} more"
        note(f"{names}: not light on black like {model.config.dataset}: label means little, invert it?")
    if as_json:
        print_json(_predict_json(model, images, answers))
        return int(bool(failed))
    console, predictions = Console(), [prediction for _, prediction in answered]
    console.print(prediction_table(model, images, answers, epsilon))
    if top_k is not None:
        console.print()
        console.print(top_k_table(model, [image for image, _ in answered], predictions, top_k))
    console.print()
    console.print(unit_line(model))
    console.print(worth_line(model))
    if not model.proved:
        console.print("float32: these radii are estimates, not proved. --precision float64 proves them.")
    if epsilon is not None and (line := abstention_line(model, predictions, epsilon)):
        console.print(line, soft_wrap=True)  # one line, wherever it is read
    return int(bool(failed))


def _files(image: str) -> list[str]:
    """The pictures in a folder, in the order of their names and without hidden ones; anything else as it was given.

    What else lies there is told. Raises InputError for a folder without pictures.
    """
    if not is_folder(image):
        return [image]
    seen = sorted(path for path in Path(image).iterdir() if not path.name.startswith("."))
    files = [path for path in seen if path.suffix.lower() in PICTURES]
    if not files:
        raise InputError(f"{image}: no PNG, JPEG or WebP file in this folder")
    if others := [path.name for path in seen if path not in files]:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        note(f"{image}: left out, as no picture: {', '.join(others[:3])}{more}")
    return [str(path) for path in files]


def _answers(model: Model, images: list[str], epsilon: float | None) -> tuple[list[Prediction | InputError], list[str]]:
    """The answer for each image, or why it has none; and the images that do not look like the model's data set."""
    from zoo.inference.images import as_batch

    dark_ground = model.config.dataset in DATASETS and DATASETS[model.config.dataset].dark_ground
    answers, unlike = [], []
    for image in images:
        try:
            batch, _ = as_batch(image, model.input_shape)
        except InputError as error:
            answers.append(error)
            continue
        answers += model.predictions(model.outputs(batch), epsilon)
        inner = batch[..., 1:-1, 1:-1]
        border = (batch.sum() - inner.sum()) / (batch.size - inner.size)
        if dark_ground and border > LIGHT:
            unlike.append(image)
    return answers, unlike


def _list_json(entry: Entry, here: bool) -> dict[str, Any]:
    return {
        "name": entry.name,
        "architecture": describe(entry.architecture),
        "dataset": entry.dataset,
        "norm": entry.norm,
        "input_shape": entry.architecture.input_shape,
        "parameters": entry.parameters,
        "pretrained": here,
        "published": entry.digest is not None,
        "clean_accuracy": entry.clean_accuracy,
        "vra": entry.vra or None,
    }


def _predict_json(model: Model, images: list[str], answers: list[Prediction | InputError]) -> dict[str, Any]:
    return {
        "model": model.name,
        "precision": model.precision,
        "proved": model.proved,
        "norm": model.norm,
        "unit": model.certificate.unit,
        "input_shape": model.input_shape,
        "labels": model.labels,
        "predictions": [
            {"image": image}
            | ({"error": reason(answer, image)} if isinstance(answer, InputError) else answer.to_json())
            for image, answer in zip(images, answers, strict=True)
        ],
    }


def samples(folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Where to write them; it is made.")]) -> None:
    """Draw eighteen pictures to try models on.

    They are PNG files of ten digits, four scenes and four things. No other file is overwritten.
    """
    from zoo.data.samples import draw

    if not folder:  # which a Path would take for the current folder
        raise InputError("FOLDER is empty: name the folder to write in, or . for this one")
    draw(Path(folder))
