"""Accuracy and verified-robust accuracy of a loaded model over labelled images, in bounded memory."""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.data.class_folders import class_files
from zoo.data.datasets import DATASETS, absent_classes, dataset_of, known_labels
from zoo.data.splits import Split, load_split, part_name, stream_split
from zoo.epsilon import parse_epsilon
from zoo.errors import InputError
from zoo.files import check_utf8
from zoo.inference.images import as_batch
from zoo.inference.runtime import CHUNK, Model
from zoo.machine import machine
from zoo.records import SAMPLE, Evaluation

CURVE_STEP = {"l2": 0.05, "linf": 0.005}  # between the points of the curve, in units of epsilon

Batch = tuple[np.ndarray, np.ndarray]  # images as the model takes them, and their classes, int64 [N]
Read = Callable[[Sequence[int]], Iterator[Batch]]  # the chunks of these ascending numbers


@dataclass(frozen=True)
class LabelledImages:
    """Images with their classes, read in chunks of CHUNK; `revision` is a sha256 of the files they come from."""

    dataset: str
    split: str
    revision: str
    count: int
    read: Read
    name: Callable[[int], str]  # of the image with this number
    note: str = ""  # what who reads the rates should know

    @property
    def chunks(self) -> range:
        return range(-(-self.count // CHUNK))


def evaluation_of(
    model: Model,
    data: LabelledImages,
    epsilons: Sequence[str],
    advance: Callable[[int], None] = lambda count: None,
    command: str = "",
) -> Evaluation:
    """The rates of the model's outputs over the images: an image counts for VRA if it is right and radius > epsilon.

    advance: called with the number of images that each step has finished. Raises InputError.
    """
    start = time.perf_counter()
    radii, correct = [np.empty(0)], [np.empty(0, dtype=bool)]
    for images, classes in data.read(data.chunks):
        outputs = model.outputs(images)
        radii.append(outputs.radius.astype(np.float64))
        correct.append(outputs.label == classes)
        advance(len(classes))
    seconds = time.perf_counter() - start
    return summarise(model, data, epsilons, np.concatenate(correct), np.concatenate(radii), seconds, command)


def summarise(
    model: Model,
    data: LabelledImages,
    epsilons: Sequence[str],
    right: np.ndarray,
    radii: np.ndarray,
    seconds: float,
    command: str,
) -> Evaluation:
    """The rates over images, given whether each is right, bool [N], and its radius, float64 [N]. Raises InputError."""
    sizes = {text: parse_epsilon(text) for text in epsilons}
    certified = np.where(right, radii, 0.0)  # the radius up to which an image counts

    def vra(epsilon: float) -> float:
        return float((certified > epsilon).mean())

    points = ((epsilon, vra(epsilon)) for epsilon in curve_epsilons(model.norm, model.input_shape))
    curve = tuple(itertools.takewhile(lambda point: point[1] > 0, points))
    return Evaluation(
        dataset=data.dataset,
        split=data.split,
        revision=data.revision,
        images=len(right),
        clean_accuracy=float(right.mean()),
        vra={text: vra(size) for text, size in sizes.items()},
        acr=float(certified.mean()),
        curve=curve,
        seconds=round(seconds, 2),
        machine=machine(),
        graph_sha256=model.evaluation.graph_sha256,
        command=command,
        radii=tuple(certified[:SAMPLE].tolist()),
    )


def curve_epsilons(norm: str, input_shape: Sequence[int]) -> list[float]:
    """The epsilons of a curve up to the diameter of the domain [0, 1]^d; most curves reach 0 before."""
    diameter = math.prod(input_shape) ** 0.5 if norm == "l2" else 1.0
    return [round(step * CURVE_STEP[norm], 3) for step in range(int(diameter / CURVE_STEP[norm]) + 1)]


def dataset_images(model: Model, name: str, limit: int | None = None) -> LabelledImages:
    """The test split of a data set that `zoo.data.datasets` knows, or its first `limit` images.

    Raises InputError where its images or classes are not the model's.
    """
    info = DATASETS[name]
    channels, height, width = model.input_shape
    if (info.channels, info.size, info.size) != (channels, height, width):
        raise InputError(
            f"{name} has images of {info.channels} x {info.size} x {info.size}, "
            f"{model.name} takes {channels} x {height} x {width}"
        )
    split = (load_split if info.made else stream_split)(name, info.test_split, limit)
    if name != model.config.dataset and split.label_names != model.labels:
        raise InputError(f"the classes of {name} are not those of {model.name}, which knows {model.config.dataset}")
    if isinstance(split, Split):
        return array_images(name, split)

    def read(chunks: Sequence[int]) -> Iterator[Batch]:
        return split.read(set(chunks), CHUNK)

    return LabelledImages(name, split.name, split.revision, split.count, read, _numbered(split.whole))


def array_images(dataset: str, split: Split) -> LabelledImages:
    """The images of a data set's test split that are in memory already."""

    def read(chunks: Sequence[int]) -> Iterator[Batch]:
        for number in chunks:
            rows = slice(number * CHUNK, (number + 1) * CHUNK)
            yield split.images[rows], split.labels[rows]

    return LabelledImages(
        dataset, split.name, split.revision, len(split.labels), read, _numbered(split.name.partition("[")[0])
    )


def _numbered(split: str) -> Callable[[int], str]:
    return lambda index: f"{split}[{index}]"


def folder_images(model: Model, path: Path, limit: int | None = None) -> LabelledImages:
    """The images in a folder with one subfolder for each class, named as the model names it.

    Classes take turns, so that the first `limit` images are spread over them. If the zoo knows the model's data set,
    any name of a class will do. See `class_files` for what is left out, and what raises InputError.
    """
    info = dataset_of(model.config)
    numbers = info.numbers if info.labels == model.labels else {}
    numbers = {**numbers, **{name: index for index, name in enumerate(model.labels)}}
    files = class_files(path, numbers, model.name, known_labels(model.labels))
    turns = files[:limit]
    digest = hashlib.sha256()
    for file, index in turns:
        check_utf8(file)
        try:
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest() + index.to_bytes(4, "little"))
        except OSError as error:
            raise InputError(f"{file}: {error.strerror}") from error

    def read(chunks: Sequence[int]) -> Iterator[Batch]:
        for number in chunks:
            chunk = turns[number * CHUNK : (number + 1) * CHUNK]
            yield as_batch([file for file, _ in chunk], model.input_shape)[0], np.array([index for _, index in chunk])

    def place(index: int) -> str:
        return turns[index][0].relative_to(path).as_posix()

    split = part_name("folder", len(turns), len(files))
    note = absent_classes(str(path), model.labels, {number for _, number in files})
    return LabelledImages(path.name, split, digest.hexdigest(), len(turns), read, place, note)
