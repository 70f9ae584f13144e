"""An attack to watch: the strongest perturbation found at each size up to a chosen one. It needs PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from space.answers import Answer, folder
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
    require("torch")
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

    from zoo.attacks import distances, rising

    module, norm, label = _module(answer.model.name), answer.model.norm, answer.prediction.index
    original = torch.tensor(answer.image)[None]
    logits = module(original).logits[0]
    slack, lipschitz = module.slack[label], module.margin_lipschitz[label]
    others = torch.arange(len(logits)) != label

    def lead(points: Tensor) -> Tensor:
        """What the attack makes larger: the largest other logit less the original label's."""
        logits = module(points).logits
        return logits[:, others].amax(dim=1) - logits[:, label]

    for image in chain([original], rising(lead, original, np.linspace(0, epsilon, SIZES + 1)[1:], norm, STEPS)):
        size, margin = float(distances(image, original, norm)), -float(lead(image))
        floor = (logits[label] - logits - slack - lipschitz * size)[others].min()
        yield Point(image[0].numpy(), size, margin, float(floor))


@cache
def _module(name: str) -> CertifiedModel:
    from zoo.publication.network import load_module

    return load_module(folder(name))
