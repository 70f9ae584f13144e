"""Encoded images on disk, decoded in threads as they are needed: memory stays bounded however many there are."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Generator, Tensor

from zoo.datasets import DatasetInfo, check_labels, class_files, class_names, columns, parquet_files
from zoo.errors import InputError

WINDOW = 32  # row groups that a shuffled pass reads from at a time; ImageNet's hold 100 images, about 11 MB
AHEAD = 4  # batches that are being decoded while one is trained on
ZOOM = 9 / 7  # a training crop shows at least 7/9 of the short side: 224 pixels of up to 288


class EncodedImages(ABC):
    """The images of some files and their labels int64 [N]."""

    labels: np.ndarray
    label_names: tuple[str, ...]
    revision: str  # sha256 of the files' names and sizes

    @abstractmethod
    def order(self, chosen: Tensor, generator: Generator) -> Tensor:
        """The places in `chosen`, each once, shuffled as far as reading the files allows."""

    @abstractmethod
    def read(self, number: int) -> bytes:
        """The encoded image. Threads may call it at once."""

    @abstractmethod
    def name(self, number: int) -> str:
        """Where the image stands, for messages."""


class ParquetImages(EncodedImages):
    """A split in the Hugging Face layout, read by row groups of which the last few are kept in memory."""

    def __init__(self, info: DatasetInfo, split: str):
        paths = parquet_files(info, split)
        labels, self.groups, self.starts = [], [], [0]
        for path in paths:
            try:
                with pq.ParquetFile(path) as file:
                    self.column, label_column = columns(file.schema_arrow, path)
                    self.label_names = class_names(file.schema_arrow, label_column, info)
                    labels.append(file.read([label_column])[label_column].to_numpy().astype(np.int64))
                    for group in range(file.num_row_groups):
                        self.groups.append((path, group))
                        self.starts.append(self.starts[-1] + file.metadata.row_group(group).num_rows)
            except (pa.ArrowException, OSError) as error:
                raise InputError(f"{path} is not a readable parquet file: fetch it again") from error
            check_labels(labels[-1], info, path)
        self.labels = np.concatenate(labels)
        if not len(self.labels):
            raise InputError(f"{paths[0]} has no images: fetch it again")
        self.revision = _revision(paths, paths[0].parent)
        self.lock = threading.Lock()
        self.kept: OrderedDict[int, Future[Any]] = OrderedDict()

    def order(self, chosen: Tensor, generator: Generator) -> Tensor:
        """Row groups come in random order, and each image up to WINDOW groups later than its own group would."""
        group = torch.searchsorted(torch.tensor(self.starts), chosen, right=True) - 1
        turn = torch.randperm(len(self.groups), generator=generator)[group]
        return (turn + WINDOW * torch.rand(len(chosen), generator=generator)).argsort()

    def read(self, number: int) -> bytes:
        group = int(np.searchsorted(self.starts, number, side="right")) - 1
        with self.lock:
            if mine := group not in self.kept:
                self.kept[group] = Future()
                if len(self.kept) > 2 * WINDOW:
                    self.kept.popitem(last=False)
            future = self.kept[group]
            self.kept.move_to_end(group)
        if mine:
            try:
                future.set_result(self._load(*self.groups[group]))
            except Exception as error:  # whoever else waits for it must hear of it
                future.set_exception(error)
        encoded = future.result()[number - self.starts[group]].as_py()
        if encoded is None:
            raise InputError(f"{self.name(number)} has no bytes")
        return encoded

    def _load(self, path: Path, group: int) -> Any:
        try:
            with pq.ParquetFile(path) as file:
                return file.read_row_group(group, [self.column])[self.column].combine_chunks().field("bytes")
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path} is not a readable parquet file: fetch it again") from error

    def name(self, number: int) -> str:
        group = int(np.searchsorted(self.starts, number, side="right")) - 1
        return f"{self.groups[group][0]}: image {number - self.starts[group]} of row group {self.groups[group][1]}"


class FolderImages(EncodedImages):
    """The files in a folder that has one subfolder for each class, in the order of `zoo.datasets.class_files`."""

    def __init__(self, info: DatasetInfo, folder: Path):
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder: expected one with a subfolder for each class")
        classes, files = class_files(folder)
        if len(classes) != info.classes:
            raise InputError(f"{folder} has {len(classes)} subfolders, {info.name} has {info.classes} classes")
        if not files:
            raise InputError(f"{folder} has no images: expected some in the subfolder of each class")
        self.files = [path for path, _ in files]
        self.labels = np.array([number for _, number in files], dtype=np.int64)
        self.label_names = tuple(classes)
        self.revision = _revision(self.files, folder)

    def order(self, chosen: Tensor, generator: Generator) -> Tensor:
        return torch.randperm(len(chosen), generator=generator)

    def read(self, number: int) -> bytes:
        try:
            return self.files[number].read_bytes()
        except OSError as error:
            raise InputError(f"{self.files[number]}: {error.strerror}") from error

    def name(self, number: int) -> str:
        return str(self.files[number])


def stream(
    encoded: EncodedImages, size: tuple[int, int], wanted: Iterable[tuple[list[int], list[list[float]] | None]]
) -> Iterator[tuple[np.ndarray, list[int]]]:
    """For the numbers of each batch wanted, their images uint8 [N, size, size, channels], and the numbers.

    `size` is the side and the channels. With three numbers in [0, 1) for each, an image is a square part of it, of
    7/9 to all of its short side, anywhere; without, the largest centred square, as `zoo.images` brings pictures to a
    model's size.
    """
    with ThreadPoolExecutor(_cores()) as threads:
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


def _cores() -> int:
    """The cores that this process may use, its share where several processes train on one machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _decode(encoded: EncodedImages, size: tuple[int, int], number: int, crop: list[float] | None) -> np.ndarray:
    side, channels = size
    try:
        with Image.open(io.BytesIO(encoded.read(number))) as opened:
            image = opened.convert("RGB" if channels == 3 else "L")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{encoded.name(number)} cannot be decoded: fetch it again") from error
    zoom, right, down = crop or (0.0, 0.5, 0.5)
    shown = min(image.size) / (1 + (ZOOM - 1) * zoom)
    left, top = right * (image.width - shown), down * (image.height - shown)
    box = (left, top, min(left + shown, image.width), min(top + shown, image.height))
    pixels = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box))
    return pixels.reshape(side, side, channels)


def _revision(paths: list[Path], root: Path) -> str:
    listing = "".join(f"{path.relative_to(root).as_posix()} {path.stat().st_size}\n" for path in paths)
    return hashlib.sha256(listing.encode()).hexdigest()
