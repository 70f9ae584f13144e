"""From a training run to a published folder; what is certified and measured is read back from the written files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from safetensors import SafetensorError
from safetensors.torch import load_file

from export import robustness
from export.origin import beside, command_of, cost, epochs_made
from export.tightness import tightness
from training.data import pixels
from training.output import trained_steps
from training.own import OwnData, read_own
from training.pictures import open_pictures
from training.precision import available
from zoo import registry
from zoo.architectures import describe
from zoo.certificate.model import CertifiedModel
from zoo.data.datasets import DATASETS, dataset_of
from zoo.data.splits import Split, load_split
from zoo.errors import CertificateError, InputError
from zoo.files import sha256, write_whole
from zoo.inference.evaluate import array_images, evaluation_of
from zoo.inference.runtime import Model, onnx_model
from zoo.publication.card import write_card
from zoo.publication.folder import Folder, read_folder
from zoo.publication.graph import write_graphs
from zoo.publication.network import load_network
from zoo.publication.publish import certificate_of, new_folder, unmeasured, weight_files
from zoo.publication.weights import read_headers, read_weights
from zoo.records import SAMPLE, Certificate, Evaluation, ModelConfig, aim, dumps

CHECKOUT = Path(__file__).parents[1]
SHELF = CHECKOUT / "model_cards"
REGISTRY = CHECKOUT / "zoo" / "published.json"
MAX_FILE = 16 * 2**20  # bytes of a file on the shelf
LICENSE = "apache-2.0"
TIGHTNESS_STEPS = 60
TIGHTNESS_IMAGES = 4


def publish(
    run: Path,
    output: Path | None = None,
    limit: int | None = None,
    attack_images: int = SAMPLE,
    command: str = "",
    max_file: int | None = None,
) -> Folder:
    """The run's weights as a checked, published folder, by default `run`/published; an older folder there is replaced.

    A run on somebody's own data is measured on the test pictures that it was given, or not at all.
    limit: evaluate on the first images of the test split only, for a smoke test.
    max_file: bytes that a file of weights may have; more of them are sharded.
    Raises InputError where the run or the data cannot be used, CertificateError where the weights do not fit, or an
    attack succeeds inside a certified radius.
    """
    output = output or run / "published"
    settings, own = run_settings(run), read_own(run)
    entry = own.entry if own else registry.find(settings["name"])
    step, steps = trained_steps(run / "weights.safetensors")
    made = {**settings, "epochs": epochs_made(settings["epochs"], step, steps)}
    # For the card, beside the run's settings: what it cost, and the published row that it stands for.
    origin = {
        "command": command_of(settings, step if step < steps else None),
        **cost(run, step),
        "paper": beside(entry, made),
    }
    config = ModelConfig(
        name=entry.name,
        architecture=describe(entry.architecture),
        dataset=entry.dataset,
        norm=entry.norm,
        input_shape=entry.architecture.input_shape,
        labels=own.labels if own else DATASETS[entry.dataset].labels,
        recipe={**made, **origin},
        license=own.license if own else LICENSE,
    )
    info = dataset_of(config)
    with new_folder(output) as folder:
        split = _test_split(own, limit) if own else load_split(info.name, info.test_split, limit)
        for file, content in weight_files(_tensors(run / "weights.safetensors", entry), max_file).items():
            (folder / file).write_bytes(content)
        with progress_bars() as progress:
            certificate = certified(folder, entry, info.levels(entry.norm), progress)
            (folder / "config.json").write_text(dumps(config), encoding="utf-8")
            (folder / "certificate.json").write_text(dumps(certificate), encoding="utf-8")
            graphs = progress.add_task("write graphs", total=None)
            write_graphs(folder, config, certificate)
            progress.update(graphs, total=1, completed=1)
            epsilons = info.epsilons[entry.norm]
            evaluation = (
                unmeasured(config.dataset, sha256(folder / "model.onnx"))
                if split is None
                else _evaluate(folder, config, certificate, split, epsilons, attack_images, command, progress)
            )
        (folder / "evaluation.json").write_text(dumps(evaluation), encoding="utf-8")
        write_card(folder, config, certificate, evaluation)
    return read_folder(output)


def _test_split(own: OwnData, limit: int | None) -> Split | None:
    """The test pictures that the run was given, as the network takes them; None where it was given none."""
    if own.test is None:
        return None
    return open_pictures(own.test, "test", own.labels).split("test", own.input_shape, limit)


def unfinished(run: Path) -> str:
    """A line about a run that has steps left, with the command that goes on; empty if it is finished."""
    settings, own = run_settings(run), read_own(run)
    step, steps = trained_steps(run / "weights.safetensors")
    if step >= steps:
        return ""
    places = {"data": own.data, "test": own.test} if own else {}  # a card leaves out in which folders they are
    command, epochs = command_of({**settings, **places}, output=run), settings["epochs"]
    return f"{run} is unfinished, at epoch {epochs_made(epochs, step, steps)} of {epochs}: `{command} --resume` goes on"


def run_settings(run: Path) -> dict[str, Any]:
    """recipe.json of a training run. Raises InputError where there is none."""
    try:
        settings = json.loads((run / "recipe.json").read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{run} holds no training run: `python -m training NAME --output {run}` makes one") from error
    if not isinstance(settings, dict) or not {"name", "epochs", "train_images"} <= settings.keys():
        raise InputError(
            f"{run / 'recipe.json'} is not what this `python -m training` writes: export it with the version that made "
            "it, or train again"
        )
    return settings


def _tensors(path: Path, entry: registry.Entry) -> dict[str, torch.Tensor]:
    """The run's weights, after a strict load into the plain network."""
    network = entry.architecture.network()
    try:
        network.load_state_dict(load_file(path), strict=True)
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} does not hold the weights of {entry.name}: {reason}") from error
    return {key: value.contiguous() for key, value in network.state_dict().items()}


def certified(folder: Path, entry: registry.Entry, levels: Sequence[float], progress: Progress) -> Certificate:
    """`certificate_of` the folder's weights, with a bar for each layer."""
    task = progress.add_task("certify", total=None)

    def advance(layer: str, total: int) -> None:
        if total:
            progress.update(task, description=f"certify {layer}", total=total, completed=0)
        else:
            progress.advance(task)

    certificate = certificate_of(folder, entry.architecture, entry.name, entry.norm, levels, advance)
    progress.update(task, description="certified", total=1, completed=1)
    return certificate


def measured(
    folder: Path,
    config: ModelConfig,
    certificate: Certificate,
    split: Split,
    epsilons: Sequence[str],
    command: str,
    progress: Progress,
) -> tuple[Model, Evaluation]:
    """The model of the folder's float64 graph, and what it answers on the split."""
    digests = {name: sha256(folder / name) for name in (*read_headers(folder), "model.onnx", "certificate.json")}
    nothing = unmeasured(config.dataset, digests["model.onnx"])
    model = onnx_model(Folder(folder, config, certificate, nothing, digests), "float64")
    data = array_images(config.dataset, split)
    task = progress.add_task("evaluate", total=data.count)
    return model, evaluation_of(model, data, epsilons, lambda count: progress.advance(task, count), command)


def _evaluate(
    folder: Path,
    config: ModelConfig,
    certificate: Certificate,
    split: Split,
    epsilons: Sequence[str],
    attack_images: int,
    command: str,
    progress: Progress,
) -> Evaluation:
    """What the shipped graph answers on the test split, and what an attack leaves of it."""
    model, evaluation = measured(folder, config, certificate, split, epsilons, command, progress)
    if not attack_images:
        return evaluation
    images, labels = _tensor(split.images[:attack_images]), split.labels[:attack_images]
    network = load_network(read_weights(folder), certificate)
    search = progress.add_task("search for the tightest", total=None)
    searched = tightest(folder, certificate, split)
    progress.update(search, total=1, completed=1)
    precision = available(config.recipe.get("mixed_precision", "no"), images.device)
    seconds = robustness.most_seconds(network, model, images, labels, epsilons, precision)
    progress.console.print(
        f"the attack on {len(labels)} images takes about {_duration(seconds)} at most; "
        "--attack-images N shortens it, 0 leaves it out",
        soft_wrap=True,
    )
    tasks = {text: progress.add_task(f"attack at {text}", total=len(labels)) for text in epsilons}

    def advance(epsilon: str, count: int) -> None:
        progress.advance(tasks[epsilon], count)

    evaluation = dataclasses.replace(
        evaluation,
        pgd_accuracy=robustness.pgd_accuracy(network, model, images, labels, epsilons, advance, precision),
        pgd_images=len(labels),
        pgd=robustness.describe(config.norm, precision),
        **searched,
    )
    if broken := evaluation.broken():
        raise CertificateError(f"{config.name}: {broken[0]}")
    return evaluation


def tightest(folder: Path, certificate: Certificate, split: Split) -> dict[str, Any]:
    """What an evaluation says of `export.tightness`, which starts from the first test images."""
    model = CertifiedModel.of_loaded(load_network(read_weights(folder), certificate), certificate)
    images = _tensor(split.images[:TIGHTNESS_IMAGES])
    return {
        "tightness": tightness(model, certificate, images, TIGHTNESS_STEPS),
        "tightness_search": f"gradient ascent of {TIGHTNESS_STEPS} steps from each of {len(images)} test images",
    }


def _tensor(images: np.ndarray) -> torch.Tensor:
    """Images [N, H, W, C] as the numbers [N, C, H, W] that enter the network."""
    return pixels(torch.from_numpy(images).permute(0, 3, 1, 2))


def pinned(folder: Folder) -> dict[str, Any]:
    """What the registry says of a published folder: the sha256 of its SHA256SUMS, and what was measured."""
    measured = folder.evaluation
    return {
        "digest": folder.digest,
        "clean_accuracy": measured.clean_accuracy,
        "vra": measured.vra,
        "epsilon": aim(folder.config, measured),
    }


def pin(folder: Folder) -> None:
    """Enter a folder on the shelf into the registry."""
    pins = json.loads(REGISTRY.read_bytes()) | {folder.config.name: pinned(folder)}
    write_whole(REGISTRY, json.dumps(dict(sorted(pins.items())), indent=1) + "\n")


def progress_bars() -> Progress:
    return Progress(TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
