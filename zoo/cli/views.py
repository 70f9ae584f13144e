"""The records of the zoo as the command line shows them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from zoo.architectures import Architecture, describe, layer_shapes
from zoo.cli.display import grouped, plain, table
from zoo.data.datasets import DATASETS, known_labels, plain_labels
from zoo.epsilon import parse_epsilon
from zoo.errors import InputError
from zoo.figures import bound_text, count_text, percent_text, radius_text, ratio_text, seconds_text, shape_text
from zoo.publication.weights import weight_names
from zoo.records import Certificate, Evaluation, Prediction, aim
from zoo.registry import Entry

if TYPE_CHECKING:
    from zoo.inference.runtime import Model
    from zoo.publication.folder import Folder


def unit_line(model: Model) -> Text:
    size = shape_text(model.input_shape)
    rounded = "; rounded down" if model.proved else ""
    return plain(f"Radii: {model.norm}, in pixels of [0, 1], over the whole {size} input{rounded}.")


def worth_line(model: Model) -> Text:
    """How often the model is right, which no certificate says."""
    if not model.evaluation.measured:
        return plain("No proof that a label is right, and how often it is was not measured: there was no test set.")
    rate, images = percent_text(model.evaluation.clean_accuracy), f"{model.evaluation.images:,}"
    return plain(f"No proof that a label is right: it is right for {rate} of {images} test images.")


def published_table(entries: Iterable[Entry], title: str) -> Table:
    """Published models by data set, each with its rates at the epsilon that it was made for."""

    def cells(entry: Entry) -> tuple[str, ...]:
        rates = (percent_text(entry.clean_accuracy or 0.0), percent_text(entry.vra[entry.epsilon]), entry.epsilon)
        return (entry.name, entry.norm, count_text(entry.parameters), *rates)

    columns = (title, "norm", "params", "clean", "VRA", "at")
    rows = grouped(entries, lambda entry: entry.dataset, cells)
    return table(columns, rows, ("params", "clean", "VRA", "at"), tight=True)


def ranking_table(entries: Iterable[Entry], here: Sequence[Entry], epsilon: str) -> Table:
    """Published models by data set and norm, each group in the order given, with their VRA at epsilon."""
    size = parse_epsilon(epsilon)

    def cells(entry: Entry) -> tuple[str, ...]:
        rates = (percent_text(entry.vra_at(size) or 0.0), percent_text(entry.clean_accuracy or 0.0))
        return (entry.name, *rates, entry.epsilon, count_text(entry.parameters), "now" if entry in here else "pull")

    rows = grouped(entries, lambda entry: f"{entry.dataset}, {entry.norm}", cells)
    columns = (f"at {epsilon}, best first", "VRA", "clean", "made for", "params", "loads")
    return table(columns, rows, ("VRA", "clean", "made for", "params"), tight=True)


def unpublished_table(entries: Iterable[Entry]) -> Table:
    """The models without weights, by family."""

    def cells(entry: Entry) -> tuple[str, ...]:
        return (entry.name, entry.dataset, entry.norm, count_text(entry.parameters))

    rows = grouped(entries, lambda entry: type(entry.architecture).__name__, cells)
    return table(("without weights", "data set", "norm", "params"), rows, ("params",), tight=True)


def entry_pairs(entry: Entry) -> list[tuple[str, str]]:
    return [
        ("name", entry.name),
        ("architecture", _sizes(describe(entry.architecture))),
        ("data set", DATASETS[entry.dataset].title + _ground(entry.dataset)),
        ("norm", entry.norm),
        ("parameters", f"{entry.parameters:,}" if entry.parameters else "?"),
    ]


def _ground(dataset: str) -> str:
    return "; light on a black ground" if dataset in DATASETS and DATASETS[dataset].dark_ground else ""


def _sizes(architecture: dict[str, Any]) -> str:
    """The family and sizes of an architecture; the types of its layers if it is a list of layers."""
    told = {key: value for key, value in architecture.items() if key != "layers"}
    if kinds := [layer["type"] for layer in architecture.get("layers", ())]:
        told["layers"] = " ".join(kinds)
    return ", ".join(f"{key} {value}" for key, value in told.items())


def shape_table(architecture: Architecture) -> Table:
    """The layers of a network without weights; needs torch."""
    rows = [
        (layer.name, layer.kind, shape_text(layer.input_shape), shape_text(layer.output_shape),
         f"{layer.parameters:,}" if layer.parameters else "")
        for layer in layer_shapes(architecture)
    ]  # fmt: skip
    return table(("layer", "kind", "input", "output", "parameters"), rows, ("parameters",), tight=True)


def folder_pairs(folder: Folder) -> list[tuple[str, str]]:
    config, certificate = folder.config, folder.certificate
    return [
        ("name", config.name),
        ("folder", str(folder.path)),
        ("architecture", _sizes(config.architecture)),
        ("data set", config.dataset + _ground(config.dataset)),
        ("input", f"{shape_text(config.input_shape)}, values in [0, 1]"),
        ("labels", f"{len(config.labels)}: {known_labels(plain_labels(config.labels))}"),
        *_training(folder),
        ("licence", config.license),
        ("weights", f"{', '.join(weight_names(folder.digests))}, sha256 {certificate.weights_sha256[:16]}..."),
        ("claim", certificate.claim),
        ("unit", certificate.unit),
        ("domain", certificate.domain),
        ("arithmetic", certificate.arithmetic),
        ("composition", certificate.composition),
        *([("levels", ", ".join(map(radius_text, certificate.levels)))] if certificate.levels else []),
        ("body", f"Lipschitz bound {bound_text(certificate.body_lipschitz)} (rounded up)"),
    ]


def _training(folder: Folder) -> list[tuple[str, str]]:
    """By which loss, for which radius and how long the model was trained, where its recipe says so."""
    loss, epochs = folder.config.recipe.get("loss"), folder.config.took("epochs")
    if not isinstance(loss, str) or epochs is None:
        return []
    return [("training", f"{loss.replace('_', ' ')} for {aim(folder.config, folder.evaluation)}, {epochs:g} epochs")]


def layer_table(certificate: Certificate) -> Table:
    rows = [
        (
            layer.name,
            shape_text(layer.output_shape),
            bound_text(layer.lipschitz_bound),
            ratio_text(layer.lipschitz_bound, layer.lipschitz_estimate),
            layer.method,
        )
        for layer in certificate.layers
    ]
    columns = ("layer", "output", "bound", "/ estimate", "method")
    return table(columns, rows, ("bound", "/ estimate"))


def evaluation_table(evaluation: Evaluation) -> Table:
    rows = [("clean", "", percent_text(evaluation.clean_accuracy))]
    rows += [("VRA", epsilon, percent_text(rate)) for epsilon, rate in evaluation.vra.items()]
    for epsilon, rate in evaluation.pgd_accuracy.items():  # an upper bound of the VRA of the same images
        rows.append(
            (f"VRA of the first {evaluation.pgd_images}", epsilon, percent_text(evaluation.attacked_vra(epsilon)))
        )
        rows.append((f"PGD leaves of the first {evaluation.pgd_images}", epsilon, percent_text(rate)))
    return table(("accuracy", "at epsilon", "rate"), rows, ("at epsilon", "rate"))


def evaluation_pairs(evaluation: Evaluation) -> list[tuple[str, str]]:
    return [
        ("ACR", f"{evaluation.acr:.4f} (average certified radius, wrong answers counted as 0)"),
        ("images", f"{evaluation.images} of {evaluation.dataset}, {evaluation.split}{_part(evaluation.split)}"),
        ("took", f"{seconds_text(evaluation.seconds)} on {evaluation.machine}"),
    ]


def _part(split: str) -> str:
    return ": a part of the split, not the whole" if "[" in split else ""


ABSTAIN = "ABSTAIN"


def abstention_line(model: Model, predictions: list[Prediction], epsilon: str) -> str | None:
    """What an abstention in the table means, and in a second line whether epsilon is too large for any answer.

    None without an abstention.
    """
    if ABSTAIN not in {_verdict(prediction) for prediction in predictions if prediction.label is None}:
        return None
    line = f"{ABSTAIN}: radius not above epsilon; a label in parentheses is not certified."
    farthest = math.sqrt(math.prod(model.input_shape)) if model.norm == "l2" else 1.0
    if parse_epsilon(epsilon) >= farthest:
        line += f"\nNo two images lie farther apart than {farthest:.4g}: epsilon is in pixels of [0, 1]."
    return line


def _verdict(prediction: Prediction) -> str:
    if not prediction.proved:
        return "NOT PROVED"
    return "CERTIFIED" if prediction.certified else ABSTAIN


def prediction_table(
    model: Model, images: list[str], answers: Sequence[Prediction | InputError], epsilon: str | None
) -> Table:
    """One row for each image: its answer, or why it has none."""
    columns = ["image", "label", "radius" if model.proved else "radius estimate"]
    if epsilon is not None:
        columns.append(f"at {epsilon}")

    def cells(answer: Prediction | InputError, image: str) -> list[str]:
        if isinstance(answer, InputError):
            return [image, reason(answer, image), *[""] * (len(columns) - 2)]
        row = [image, answer.label or f"({answer.name})", radius_text(answer.radius), _verdict(answer)]
        return row[: len(columns)]

    return table(columns, map(cells, answers, images), (columns[2],))


def reason(error: InputError, image: str) -> str:
    """What is wrong with the image, without its name."""
    return str(error).removeprefix(f"{image}: ")


def top_k_table(model: Model, images: list[str], predictions: list[Prediction], top_k: int) -> Table:
    def rows() -> Iterator[tuple[str, ...]]:
        for image, prediction in zip(images, predictions, strict=True):
            others = sorted(set(range(len(model.labels))) - {prediction.index}, key=prediction.class_radii.__getitem__)
            for rank, (radius, other) in enumerate(zip(prediction.topk_radius[:top_k], others, strict=False), start=1):
                yield (image if rank == 1 else "", str(rank), radius_text(radius), model.labels[other])

    radius = "top-k radius" if model.proved else "top-k radius estimate"
    return table(("image", "k", radius, "k-th nearest class"), rows(), ("k", radius))
