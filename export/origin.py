"""Where a published model comes from: what its run cost, and the published row that it stands for."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from training.recipes import RECIPES
from zoo import registry
from zoo.architectures import describe
from zoo.datasets import DATASETS
from zoo.errors import InputError

# Settings that a row and a run of ours are compared in, beside the sizes of the architecture that the data leave open.
COMPARED = ("loss", "epochs", "batch_size", "generated")
BY_DATA = {"input_size", "channels", "classes"}


def trained_steps(weights: Path) -> tuple[int, int]:
    """After how many steps a run wrote these weights, and of how many. Raises InputError where they do not say."""
    try:
        with safe_open(weights, "pt") as file:
            said = file.metadata() or {}
        return int(said["step"]), int(said["steps"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{weights} holds no weights that say how far they were trained: train anew") from error


def epochs_made(epochs: int, step: int, steps: int) -> float:
    """The epochs that so many of a run's steps are, to two decimals; an int where they are whole."""
    whole, rest = divmod(epochs * step, steps)
    return round(epochs * step / steps, 2) if rest else whole


def command_of(settings: dict[str, Any], steps: int | None = None) -> str:
    """The command that trains the model again, where the recipe of its name is still the run's.

    settings: the run's recipe.json. steps: those that an unfinished run made.
    """
    name = settings["name"]
    epochs = RECIPES[name].epochs if name in RECIPES else None
    usual = {"epochs": epochs, "seed": 0, "limit": None, "data": None, "steps": None}
    given = {**usual, **settings, "steps": steps}
    options = [f" --{key} {shlex.quote(str(given[key]))}" for key in usual if given[key] != usual[key]]
    return f"python -m training {name} --output runs/{name}{''.join(options)}"


def cost(run: Path, step: int) -> dict[str, Any]:
    """The hours of a run's steps up to this one, validation left out, and the hardware; None where they are not known.

    Metrics are those of whole epochs: after a step within one the hours are not known.
    """
    try:
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    except FileNotFoundError:  # it ended within its first epoch
        rows = []
    rows = [row for row in rows if row["step"] <= step]
    known = bool(rows) and rows[-1]["step"] == step
    hardware = sorted({row["hardware"] for row in rows if "hardware" in row})
    return {
        "hours": round(sum(row["seconds"] for row in rows) / 3600, 3) if known else None,
        "hardware": ", then ".join(hardware) or None,
    }


def beside(entry: registry.Entry, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The published row that a run stands for, and in what the run differs from it; None where there is no row.

    The row's own settings are those of the recipe of its network.
    """
    paper = RECIPES[entry.name].paper if entry.name in RECIPES else None
    if paper is None:
        return None
    row = registry.find(paper.model)
    ours = _compared(entry, settings)
    theirs = _compared(row, RECIPES[row.name].describe())
    differences = [f"{key} {ours[key]}, not {theirs.get(key, 'given')}" for key in ours if ours[key] != theirs.get(key)]
    whole, images = DATASETS[entry.dataset].train_images, settings["train_images"] + settings["validation_images"]
    if images != whole:
        differences.append(f"images {images:,}, not {whole:,}")
    return {**dataclasses.asdict(paper), "differences": differences}


def _compared(entry: registry.Entry, settings: dict[str, Any]) -> dict[str, str]:
    sizes = {key: value for key, value in describe(entry.architecture).items() if key not in BY_DATA}
    known = {key: settings[key] for key in COMPARED if settings.get(key) is not None}
    pairs = {"data": DATASETS[entry.dataset].title, **sizes, **known}
    return {key.replace("_", " "): str(value) for key, value in pairs.items()}
