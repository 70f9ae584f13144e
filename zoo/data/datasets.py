"""The data sets that the zoo knows: their sizes, their classes, and the radii at which papers report."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from zoo.epsilon import epsilon_text, is_radius, parse_epsilon
from zoo.records import NATURAL, ModelConfig

HUB_DATA = "hf:"  # the prefix of a data set on the Hugging Face hub: hf:org/name
WORDNET = re.compile(r"(n\d{8}) (.+)")  # a class of ImageNet: its number in WordNet, and its names


@dataclass(frozen=True)
class DatasetInfo:
    """What the zoo knows of a data set before it reads an image of it."""

    name: str
    title: str
    size: int  # the side of its square images, in pixels
    channels: int
    classes: int
    test_split: str  # the prefix of the held-out files
    hub: str | None  # the data set on the Hugging Face hub; None where it is local only
    train_images: int  # in the whole training split, validation included
    epsilons: dict[str, tuple[str, ...]]  # the radii at which papers report, by norm, in pixels of [0, 1]
    streamed: bool = False  # images of many sizes, too many for memory: training reads them from disk as it goes
    made: bool = False  # `zoo.data.moons` makes it, there are no files
    original: str | None = None  # the data set of which this one is a copy in other quality
    dark_ground: bool = False  # light strokes on black, so that photographs and ink on paper look different
    package: str | None = None  # Debian's, which puts the files into `PACKAGES`/NAME
    own_labels: tuple[str, ...] = ()  # of a data set that somebody brings; those of the others are in `CLASSES`

    def levels(self, norm: str) -> tuple[float, ...]:
        """The radii that a certificate's interval propagation tries: in l-infinity just above the epsilons, else none.

        They lie above, because an image is certified at an epsilon if its radius, which may be a level, is larger.
        """
        return tuple(parse_epsilon(text) * (1 + 2.0**-20) for text in self.epsilons[norm]) if norm == "linf" else ()

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The names of its classes, in the order of their numbers."""
        return plain_labels(self._classes)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The class of each name that means one class: its label, or in ImageNet its WordNet number or another name."""
        known: dict[str, set[int]] = {}
        for number, label in enumerate(self._classes):
            wordnet = WORDNET.fullmatch(label)
            others = [*wordnet.groups(), *wordnet[2].split(", ")] if wordnet else OTHER_NAMES.get(label, [])
            for name in {label, *others}:
                known.setdefault(name, set()).add(number)
        alone = {name: numbers.pop() for name, numbers in known.items() if len(numbers) == 1}
        return {**alone, **{label: number for number, label in enumerate(self.labels)}}

    @property
    def _classes(self) -> list[str]:
        if self.own_labels:
            return list(self.own_labels)
        return json.loads(CLASSES.read_text(encoding="utf-8"))[self.original or self.name]


def own_dataset(
    name: str, labels: Sequence[str], input_shape: Sequence[int], hub: str | None = None, epsilon: object = None
) -> DatasetInfo:
    """A data set that somebody brings, with images of this shape: channels, height and width.

    epsilon: the radius that a model was made for, if it is a float: reported as well.
    """
    channels, size, _ = input_shape
    labels, epsilons = tuple(labels), {norm: _with(texts, epsilon) for norm, texts in NATURAL.items()}
    return DatasetInfo(name, name, size, channels, len(labels), "test", hub, 0, epsilons, own_labels=labels)


def _with(texts: tuple[str, ...], epsilon: object) -> tuple[str, ...]:
    """The epsilons and this one, from small to large; as they are if it is no radius, or one of them."""
    if not is_radius(epsilon) or any(math.isclose(parse_epsilon(text), epsilon) for text in texts):
        return texts
    return tuple(sorted((*texts, epsilon_text(epsilon)), key=parse_epsilon))


def dataset_of(config: ModelConfig) -> DatasetInfo:
    """The data set of a published model: one that the zoo knows, or its owner's, as its records describe it."""
    if config.dataset in DATASETS:
        return DATASETS[config.dataset]
    source = config.recipe.get("data")
    hub = source.removeprefix(HUB_DATA) if isinstance(source, str) and source.startswith(HUB_DATA) else None
    return own_dataset(config.dataset, config.labels, config.input_shape, hub, config.recipe.get("epsilon"))


def plain_labels(labels: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """The labels without WordNet's numbers, "goldfish" for "n01443537 goldfish", unless two would be the same."""
    plain = [WORDNET.sub(r"\2", label) for label in labels]
    return tuple(short if plain.count(short) == 1 else label for short, label in zip(plain, labels, strict=True))


def known_labels(labels: tuple[str, ...]) -> str:
    """The first ten labels in a line."""
    return ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")


def absent_classes(where: str, labels: Sequence[str], numbers: Collection[int]) -> str:
    """A line that names the classes without pictures, where there are some of these numbers alone; empty for none."""
    absent = [label for number, label in enumerate(labels) if number not in numbers]
    if not absent:
        return ""
    names = ", ".join(absent[:3]) + (f" and {len(absent) - 3} more" if len(absent) > 3 else "")
    return f"{where} has no pictures of {names}: rates on it are of {len(numbers)} of {len(labels)} classes"


CLASSES = Path(__file__).with_name("classes.json")  # of each data set; ImageNet's as WORDNET says
# Of classes: on the hub, and as a folder may be called.
OTHER_NAMES = {"T-shirt/top": ["T - shirt / top", "T-shirt", "top"]}
PACKAGES = Path("/usr/share/datasets")  # of Debian

DIGITS = {"l2": ("0.3", "1.58"), "linf": ("0.1", "0.3")}
CLOTHES = {"l2": ("0.25", "0.5", "1.0"), "linf": ("0.1", "0.3")}
LARGE = {**NATURAL, "linf": ("1/255",)}

DATASETS: dict[str, DatasetInfo] = {
    info.name: info
    for info in (
        DatasetInfo("mnist", "MNIST", 28, 1, 10, "test", "ylecun/mnist", 60_000, DIGITS, dark_ground=True),
        DatasetInfo(
            "fashion-mnist",
            "Fashion-MNIST",
            28,
            1,
            10,
            "test",
            "zalando-datasets/fashion_mnist",
            60_000,
            CLOTHES,
            dark_ground=True,
            package="dataset-fashion-mnist",
        ),
        DatasetInfo("cifar10", "CIFAR-10", 32, 3, 10, "test", "uoft-cs/cifar10", 50_000, NATURAL),
        DatasetInfo(
            "cifar10-jpeg75",
            "CIFAR-10 re-encoded as JPEG 75",
            32,
            3,
            10,
            "test",
            None,
            50_000,
            NATURAL,
            original="cifar10",
        ),
        DatasetInfo("cifar100", "CIFAR-100", 32, 3, 100, "test", "uoft-cs/cifar100", 50_000, NATURAL),
        DatasetInfo("tiny-imagenet", "Tiny-ImageNet", 64, 3, 200, "valid", "zh-plus/tiny-imagenet", 100_000, LARGE),
        DatasetInfo(
            "imagenet", "ImageNet-1k", 224, 3, 1000, "validation", "ILSVRC/imagenet-1k", 1_281_167, LARGE, streamed=True
        ),
        # Its points are images of one pixel; the epsilon is 0.15 in the plane, see `zoo.data.moons`.
        DatasetInfo("two-moons", "two moons", 1, 2, 2, "test", None, 2000, {"l2": ("0.15/4",), "linf": ()}, made=True),
    )
}


def data_folder(name: str) -> Path:
    """$ZOO_DATA/NAME; if ZOO_DATA is not set or empty, ../shared/data/NAME beside the checkout."""
    setting = os.environ.get("ZOO_DATA")
    root = Path(setting) if setting else Path(__file__).parents[3] / "shared" / "data"
    return root / name
