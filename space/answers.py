"""What the app asks of the zoo, without Gradio: answers for one picture, and the records of every published model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import zoo
from zoo.data.datasets import DATASETS, dataset_of, plain_labels
from zoo.epsilon import parse_epsilon
from zoo.errors import InputError
from zoo.hub.client import fetch
from zoo.inference.images import as_batch
from zoo.inference.runtime import onnx_model
from zoo.publication.card import paper_of
from zoo.publication.folder import Folder
from zoo.publication.picture import PICTURE
from zoo.publication.weights import weight_names
from zoo.records import aim
from zoo.registry import ENTRIES

DEFAULT = "liresnet-l4w32-cifar10-jpeg75"
# By data set: the model to try its examples on, and the names of the examples.
SAMPLES = {
    "cifar10": (DEFAULT, ("airplane", "automobile", "ship", "truck")),
    "mnist": ("2c2f-mnist", tuple(f"digit-{number}" for number in range(10))),
    "tiny-imagenet": ("liresnet-l4w32-tiny-imagenet", ("goldfish", "lemon", "orange", "school-bus")),
}
NEAREST = 9  # other classes whose distance is shown
BROWSER_BYTES = 16 * 2**20  # the largest weights that the page certifies with in the browser
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


_added: dict[str, Folder] = {}  # by name: the folder of each model that `add` offers


def add(source: str) -> None:
    """Offer the model of this source, such as `local-dir:PATH`, beside the registered ones.

    Raises ZooError where the folder does not pass its checks, another model has its name, or it takes no pictures.
    """
    chosen = fetch(source)
    name = chosen.config.name
    if name in names():
        raise InputError(f"{source}: another model here is called {name}")
    if chosen.architecture.input_shape[0] not in (1, 3):
        raise InputError(f"{source}: it takes no pictures, which have 1 or 3 channels")
    _added[name] = chosen


def names() -> list[str]:
    """The names of all models offered: those registered with published weights that take pictures, and those added."""
    published = zoo.list_models(pretrained=True)
    return [name for name in published if not DATASETS[ENTRIES[name].dataset].made] + list(_added)


@cache
def folder(name: str) -> Folder:
    """The folder of an offered model, checked once. Raises InputError for any other name, sources included."""
    if name not in names():
        raise InputError(f"no published model is called {str(name)[:80]!r}, expected one of {', '.join(names())}")
    return _added.get(name) or fetch(name)


@cache
def model(name: str) -> zoo.Model:
    """An offered model, loaded once from `folder`, when it is first asked. Raises InputError as `folder` does."""
    return onnx_model(folder(name), "float64")


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


def family(name: str) -> str:
    """The data set whose pictures the model was made for, at full quality; not every one is a key of SAMPLES."""
    dataset = dataset_of(folder(name).config)
    return dataset.original or dataset.name


def samples() -> dict[str, tuple[str, ...]]:
    """By data set, the names of the examples, without those whose model is not offered."""
    return {kind: pictures for kind, (default, pictures) in SAMPLES.items() if default in names()}


def suited(kind: str, name: str) -> str:
    """The model to try an example of the data set `kind` on: `name` if made for such pictures, or else the default."""
    return name if family(name) == kind else SAMPLES[kind][0]


def another(name: str) -> str:
    """Another model of this one's norm, and of its data set if there is one; `name` itself where it is the only one."""
    chosen = folder(name).config
    others = [other for other in names() if other != name and folder(other).config.norm == chosen.norm]
    return max(others, key=lambda other: folder(other).config.dataset == chosen.dataset, default=name)


def unit(norm: str) -> str:
    """The unit of a radius, for axes."""
    return f"{NORM_NAMES[norm]}, pixels in [0, 1]"


def own_epsilon(name: str) -> float:
    """The epsilon that the model was made for, as `zoo.records.aim` finds it."""
    return parse_epsilon(aim(folder(name).config, folder(name).evaluation))


def last_epsilon(name: str) -> float:
    """The largest epsilon of the model's measured curve; four times its own epsilon where nothing was measured."""
    return max((epsilon for epsilon, _ in folder(name).evaluation.curve), default=4 * own_epsilon(name))


def accuracy(evaluation: zoo.Evaluation) -> float | None:
    """The share of test images that a model gets right; None unless it was measured."""
    return evaluation.clean_accuracy if evaluation.measured else None


def record(name: str) -> dict[str, Any]:
    """The published model as values for JSON."""
    chosen = folder(name)
    return {
        "name": name,
        "dataset": chosen.config.dataset,
        "norm": chosen.config.norm,
        "input_shape": list(chosen.config.input_shape),
        "labels": list(plain_labels(chosen.config.labels)),
        "clean_accuracy": accuracy(chosen.evaluation),
        "vra": chosen.evaluation.vra,
        "acr": chosen.evaluation.acr if chosen.evaluation.measured else None,
        "parameters": ENTRIES[name].parameters if name in ENTRIES else None,
        "paper": paper_of(chosen.config),
        "claim": chosen.certificate.claim,
        "files": [f"browser/models/{name}/{file}" for file in sorted(chosen.files)],
    }


def browser_page() -> dict[str, Any]:
    """What the page that certifies in the browser must know: its models, and the examples by data set."""
    samples = {
        kind: {"model": model, "title": DATASETS[kind].title, "pictures": pictures}
        for kind, (model, pictures) in SAMPLES.items()
    }
    return {"models": in_browser(), "default": DEFAULT, "nearest": NEAREST, "samples": samples}


def in_browser() -> list[dict[str, Any]]:
    """What the page that certifies in the browser must know of each model that is small enough for it."""
    rows = []
    for name in names():
        published = folder(name)
        files = weight_names(published.digests)
        if len(files) == 1 and sum((published.path / file).stat().st_size for file in files) <= BROWSER_BYTES:
            group = f"{dataset_of(published.config).title}, {NORM_NAMES[published.config.norm]}"
            rows.append(
                {
                    "name": name,
                    "group": group,
                    "family": family(name),
                    "accuracy": accuracy(published.evaluation),
                    "epsilon": own_epsilon(name),
                    "limit": last_epsilon(name),
                }
            )
    return sorted(rows, key=lambda row: row["group"])


def card(name: str) -> str:
    """The model's card as Markdown, without its front matter and title."""
    text = folder(name).read("README.md").decode()
    return text.split("\n---\n", 1)[1].split("\n", 3)[3].replace(f"({PICTURE})", f"(browser/models/{name}/{PICTURE})")
