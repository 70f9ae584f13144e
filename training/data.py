"""Training and validation images as sources of batches on a device. The test split is never read here."""

from __future__ import annotations

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from training.stream import EncodedImages, FolderImages, ParquetImages, stream
from zoo.data.datasets import DATASETS, data_folder
from zoo.data.parquet import class_numbers
from zoo.data.splits import Split, load_split, split_files
from zoo.errors import InputError

VALIDATION_SHARE, VALIDATION_LIMIT = 0.1, 10_000
SPLIT_SEED = 0  # not the run's seed, so that runs on the same number of images validate on the same images

Batch = tuple[Tensor, Tensor]  # uint8 [N, C, H, W] and labels int64 [N]
# The numbers of a batch's images [N], and for each three uniform numbers that say what to crop, [N, 3], or None.
BatchRequest = tuple[Tensor, Tensor | None]


class Source(ABC):
    """Labelled images that come in batches."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def order(self, generator: Generator) -> Tensor:
        """The numbers of all images in the order of one pass."""

    @abstractmethod
    def batches(self, requests: Iterable[BatchRequest]) -> Iterator[Batch]:
        """A batch for every request, in order; some requests may be taken ahead of their batches."""


class InMemory(Source):
    """Decoded images that lie on the device: those of a `zoo.data.splits.Split` as [N, C, H, W], labels int64 [N]."""

    def __init__(self, images: Tensor, labels: Tensor):
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def order(self, generator: Generator) -> Tensor:
        return torch.randperm(len(self), generator=generator)

    def batches(self, requests: Iterable[BatchRequest]) -> Iterator[Batch]:
        for rows, _ in requests:
            places = rows.to(self.labels.device, non_blocking=True)
            yield self.images[places], self.labels[places]


class Streamed(Source):
    """Some of the images of files on disk, decoded and cropped as they are asked for."""

    def __init__(self, encoded: EncodedImages, chosen: Tensor, size: tuple[int, int], device: torch.device):
        self.encoded = encoded
        self.chosen = chosen
        self.size = size
        self.device = device

    def __len__(self) -> int:
        return len(self.chosen)

    def order(self, generator: Generator) -> Tensor:
        return self.encoded.order(self.chosen, generator)

    def batches(self, requests: Iterable[BatchRequest]) -> Iterator[Batch]:
        wanted = ((self.chosen[rows].tolist(), None if crops is None else crops.tolist()) for rows, crops in requests)
        for pixels, numbers in stream(self.encoded, self.size, wanted):
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
            labels = torch.from_numpy(self.encoded.labels[numbers])
            if self.device.type == "cuda":
                images = images.pin_memory()
            yield images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)


class TrainingData(NamedTuple):
    """A training split, cut once into what is trained on and what is validated on."""

    train: Source
    validation: Source
    revision: str
    name: str  # of the split, as `SplitFiles.name`, or of the folder


def load_training_data(
    name: str, limit: int | None = None, folder: Path | None = None, device: torch.device | str = "cpu"
) -> TrainingData:
    """The first `limit` images of a training split, or all, of which a random tenth, at most 10,000, is for validation.

    An image of each class at least is trained on, unless no class has two.

    With `folder`, the images in its subfolders, which are named after the classes of the data set, take the place of
    the data set's; classes take turns. They are streamed from disk, as ImageNet is; the images of other data sets lie
    decoded on the device.
    Raises InputError where the data cannot be read, the folder has other classes, or there are fewer than two images.
    """
    info, device = DATASETS[name], torch.device(device)
    if folder is not None and info.made:
        raise InputError(f"{name} is computed, and cannot be had from a folder: leave out --data")
    if folder is None and not info.streamed:
        return in_memory(load_split(name, "train", limit), device)
    if folder is None:
        files = split_files(info, "train")
        encoded, source = ParquetImages(info, files), files.name
    else:
        encoded, source = FolderImages(info, folder), folder.name
    train, validation = _cut(encoded.labels[:limit])
    size = (info.size, info.channels)
    return TrainingData(
        Streamed(encoded, train, size, device),
        Streamed(encoded, validation, size, device),
        encoded.revision,
        source,
    )


def in_memory(split: Split, device: torch.device) -> TrainingData:
    """A decoded split on the device, with the validation images of `load_training_data`."""
    train, validation = _cut(split.labels)
    images, labels = torch.from_numpy(split.images).permute(0, 3, 1, 2), torch.from_numpy(split.labels)
    return TrainingData(
        InMemory(images[train].contiguous().to(device), labels[train].to(device)),
        InMemory(images[validation].contiguous().to(device), labels[validation].to(device)),
        split.revision,
        split.name,
    )


def pixels(images: Tensor) -> Tensor:
    """The images as float32 in [0, 1]: uint8 divided by 255, floats as they are."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def load_generated(name: str, device: torch.device | str = "cpu") -> InMemory:
    """The images that a generative model made for a data set: $ZOO_DATA/NAME/generated.npz.

    Its arrays are `image`, uint8 [N, H, W, C], and `label`, [N], as in the published files of DDPM and EDM images.
    Raises InputError if the file is missing or has other arrays.
    """
    info, path = DATASETS[name], data_folder(name) / "generated.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays["image"], arrays["label"]
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: put generated images there, arrays `image` and `label`") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not an npz file with the arrays `image` and `label`: fetch it again") from error
    shape = (info.size, info.size, info.channels)
    if images.dtype != np.uint8 or images.shape[1:] != shape or labels.shape != images.shape[:1] or not len(labels):
        raise InputError(
            f"{path}: `image` is {images.dtype} {list(images.shape)} and `label` {list(labels.shape)}, "
            f"expected uint8 [N, {', '.join(map(str, shape))}] and [N]"
        )
    labels = class_numbers(labels, info, path)
    return InMemory(
        torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device), torch.from_numpy(labels).to(device)
    )


def _cut(labels: np.ndarray) -> tuple[Tensor, Tensor]:
    """The numbers of the images to train on, and of those to validate on, in a random order."""
    count = len(labels)
    if count < 2:
        raise InputError(f"training needs at least two images, got {count}")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(SPLIT_SEED))
    last = count - 1 - np.unique(labels[order.flip(0)], return_index=True)[1]  # of each class: it is trained on
    free = np.setdiff1d(np.arange(count), last if len(last) < count else [])
    validation = free[: min(max(1, int(count * VALIDATION_SHARE)), VALIDATION_LIMIT)]
    return order[np.delete(np.arange(count), validation)], order[validation]


def seeded(*numbers: int) -> torch.Generator:
    """A generator that these numbers determine; that of other numbers is unrelated to it."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]))
