"""Pictures that somebody brings: a folder of class folders, parquet files or an npz file, with classes of their own.

They are read, and brought to a network's size, as `zoo predict` does it, so that a model is trained and measured on the
kind of pictures that it will be asked about.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import statistics
import sys
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zoo.data.class_folders import class_files, class_names
from zoo.data.datasets import HUB_DATA, absent_classes, known_labels, own_dataset
from zoo.data.parquet import ParquetFiles, class_numbers, label_names, numbered_labels, picture
from zoo.data.splits import Split, SplitFiles, hub_files, own_files, part_name
from zoo.errors import InputError
from zoo.files import is_folder, sha256
from zoo.inference.images import fitted, glance, open_image
from zoo.machine import cores

TOGETHER = 256  # pictures that are decoded at a time
MAX_BYTES = 8 * 2**30  # of the decoded pictures, which are held in memory
MAX_LABEL = 100  # characters
IMAGES, LABELS, NAMES = ("images", "image"), ("labels", "label"), "label_names"  # arrays of an npz file
EXPECTED = "a folder with a subfolder of pictures for each class, parquet files, an .npz file, or hf:ORG/NAME"


class Pictures(ABC):
    """Labelled pictures of many sizes."""

    labels: tuple[str, ...]  # the names of the classes
    numbers: np.ndarray  # the class of each picture, int64 [N]
    revision: str  # a sha256 that changes with the files

    @abstractmethod
    def values(self) -> Iterator[tuple[str, Any]]:
        """For each picture in order: its place, for messages; and its file, the file's bytes, or its pixels."""

    def sizes(self) -> tuple[int, int]:
        """The median of their short sides, and their channels: 1 if all of them are grey, else 3."""
        looks = [_look(*item) for item in self.values()]
        return int(statistics.median(side for side, _ in looks)), 1 if all(grey for _, grey in looks) else 3

    def digests(self) -> list[str]:
        """For each picture a sha256 of its file, or of its pixels."""
        return [_digest(value) for _, value in self.values()]

    def split(self, name: str, input_shape: Sequence[int], limit: int | None = None) -> Split:
        """The pictures, or the first `limit`, at this size. Raises InputError, which names what cannot be read."""
        channels, height, width = input_shape
        count = min(len(self.numbers), limit or len(self.numbers))
        if (size := count * channels * height * width) > MAX_BYTES:
            raise InputError(
                f"{count:,} pictures of {height} x {width} are {size / 2**30:.0f} GiB, more than "
                f"{MAX_BYTES / 2**30:.0f}: take fewer (--limit), or a smaller --size"
            )
        images = np.empty((count, height, width, channels), dtype=np.uint8)
        values = itertools.islice(self.values(), count)

        def decode(number: int, item: tuple[str, Any]) -> None:
            images[number] = fitted(_decode(*item), (channels, height, width))

        with ThreadPoolExecutor(cores()) as threads:
            for first in range(0, count, TOGETHER):
                some = list(itertools.islice(values, TOGETHER))
                for _ in threads.map(decode, range(first, count), some):
                    pass
        return Split(
            images, self.numbers[:count], self.labels, self.revision, part_name(name, count, len(self.numbers))
        )


class _Folder(Pictures):
    """Files in subfolders that are named after the classes, which take turns."""

    def __init__(self, folder: Path, labels: tuple[str, ...] | None):
        self.folder, self.labels = folder, labels or class_names(folder)
        numbers = {name: number for number, name in enumerate(self.labels)}
        files = class_files(folder, numbers, "the training pictures", known_labels(self.labels))
        self.files = [path for path, _ in files]
        self.numbers = np.array([number for _, number in files], dtype=np.int64)
        names = "".join(f"{path.relative_to(folder).as_posix()}\n" for path in self.files)
        self.revision = hashlib.sha256((names + sha256(*self.files)).encode()).hexdigest()

    def values(self) -> Iterator[tuple[str, Any]]:
        return ((str(path), path) for path in self.files)


class _Parquet(Pictures):
    """Images and labels in parquet files, in every layout of `zoo.data.parquet`."""

    def __init__(self, split: SplitFiles, labels: tuple[str, ...] | None):
        self.labels = labels or label_names(split.paths)
        self.files = ParquetFiles(split.paths, own_dataset("the training pictures", self.labels, (3, 1, 1)))
        self.numbers, self.revision = self.files.labels, sha256(*split.paths)

    def values(self) -> Iterator[tuple[str, Any]]:
        for number, value in enumerate(self.files.images()):
            yield self.files.place(number), value.as_py()


class _Arrays(Pictures):
    """The arrays of an npz file: `images`, uint8 [N, H, W] or [N, H, W, 1 or 3], and `labels` [N], numbers or names.

    `label_names` may name the classes of numbers.
    """

    def __init__(self, path: Path, labels: tuple[str, ...] | None):
        self.path, self.revision = path, sha256(path)
        arrays = _arrays(path)
        self.images, found = _array(arrays, IMAGES, path), _array(arrays, LABELS, path)
        shape = self.images.shape
        if self.images.dtype != np.uint8 or len(shape) not in (3, 4) or shape[3:] not in ((), (1,), (3,)):
            raise InputError(
                f"{path}: images are {self.images.dtype} {list(shape)}, expected uint8 from 0 to 255 in [N, H, W], "
                "[N, H, W, 1] or [N, H, W, 3]"
            )
        found = found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found
        if found.shape != shape[:1] or not len(found) or 0 in shape:
            raise InputError(f"{path}: images are {list(shape)} and labels {list(found.shape)}, expected [N] of them")
        names = tuple(map(str, arrays[NAMES].tolist())) if NAMES in arrays else None
        if found.dtype.kind == "U":
            self.labels = labels or tuple(sorted(set(found.tolist())))
            found = np.array([self._number(name) for name in found.tolist()])
        elif labels or names:
            self.labels = labels or names or ()
            if labels and names and labels != names:
                raise InputError(f"{path}: its label_names are not the classes of the training pictures")
        else:
            self.labels = numbered_labels(found.tolist() if found.dtype.kind in "iu" else [], path)
        self.numbers = class_numbers(found, own_dataset("the data set", self.labels, (3, 1, 1)), path)

    def _number(self, name: str) -> int:
        if name not in self.labels:
            raise InputError(f"{self.path}: the label {name[:60]!r} is no class of the training pictures")
        return self.labels.index(name)

    def values(self) -> Iterator[tuple[str, Any]]:
        return ((f"{self.path}: image {number}", pixels) for number, pixels in enumerate(self.images))


def open_pictures(source: str, split: str, labels: tuple[str, ...] | None = None) -> Pictures:
    """The pictures in a folder or file, or in a data set of the Hugging Face hub: `hf:org/name`.

    split: which files to take if there are several splits, "train" or "test". labels: the classes; without, those that
    are found. Only what the labels need is read here. Test pictures may lack classes, which stderr is told.
    Raises InputError if there are no such pictures, or they have other classes.
    """
    if source.startswith(HUB_DATA):
        found: Pictures = _Parquet(hub_files(source.removeprefix(HUB_DATA), split), labels)
    elif is_folder(source):
        files = own_files(Path(source), split)
        found = _Parquet(files, labels) if files else _Folder(Path(source), labels)
    elif not (path := Path(source)).is_file():
        raise InputError(f"{source}: no such folder or file, expected {EXPECTED}")
    elif path.suffix == ".parquet":
        found = _Parquet(SplitFiles((path,), split), labels)
    elif path.suffix == ".npz":
        found = _Arrays(path, labels)
    else:
        raise InputError(f"{source}: expected {EXPECTED}")
    _check_labels(found, source, complete=labels is None)
    line = absent_classes(source, found.labels, set(found.numbers.tolist())) if split == "test" else ""
    if line and os.environ.get("RANK", "0") == "0":
        print(line, file=sys.stderr)
    return found


def _check_labels(pictures: Pictures, source: str, complete: bool) -> None:
    """Raise InputError unless there are two classes, with printable names, and, if complete, pictures of each."""
    labels = pictures.labels
    if len(labels) < 2:
        raise InputError(f"{source} has one class, {' '.join(labels)[:60]!r}: a classifier needs two or more")
    for label in labels:
        if not label.strip() or not label.isprintable() or len(label) > MAX_LABEL or labels.count(label) > 1:
            raise InputError(
                f"{source}: no name for a class is {label[:60]!r}: expected printable characters, at most {MAX_LABEL}, "
                "and each name once"
            )
    if complete and (missing := sorted(set(range(len(labels))) - set(pictures.numbers.tolist()))):
        names = known_labels(tuple(labels[number] for number in missing))
        raise InputError(f"{source} has no pictures of {names}: expected some of each class")


def _decode(place: str, value: Any) -> Image.Image:
    """The picture, upright, grey (L) or RGB. Raises InputError."""
    if isinstance(value, list | np.ndarray):
        pixels = np.asarray(value)
        return picture(value, place, 3 if pixels.ndim == 3 and pixels.shape[2] == 3 else 1)
    return open_image(_file(place, value))


def _look(place: str, value: Any) -> tuple[int, bool]:
    """The short side of a picture, and whether it is grey."""
    if isinstance(value, list | np.ndarray):
        image = _decode(place, value)
        return min(image.size), image.mode == "L"
    return glance(_file(place, value))


def _digest(value: Any) -> str:
    match value:
        case Path():
            return sha256(value)
        case np.ndarray():
            value = value.tobytes()
        case list():  # of rows, perhaps of different lengths, which are told when it is decoded
            value = repr(value).encode()
    return hashlib.sha256(value or b"").hexdigest()


def _file(place: str, value: Any) -> Any:
    """The picture as `open_image` takes it, with its place as the name."""
    if value is None:
        raise InputError(f"{place} has no bytes: images must be in the file itself, paths are not followed")
    if not isinstance(value, bytes):
        return value
    file = BytesIO(value)
    file.name = place
    return file


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file; nothing is unpickled. Raises InputError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if name in (*IMAGES, *LABELS, NAMES)}
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        AttributeError,
        TypeError,
        MemoryError,
        zipfile.BadZipFile,
    ) as error:
        raise InputError(f"{path} is damaged or has pickled objects: save plain arrays by numpy.savez") from error


def _array(arrays: dict[str, np.ndarray], names: tuple[str, ...], path: Path) -> np.ndarray:
    for name in names:
        if name in arrays:
            return arrays[name]
    raise InputError(f"{path} has no array {names[0]!r}: expected `images` and `labels`")
