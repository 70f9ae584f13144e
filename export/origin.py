"""Where a published model comes from: what its run cost, and the published row that it stands for."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

from training.output import Output
from training.own import UNKNOWN as UNKNOWN_LICENSE
from training.recipes import RECIPES
from zoo import registry
from zoo.architectures import describe
from zoo.data.datasets import DATASETS
from zoo.epsilon import epsilon_text

# The settings in which a run of ours is compared with its paper's row, besides the sizes that the data do not decide.
COMPARED = {
    "epsilon": "epsilon",
    "loss": "loss",
    "training_epsilon": "training epsilon",
    "learned": "learned loss options",
    "exponent": "schedule of the exponent",
    "epochs": "epochs",
    "batch_size": "batch size",
    "generated": "generated images",
    "optimizer": "optimizer",
    "learning_rate": "learning rate",
    "rate": "learning rate schedule",
    "clip_norm": "clip norm",
    "ema": "moving average",
    "estimate": "Lipschitz estimate",
    "power_iterations": "power iterations",
    "augment": "augmentation",
    "mixed_precision": "mixed precision",
}
OPTIONS = ("loss", "optimizer")
NONE, DEFAULT = "none", "by default"
BY_DATA = {"input_size", "channels", "classes"}
WITHIN = ("train_images", "settings_known", "unlike")  # fields of `Paper` that the differences tell
UNKNOWN = "the row's own settings are not known"


def epochs_made(epochs: int, step: int, steps: int) -> float:
    """The epochs that the first `step` of a run's steps make up, to two decimals; an int if they are whole."""
    whole, rest = divmod(epochs * step, steps)
    return round(epochs * step / steps, 2) if rest else whole


def command_of(settings: dict[str, Any], steps: int | None = None, output: Path | None = None) -> str:
    """The command that trains the model again, as long as the recipe of its name is still that of the run.

    settings: the run's recipe.json. steps: the steps that were made, if the run is unfinished. output: the folder of
    the run, by default runs/NAME.
    """
    name = model = settings["name"]
    epochs = RECIPES[name].epochs if name in RECIPES else None
    usual = {"epochs": epochs, "seed": 0, "limit": None, "data": None, "init": None, "steps": None}
    given = {**usual, **settings, "steps": steps}
    if "model" in settings:
        model = settings["model"]
        usual |= {"test": None, "name": None, "license": UNKNOWN_LICENSE, "size": None}
        given |= {"name": settings["dataset"]}
        if model not in RECIPES:  # whose radius would be its own
            usual |= {"epsilon": None}
            given |= {"epsilon": epsilon_text(settings["epsilon"])}
    options = [f" --{key} {shlex.quote(str(given[key]))}" for key in usual if given[key] != usual[key]]
    return f"python -m training {model} --output {shlex.quote(str(output or f'runs/{name}'))}{''.join(options)}"


def cost(run: Path, step: int) -> dict[str, Any]:
    """The hours of a run's steps up to this one, without validation, and the hardware; None if they are not known.

    Metrics are written after each epoch, so the hours up to a step within an epoch are not known.
    """
    rows = [row for row in Output(run).rows() if row["step"] <= step]  # none before the end of the first epoch
    known = bool(rows) and rows[-1]["step"] == step
    hardware = sorted({row["hardware"] for row in rows if "hardware" in row})
    return {
        "hours": round(sum(row["seconds"] for row in rows) / 3600, 3) if known else None,
        "hardware": ", then ".join(hardware) or None,
    }


def beside(entry: registry.Entry, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The published row that a run stands for, and how the run differs from it; None if there is no row.

    The row's settings, if they are known, are those of the recipe of the row's network.
    """
    paper = RECIPES[entry.name].paper if entry.name in RECIPES else None
    if paper is None:
        return None
    row = registry.find(paper.model)
    folder = settings.get("data")
    pairs = [("data", f"the folder {folder}" if folder else DATASETS[entry.dataset].title, DATASETS[row.dataset].title)]
    pairs += [(name, size, _sizes(row).get(name)) for name, size in _sizes(entry).items()]
    if paper.settings_known:
        pairs += _settings(settings, RECIPES[row.name].describe())
    differences = [_difference(*pair) for pair in pairs if pair[1] != pair[2]]
    if settings.get("init"):
        differences.append(f"begun with the weights of {settings['init']}, trained for {_begun(settings)} epochs")
    differences += paper.unlike if paper.settings_known else (*paper.unlike, UNKNOWN)
    whole = paper.train_images or DATASETS[row.dataset].train_images
    if settings["train_images"] != whole:
        differences.append(_images(settings, whole))
    said = {key: value for key, value in dataclasses.asdict(paper).items() if key not in WITHIN}
    return {**said, "differences": differences}


def _begun(settings: dict[str, Any]) -> str:
    epochs = settings.get("init_epochs")
    return "unknown" if epochs is None else f"{epochs:g}"


def _settings(ours: dict[str, Any], theirs: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """The name of each setting that is compared, our value and theirs."""
    pairs = [(name, ours[key], theirs[key]) for key, name in COMPARED.items() if key in ours]
    for key in OPTIONS:  # another loss or optimiser has other options anyway
        mine, others = ours.get(f"{key}_options"), theirs[f"{key}_options"]
        if mine is not None and ours[key] == theirs[key]:
            pairs += [(f"{key} {name}", mine.get(name, DEFAULT), others.get(name, DEFAULT)) for name in mine | others]
    return pairs


def _sizes(entry: registry.Entry) -> dict[str, Any]:
    return {key: value for key, value in describe(entry.architecture).items() if key not in BY_DATA}


def _difference(name: str, ours: Any, theirs: Any) -> str:
    """What a card says of a setting: "epochs 5, not 800", "no clip norm" or, for long ones, "other augmentation"."""
    name, ours, theirs = name.replace("_", " "), _short(ours), _short(theirs)
    if ours == NONE:
        return f"no {name}"
    if ours and theirs:
        return f"{name} {ours}, not {theirs}"
    return f"{'added' if theirs == NONE else 'other'} {name}"


def _short(value: Any) -> str | None:
    """The value in a word, for a constant schedule its value; None if it needs more words."""
    if value in (None, [], {}):
        return NONE
    if isinstance(value, dict) and len(value.get("points", ())) == 1:
        value = value["points"][0][1]
    if isinstance(value, float):
        return f"{value:.6g}"
    return None if isinstance(value, dict | list) else str(value)


def _images(settings: dict[str, Any], whole: int) -> str:
    """How many images a run was trained on, compared with its row."""
    train, validation = settings["train_images"], settings["validation_images"]
    unused = whole - train - validation
    rest = f"{validation:,} more for validation" + (f", {unused:,} unused" if unused > 0 else "")
    return f"{train:,} training images ({rest}), not {whole:,}"
