"""Training and validation images, in memory. The test split is never read here."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from zoo.datasets import load_split
from zoo.errors import InputError

VALIDATION_SHARE = 0.1
SPLIT_SEED = 0  # not the run's seed: every run of a data set validates on the same images


class Images(NamedTuple):
    """Images [N, C, H, W] as `zoo.datasets.Split` has them and their labels int64 [N]."""

    images: Tensor
    labels: Tensor


class TrainingData(NamedTuple):
    """The published training split, cut once into what is trained on and what is validated on."""

    train: Images
    validation: Images
    label_names: tuple[str, ...]
    revision: str


def load_training_data(name: str, limit: int | None = None) -> TrainingData:
    """The first `limit` images (all by default) of the training split, every tenth at random kept for validation.

    Raises InputError where the data cannot be read, or are fewer than two images.
    """
    split = load_split(name, "train", limit)
    count = len(split.labels)
    if count < 2:
        raise InputError(f"training needs at least two images, got {count}")
    images = torch.from_numpy(split.images).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(split.labels)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(SPLIT_SEED))
    kept = max(1, int(count * VALIDATION_SHARE))
    validation, train = order[:kept], order[kept:]
    return TrainingData(
        Images(images[train], labels[train]),
        Images(images[validation], labels[validation]),
        split.label_names,
        split.revision,
    )


def pixels(images: Tensor) -> Tensor:
    """The images as float32 in [0, 1]: uint8 divided by 255, floats as they are."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


class Batches(Dataset[tuple[Tensor, Tensor]]):
    """A data set that answers a whole batch of indices at once."""

    def __init__(self, data: Images):
        self.data = data

    def __len__(self) -> int:
        return len(self.data.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.data.images[index], self.data.labels[index]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        return self.data.images[indices], self.data.labels[indices]


class EpochOrder(Sampler[int]):
    """A new order every epoch, from the seed and the epoch's number alone, so that a resumed run has it."""

    def __init__(self, count: int, seed: int):
        self.count = count
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        yield from torch.randperm(self.count, generator=seeded(self.seed, self.epoch)).tolist()


def seeded(*numbers: int) -> torch.Generator:
    """A generator that the numbers determine; other numbers give an unrelated stream."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]))


def training_loader(data: Images, batch_size: int, order: EpochOrder) -> DataLoader[tuple[Tensor, Tensor]]:
    """Full batches in the given order; the last, smaller batch of an epoch is left out."""
    # Without a generator of its own, each new iterator would draw from the global one, and a resumed run would differ.
    return DataLoader(
        Batches(data),
        batch_size=min(batch_size, len(data.labels)),
        sampler=order,
        drop_last=True,
        collate_fn=_whole,
        generator=torch.Generator().manual_seed(0),
    )


def _whole(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return batch
