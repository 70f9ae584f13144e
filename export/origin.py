"""Where a published model comes from: what its run cost, and the published row that it stands for."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from training.recipes import RECIPES
from zoo import registry
from zoo.architectures import describe
from zoo.datasets import DATASETS

# Settings that a row and a run of ours are compared in, beside the sizes of the architecture that the data leave open.
COMPARED = ("loss", "epochs", "batch_size", "generated")
BY_DATA = {"input_size", "channels", "classes"}


def command_of(name: str, settings: dict[str, Any]) -> str:
    """The command that trains the model again, where the recipe of its name is still the run's."""
    options = {"epochs": RECIPES[name].epochs if name in RECIPES else None, "seed": 0, "limit": None}
    changed = [f" --{key} {settings[key]}" for key, usual in options.items() if settings.get(key, usual) != usual]
    return f"python -m training {name} --output runs/{name}{''.join(changed)}"


def cost(run: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The hours of a run's steps, validation left out, and the hardware; None where its metrics do not say.

    settings: the run's recipe.json.
    """
    try:
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    except FileNotFoundError:  # it ended within its first epoch
        rows = []
    seconds, before = 0.0, 0
    for row in rows:
        seconds += (row["step"] - before) * settings["batch_size"] / row["images_per_second"]
        before = row["step"]
    hardware = sorted({row["hardware"] for row in rows if "hardware" in row})
    return {"hours": round(seconds / 3600, 3) if rows else None, "hardware": ", then ".join(hardware) or None}


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
