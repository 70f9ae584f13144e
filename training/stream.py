"""Encoded images on disk, decoded in threads as they are needed, in bounded memory."""

from __future__ import annotations

import hashlib
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from zoo.data.class_folders import class_files
from zoo.data.datasets import DatasetInfo, known_labels
from zoo.data.parquet import ParquetFiles, picture
from zoo.data.splits import SplitFiles
from zoo.errors import InputError
from zoo.machine import cores

WINDOW = 32  # row groups that a shuffled pass reads from at a time; ImageNet's hold 100 images, about 11 MB
AHEAD = 4  # batches that are decoded while another one is trained on
ZOOM = 9 / 7  # the largest zoom of a training crop, which shows at least 7/9 of the short side, 224 of 288 pixels


class EncodedImages(ABC):
    """The images of some files and their labels int64 [N]."""

    labels: np.ndarray
    revision: str  # sha256 of the files' names and sizes

    @abstractmethod
    def order(self, chosen: Tensor, generator: Generator) -> Tensor:
        """The places in `chosen`, shuffled as far as reading the files allows."""

    @abstractmethod
    def picture(self, number: int) -> Image.Image:
        """The decoded image, grey (L) or RGB. Several threads may call it at the same time."""


class ParquetImages(EncodedImages):
    """A split in parquet files, read by row groups of which the last few are kept in memory."""

    def __init__(self, info: DatasetInfo, split: SplitFiles):
        self.files = ParquetFiles(split.paths, info)
        self.labels = self.files.labels
        self.revision = _revision(split.paths, split.paths[0].parent)
        self.lock = threading.Lock()
        self.kept: OrderedDict[int, Future[Any]] = OrderedDict()

    def order(self, chosen: Tensor, generator: Generator) -> Tensor:
        """A shuffled order in which few row groups are needed at a time.

        Groups get turns at random, and each image comes from 0 to WINDOW turns after its group's.
        """
        group = torch.searchsorted(torch.tensor(self.files.starts), chosen, right=True) - 1
        turn = torch.randperm(len(self.files.groups), generator=generator)[group]
        return (turn + WINDOW * torch.rand(len(chosen), generator=generator)).argsort()

    def picture(self, number: int) -> Image.Image:
        starts = self.files.starts
        group = int(np.searchsorted(starts, number, side="right")) - 1
        with self.lock:
            if mine := group not in self.kept:
                self.kept[group] = Future()
                if len(self.kept) > 2 * WINDOW:
                    self.kept.popitem(last=False)
            future = self.kept[group]
            self.kept.move_to_end(group)
        if mine:
            try:
                future.set_result(self.files.row_group(group))
            except Exception as error:  # for the other threads that wait for it
                future.set_exception(error)
        return self.files.picture(future.result()[number - starts[group]], number)


class FolderImages(EncodedImages):
    """The files in a folder that has a subfolder for each class of the data set, see `class_files`."""

    def __init__(self, info: DatasetInfo, folder: Path):
        files = class_files(folder, info.numbers, info.name, known_labels(info.labels))
        missing = sorted(set(range(info.classes)) - {number for _, number in files})
        if missing:
            names = known_labels(tuple(info.labels[number] for number in missing))
            raise InputError(f"{folder} has no subfolder for {names}: {info.name} has {info.classes} classes")
        self.files = [path for path, _ in files]
        self.labels = np.array([number for _, number in files], dtype=np.int64)
        self.channels = info.channels
        self.revision = _revision(self.files, folder)

    def order(self, chosen: Tensor, generator: Generator) -> Tensor:
        return torch.randperm(len(chosen), generator=generator)

    def picture(self, number: int) -> Image.Image:
        path = self.files[number]
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from error
        return picture(content, str(path), self.channels)


def stream(
    encoded: EncodedImages, size: tuple[int, int], wanted: Iterable[tuple[list[int], list[list[float]] | None]]
) -> Iterator[tuple[np.ndarray, list[int]]]:
    """For each wanted batch of images, given by their numbers: the images uint8 [N, side, side, channels], the numbers.

    size: the side and the channels. An image that comes with three random numbers in [0, 1) is cropped to a square at
    a random place, whose side is 7/9 to all of the image's short side; one without them is cropped to the largest
    centred square, as a picture is brought to a model's size.
    """
    with ThreadPoolExecutor(cores()) as threads:
        running: deque[tuple[list[Future[np.ndarray]], list[int]]] = deque()

        def finished() -> tuple[np.ndarray, list[int]]:
            futures, numbers = running.popleft()
            return np.stack([future.result() for future in futures]), numbers

        try:
            for numbers, crops in wanted:
                parts = crops or [None] * len(numbers)
                decoding = [threads.submit(_decode, encoded, size, *each) for each in zip(numbers, parts, strict=True)]
                running.append((decoding, numbers))
                if len(running) > AHEAD:
                    yield finished()
            while running:
                yield finished()
        finally:
            threads.shutdown(cancel_futures=True)


def _decode(encoded: EncodedImages, size: tuple[int, int], number: int, crop: list[float] | None) -> np.ndarray:
    side, channels = size
    image = encoded.picture(number)
    zoom, right, down = crop or (0.0, 0.5, 0.5)
    shown = min(image.size) / (1 + (ZOOM - 1) * zoom)
    left, top = right * (image.width - shown), down * (image.height - shown)
    box = (left, top, min(left + shown, image.width), min(top + shown, image.height))
    pixels = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box))
    return pixels.reshape(side, side, channels)


def _revision(paths: Iterable[Path], root: Path) -> str:
    listing = "".join(f"{path.relative_to(root).as_posix()} {path.stat().st_size}\n" for path in paths)
    return hashlib.sha256(listing.encode()).hexdigest()
