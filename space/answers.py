"""What the app asks of the zoo: answers for one picture, and the records of every published model. Knows no Gradio."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import zoo
from zoo.data.datasets import DATASETS
from zoo.epsilon import parse_epsilon
from zoo.errors import InputError
from zoo.hub.client import fetch
from zoo.inference.images import as_batch
from zoo.publication.folder import Folder
from zoo.records import aim
from zoo.registry import ENTRIES

DEFAULT, DIGITS = "liresnet-l4w32-cifar10-jpeg75", "2c2f-mnist"  # the embedded ones, for scenes and for digits
NORM_NAMES = {"l2": "l2 norm", "linf": "l-infinity norm"}


@dataclass(frozen=True)
class Answer:
    """One picture as a model sees it, and what the model proves about it."""

    model: zoo.Model
    image: np.ndarray  # float32 [C, H, W] in [0, 1], the x of the guarantee
    prediction: zoo.Prediction

    def nearest(self, count: int) -> list[tuple[str, float]]:
        """The other classes with their certified distance, the nearest first."""
        radii, predicted = self.prediction.class_radii, self.prediction.index
        others = sorted(set(range(len(radii))) - {predicted}, key=radii.__getitem__)
        return [(self.model.labels[other], radii[other]) for other in others[:count]]


def names() -> list[str]:
    """Every registered model of pictures with published weights."""
    published = zoo.list_models(pretrained=True)
    return [name for name in published if DATASETS[ENTRIES[name].dataset].size > 1]  # points of a plane are none


@cache
def model(name: str) -> zoo.Model:
    """The published model of this name, loaded once. Raises InputError for anything else, sources included."""
    if name not in names():
        raise InputError(f"no published model is called {str(name)[:80]!r}, expected one of {', '.join(names())}")
    return zoo.load(name)


@cache
def folder(name: str) -> Folder:
    return fetch(model(name).name)


def answer(path: str | Path | None, name: str) -> Answer:
    """The model's answer for the picture in a file. Raises InputError where the file is no picture that it takes."""
    if not path:
        raise InputError("no picture yet: upload one, paste one, take one with the webcam, or choose an example")
    chosen = model(name)
    try:
        batch = as_batch(path, chosen.input_shape)[0]
    except InputError as error:  # the message names the file by its path on the server
        raise InputError(str(error).replace(str(path), Path(path).name)) from None
    prediction = chosen.predict(batch[0])
    assert isinstance(prediction, zoo.Prediction)
    return Answer(chosen, batch[0], prediction)


def suited(sample: Path, name: str) -> str:
    """The model to try a sample on: this one where it was made for such pictures, or else the embedded one that was."""
    family, default = ("mnist", DIGITS) if sample.stem.startswith("digit") else ("cifar10", DEFAULT)
    return name if model(name).config.dataset.partition("-")[0] == family else default


def another(name: str) -> str:
    """A model to compare it with: of its norm, and of its data where there is one; itself where it is alone."""
    chosen = model(name)
    others = [other for other in names() if other != name and model(other).norm == chosen.norm]
    return max(others, key=lambda other: model(other).config.dataset == chosen.config.dataset, default=name)


def unit(norm: str) -> str:
    """The unit of a radius, for axes."""
    return f"{NORM_NAMES[norm]}, pixels in [0, 1]"


def own_epsilon(name: str) -> float:
    """The epsilon that the model was made for."""
    return parse_epsilon(aim(model(name).config, model(name).evaluation))


def last_epsilon(name: str) -> float:
    """Beyond it no test image was certified."""
    return max(epsilon for epsilon, _ in model(name).evaluation.curve)


def epsilons() -> list[str]:
    """Every epsilon at which some published model was measured, in order of size."""
    return sorted({text for name in names() for text in model(name).evaluation.vra}, key=parse_epsilon)


def record(name: str) -> dict[str, Any]:
    """The published model as plain values."""
    chosen = model(name)
    return {
        "name": name,
        "dataset": chosen.config.dataset,
        "norm": chosen.norm,
        "input_shape": list(chosen.input_shape),
        "labels": list(chosen.labels),
        "clean_accuracy": chosen.evaluation.clean_accuracy,
        "vra": chosen.evaluation.vra,
        "acr": chosen.evaluation.acr,
        "parameters": ENTRIES[name].parameters,
        "paper": chosen.config.recipe.get("paper"),
        "claim": chosen.certificate.claim,
        "files": [f"browser/models/{name}/{file}" for file in sorted([*folder(name).digests, "SHA256SUMS"])],
    }


def card(name: str) -> str:
    """The model's card as Markdown, without its front matter and title."""
    text = folder(name).read("README.md").decode()
    return text.split("\n---\n", 1)[1].split("\n", 3)[3]
