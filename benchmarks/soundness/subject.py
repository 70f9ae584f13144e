"""A published model as the bench sees it: the graph that ships, its gradients, and images to ask it about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from zoo.attacks import direction
from zoo.certificate.model import CertifiedModel
from zoo.data.datasets import DATASETS
from zoo.data.splits import load_split
from zoo.hub.client import load
from zoo.inference.images import as_batch
from zoo.inference.runtime import Model
from zoo.publication.folder import Folder

STEPS = 24  # of a bisection: then float32 seldom has a point between the two


@dataclass(frozen=True)
class Subject:
    """One folder of model_cards/ and the first images of its test split, float32 [N, C, H, W]."""

    folder: Folder
    images: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, folder: Folder, count: int) -> Subject:
        """Raises InputError where the data set is not here."""
        info = DATASETS[folder.config.dataset]
        split = load_split(info.name, info.test_split, count)
        return cls(folder, as_batch(split.images, folder.config.input_shape)[0], split.labels)

    @property
    def norm(self) -> str:
        return self.folder.config.norm

    @cached_property
    def model(self) -> Model:
        """The graph that ships, in ONNX Runtime."""
        return load(f"local-dir:{self.folder.path}")

    @cached_property
    def proved(self) -> CertifiedModel:
        """The network in PyTorch, with the tables K and T."""
        return cast("CertifiedModel", load(f"local-dir:{self.folder.path}", backend="torch").module)

    @property
    def network(self) -> nn.Sequential:
        """The network alone, in float32: for gradients, never for a verdict."""
        return self.proved.network


def gradients(network: nn.Module, images: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The gradients of f_first - f_second at each image; first, second: a class for each image."""
    parts = []
    for start in range(0, len(images), 64):
        rows = slice(start, start + 64)
        point = torch.from_numpy(images[rows]).requires_grad_(True)
        logits = network(point)
        picked = (logits.gather(1, torch.from_numpy(side[rows])[:, None]) for side in (first, second))
        parts.append(torch.autograd.grad(next(picked).sum() - next(picked).sum(), point)[0])
    return torch.cat(parts).numpy()


def pictures(subject: Subject, count: int, generator: np.random.Generator) -> np.ndarray:
    """About `count` images to compare with one another, float32 [N, C, H, W] in [0, 1].

    Images of the test split, mixtures of two, constants, black-and-white noise, checkerboards, pictures of the signs of
    a margin's gradient, and, half of all, points on both sides of a boundary between two classes: `boundary`.
    """
    shares = {"test": 0.2, "mixtures": 0.08, "constants": 0.03, "blacks": 0.07, "boards": 0.04, "signs": 0.08}
    sizes = {kind: max(2, int(share * count)) for kind, share in shares.items()}
    shape, own = subject.images.shape[1:], subject.images

    def some(size: int) -> np.ndarray:
        return own[generator.integers(0, len(own), size)]

    weights = generator.random((sizes["mixtures"], 1, 1, 1), dtype=np.float32)
    constants = generator.random((sizes["constants"], shape[0], 1, 1), dtype=np.float32)
    constants[:2] = np.array([0, 1], np.float32)[:, None, None, None]
    classes = len(subject.folder.config.labels)
    first = generator.integers(0, classes, sizes["signs"])
    second = (first + generator.integers(1, classes, sizes["signs"])) % classes
    made = [
        own[: sizes["test"]],
        weights * some(len(weights)) + (1 - weights) * some(len(weights)),
        np.broadcast_to(constants, (len(constants), *shape)),
        generator.integers(0, 2, (sizes["blacks"], *shape)),
        np.stack([_board(shape, generator) for _ in range(sizes["boards"])]),
        (1 + np.sign(gradients(subject.network, some(len(first)), first, second))) / 2,
    ]
    plain = np.concatenate(made).astype(np.float32).clip(0, 1)
    return np.concatenate([plain, *boundary(subject, plain, count - len(plain), generator)])


def _board(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """A checkerboard in two colours."""
    side = generator.integers(1, 1 + max(1, max(shape[1:]) // 2))
    rows, columns = (np.arange(length) // side for length in shape[1:])
    colours = generator.random((2, shape[0], 1, 1))
    return np.where((rows[:, None] + columns) % 2 == 1, colours[0], colours[1])


def boundary(subject: Subject, images: np.ndarray, count: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Points near the boundary of two classes, found by bisection between images of different labels.

    First both ends of each bisected segment, then points to which such an end is pulled along the gradient of the
    margin, to either side: there the margin changes fastest, so a constant that is too small is seen first.
    """
    labels = subject.model.outputs(images).label
    size = count // 6
    one, other = generator.integers(0, len(images), (2, 64 * size))
    chosen = np.flatnonzero(labels[one] != labels[other])[:size]
    low, high = images[one[chosen]], images[other[chosen]]
    wanted, met = labels[one[chosen]], labels[other[chosen]]
    for _ in range(STEPS):
        middle = (low + high) / 2
        found = subject.model.outputs(middle).label
        same = (found == wanted)[:, None, None, None]
        low, high, met = (
            np.where(same, middle, low),
            np.where(same, high, middle),
            np.where(same[:, 0, 0, 0], met, found),
        )
    yield low
    yield high
    if not len(low):
        return
    steepest = direction(Tensor(gradients(subject.network, low, wanted, met)), subject.norm).numpy()
    reach = np.exp(generator.uniform(np.log(1e-3), np.log(1.0), (2, len(low), 1, 1, 1))).astype(np.float32)
    for length in reach:
        yield (low + length * steepest).clip(0, 1)
        yield (low - length * steepest).clip(0, 1)
