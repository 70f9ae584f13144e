"""An attack to watch: the strongest perturbation found at each size up to a chosen one. It needs PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

import zoo
from space.answers import Answer, source
from zoo.errors import require
from zoo.records import Prediction

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.certificate.model import CertifiedModel

SIZES = 16  # points of the path
STEPS = 8  # gradient steps at each of them


class Point(NamedTuple):
    """The strongest perturbed image found at one size."""

    image: np.ndarray  # float32 [C, H, W]
    size: float  # its distance from the original, in the model's norm
    margin: float  # the logit of the original label less the largest other one; below 0 the label has changed
    floor: float  # proved: no image at this distance has a smaller margin


def attack(answer: Answer, epsilon: float, advance: Callable[[int], object] = lambda count: None) -> list[Point]:
    """The path of projected gradient descent on the margin, from the image itself to a size of just below `epsilon`.

    At each size it starts from the perturbation of the size before and keeps the strongest of its steps. A margin that
    stays above 0 along the path proves nothing; the certificate does.
    advance: called with the number of points found so far.
    Raises MissingPackageError without PyTorch.
    Source: Madry et al. 2018, arXiv 1706.06083, with the margin of Carlini & Wagner 2017 as the loss.
    """
    require("torch", "torch")
    path = []
    for point in _path(answer, epsilon):
        path.append(point)
        advance(len(path))
    return path


def attacked_name(answer: Answer, path: list[Point]) -> str:
    """What the model calls the last image of the path."""
    prediction = answer.model.predict(path[-1].image)
    assert isinstance(prediction, Prediction)
    return prediction.name


def _path(answer: Answer, epsilon: float) -> Iterator[Point]:
    import torch

    module, norm, label = _module(answer.model.name), answer.model.norm, answer.prediction.index
    original = torch.tensor(answer.image)[None]
    offset = torch.zeros_like(original)
    logits = module(original).logits[0]
    slack, lipschitz = module.slack[label], module.margin_lipschitz[label]
    others = torch.arange(len(logits)) != label

    def margin(point: torch.Tensor) -> torch.Tensor:
        logits = module(point).logits[0]
        return logits[label] - logits[others].max()

    def point(offset: torch.Tensor) -> Point:
        image = (original + offset).clamp(0, 1)
        size = distance(image[0].numpy(), answer.image, norm)
        floor = (logits[label] - logits - slack - lipschitz * size)[others].min()
        return Point(image[0].numpy(), size, float(margin(image)), float(floor))

    yield point(offset)
    for size in np.linspace(0, epsilon, SIZES + 1)[1:]:
        best = None
        for step in range(STEPS):
            offset.requires_grad_(True)
            (gradient,) = torch.autograd.grad(margin((original + offset).clamp(0, 1)), offset)
            length = size * (1 if step == 0 else 2.5 / STEPS)
            moved = offset.detach() - length * _direction(gradient, norm)
            offset = (original + _project(moved, norm, size)).clamp(0, 1) - original
            found = point(offset)
            if best is None or found.margin < best[0].margin:
                best = found, offset
        assert best is not None
        yield best[0]
        offset = best[1]


def distance(image: np.ndarray, other: np.ndarray, norm: str) -> float:
    """At least the distance of two images in the norm of the model's radii: float64, with its rounding added."""
    difference = np.abs(image.astype(np.float64) - other)
    length = difference.max() if norm == "linf" else np.sqrt((difference**2).sum())
    return float(length) * (1 + 1e-12)


@cache
def _module(name: str) -> CertifiedModel:
    module = cast("CertifiedModel | None", zoo.load(source(name), backend="torch").module)
    assert module is not None
    return module


def _direction(gradient: Tensor, norm: str) -> Tensor:
    return gradient.sign() if norm == "linf" else gradient / gradient.norm().clamp(min=1e-30)


def _project(offset: Tensor, norm: str, size: float) -> Tensor:
    """The offset projected to a ball that is a little smaller than `size`, so that float32 rounding stays inside."""
    size *= 1 - 1e-6
    return offset.clamp(-size, size) if norm == "linf" else offset * (size / offset.norm().clamp(min=size))
