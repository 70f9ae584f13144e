"""How tight a certificate is: the largest difference that a search finds between two points, over what is allowed.

What is found is a lower bound of the true constant, so the ratio never exceeds 1. How far below 1 it stays shows the
bound's slack and the search's weakness together.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.linalg import vector_norm

from training.attacks import direction
from zoo.certificate.model import CertifiedModel, cast_network
from zoo.records import Certificate

ORDERS = {"l2": 2.0, "linf": math.inf}
PAIRS = 45  # pairs of classes: all pairs of ten classes, drawn at random from more
FIRST, LAST = 1.0, 1e-3  # the distance of the two points at the first and at the last step


def tightness(model: CertifiedModel, certificate: Certificate, images: Tensor, steps: int = 60) -> dict[str, float]:
    """The largest quotients |g(x) - g(x')| / |x - x'| that gradient ascent finds, over their proved bounds.

    In the certificate's norm. `body`: g the features that enter the head, over `body_lipschitz`.
    `margin, tightest pair` and `margin, mean`: g = f_j - f_i over K_ji, the largest over the pairs of classes and the
    mean over them. Both points lie in [0, 1]; the search is in float32, what it found is measured in float64 less the
    rounding that the certificate allows, so that each number is truly a lower bound.
    images [N, C, H, W] float32 in [0, 1]: where the search starts, once for each quotient.
    Source: Losch et al. 2023 (CLL), section 3.3, takes the quotient over pairs of training images; ascent finds more.
    """
    generator = torch.Generator().manual_seed(0)
    first, second = torch.triu_indices(*[len(model.slack)] * 2, offset=1)
    if len(first) > PAIRS:
        drawn = torch.randperm(len(first), generator=generator)[:PAIRS]
        first, second = first[drawn], second[drawn]
    network, body = model.network, model.network[:-1]
    norm, order = certificate.norm, ORDERS[certificate.norm]
    rows = torch.arange(len(first))

    def margins(logits: Tensor) -> Tensor:
        return logits[rows, first] - logits[rows, second]

    def features_apart(x: Tensor, other: Tensor) -> Tensor:
        return vector_norm((body(x) - body(other)).flatten(1), order, dim=1)

    def margins_apart(x: Tensor, other: Tensor) -> Tensor:
        return margins(network(x)) - margins(network(other))

    found = torch.zeros(len(first), dtype=torch.float64)
    for image in images:
        x, other = _ascend(margins_apart, image.expand(len(first), -1, -1, -1), norm, steps, generator)
        with torch.no_grad():
            gap = margins(model(x).logits) - margins(model(other).logits) - model.slack[first, second]
        found = torch.maximum(found, gap / _apart(x, other, order) / model.margin_lipschitz[first, second])
    x, other = _ascend(features_apart, images, norm, steps, generator)
    with torch.no_grad():
        exact = cast_network(body, torch.float64)
        features = [exact(point.double()) for point in (x, other)]
        gap = vector_norm((features[0] - features[1]).flatten(1), order, dim=1) - 2 * certificate.feature_error
    whole = gap / _apart(x, other, order) / certificate.body_lipschitz
    return {
        "body": max(0.0, float(whole.max())),
        "margin, tightest pair": float(found.max()),
        "margin, mean": float(found.mean()),
    }


def _ascend(
    gap: Callable[[Tensor, Tensor], Tensor], images: Tensor, norm: str, steps: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """For each image two points of the box, with the largest gap over their distance that was met.

    At each step the difference of the points turns towards the gradient of their difference, and both move together up
    the gradient of their middle. Their distance shrinks from FIRST to LAST: points far apart see more of the function,
    near ones its derivative.
    """
    middle, apart = images, direction(torch.randn(images.shape, generator=generator), norm)
    best = torch.full((len(images),), -torch.inf)
    points = (images, images)
    for step in range(steps):
        distance = FIRST * (LAST / FIRST) ** (step / max(1, steps - 1))
        x, other = ((middle + side * distance / 2 * apart).clamp(0, 1).requires_grad_(True) for side in (1, -1))
        value = gap(x, other)
        up, down = torch.autograd.grad(value.sum(), (x, other))
        with torch.no_grad():
            quotient = value / _apart(x, other, ORDERS[norm])
            better = quotient > best
            best = torch.where(better, quotient, best)
            chosen = better[:, None, None, None]
            points = torch.where(chosen, x, points[0]), torch.where(chosen, other, points[1])
            apart = direction(up - down, norm)
            middle = (middle + distance / 2 * direction(up + down, norm)).clamp(0, 1)
    return points


def _apart(x: Tensor, other: Tensor, order: float) -> Tensor:
    """The distance, rounded up by more than float64 loses in it; 1 in the place of 0, where the gap is 0 as well."""
    distance = vector_norm((x.double() - other.double()).flatten(1), order, dim=1) * (1 + 1e-9)
    return torch.where(distance > 0, distance, 1.0)
