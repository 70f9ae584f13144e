"""What each process trains on: its share of every batch. The batches do not depend on the number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from training.augment import Augmentation, Draws, augment
from training.data import Batch, BatchRequest, Source, seeded
from zoo.errors import InputError


class Order:
    """Endless passes over a source, each of `length` images in an order that follows from the seed and the pass."""

    def __init__(self, source: Source, length: int, *seed: int):
        self.source = source
        self.length = length
        self.seed = seed
        self.number, self.order = -1, torch.empty(0, dtype=torch.int64)

    def take(self, start: int, count: int) -> Tensor:
        """The numbers of the images at the places `start` to `start` + `count` of all passes. Shape: [count]."""
        pieces = []
        while count:
            number, offset = divmod(start, self.length)
            if number != self.number:
                self.number, self.order = number, self.source.order(seeded(*self.seed, number))
            pieces.append(self.order[offset : min(offset + count, self.length)])
            start, count = start + len(pieces[-1]), count - len(pieces[-1])
        return torch.cat(pieces)


@dataclass(frozen=True)
class Part:
    """One source's part in every batch: `count` images, and how they are augmented."""

    source: Source
    order: Order
    count: int
    augmentations: tuple[Augmentation, ...]
    seed: tuple[int, ...]

    def batches(self, first: int, last: int, shares: list[tuple[int, int]]) -> Iterator[Batch]:
        """The images of the steps from `first` to before `last`, augmented: a piece for each of the shares of a step.

        A share (k, n) is the k-th of n nearly equal pieces of the step's images.
        """

        def draws(stream: int, step: int, share: tuple[int, int]) -> Draws:
            return Draws(seeded(*self.seed, stream, step), self.count, self.rows(*share))

        def requests() -> Iterator[BatchRequest]:
            for step in range(first, last):
                rows = self.order.take(step * self.count, self.count)
                for share in shares:
                    yield rows[self.rows(*share)], draws(0, step, share).uniform(3)

        places = ((step, share) for step in range(first, last) for share in shares)
        for (step, share), (images, labels) in zip(places, self.source.batches(requests()), strict=True):
            yield augment(images, self.augmentations, draws(1, step, share)), labels

    def rows(self, share: int, shares: int) -> slice:
        return slice(self.count * share // shares, self.count * (share + 1) // shares)


class Feed:
    """Batches of `batch_size` images of `train`, or all of them if there are fewer, with generated images beside them.

    A pass leaves out the last, smaller batch. `process` of `processes` gets its share of every batch, in
    `accumulate` pieces. Raises InputError if a piece would be empty.
    """

    def __init__(
        self,
        train: Source,
        batch_size: int,
        augmentations: tuple[Augmentation, ...],
        seed: int,
        generated: tuple[Source, int, tuple[Augmentation, ...]] | None = None,
        accumulate: int = 1,
        process: int = 0,
        processes: int = 1,
    ):
        count = min(batch_size, len(train))
        if count < processes * accumulate:
            raise InputError(
                f"a batch of {count} images has not one for each of {processes} processes and {accumulate} pieces"
            )
        self.epoch_steps = len(train) // count
        self.pieces = [(process * accumulate + piece, processes * accumulate) for piece in range(accumulate)]
        self.parts = [Part(train, Order(train, self.epoch_steps * count, seed, 0), count, augmentations, (seed, 0))]
        if generated is not None:
            source, ratio, changes = generated
            self.parts.append(Part(source, Order(source, len(source), seed, 1), ratio * count, changes, (seed, 1)))
        self.batch_size = sum(part.count for part in self.parts)

    def batches(self, first: int, last: int) -> Iterator[list[Batch]]:
        """For every step from `first` to before `last`, the pieces of this process's share, augmented."""
        streams = [part.batches(first, last, self.pieces) for part in self.parts]
        for _ in range(first, last):
            pieces = []
            for _ in self.pieces:
                images, labels = zip(*[next(stream) for stream in streams], strict=True)
                pieces.append((torch.cat(images), torch.cat(labels)))
            yield pieces
