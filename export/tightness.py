"""How tight a certificate is: the largest difference that a search finds between two points, over what is allowed.

What is found is a lower bound of the true constant, so the ratio never exceeds 1. How far below 1 it stays shows the
bound's slack and the search's weakness together.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.attacks import distances, farthest_apart, lengths
from zoo.certificate.model import CertifiedModel, cast_network
from zoo.records import Certificate

PAIRS = 45  # pairs of classes: all pairs of ten classes, drawn at random from more


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
    norm, rows = certificate.norm, torch.arange(len(first))

    def margins(logits: Tensor) -> Tensor:
        return logits[rows, first] - logits[rows, second]

    def features_apart(x: Tensor, other: Tensor) -> Tensor:
        return lengths(body(x) - body(other), norm)

    def margins_apart(x: Tensor, other: Tensor) -> Tensor:
        return margins(network(x)) - margins(network(other))

    found = torch.zeros(len(first), dtype=torch.float64)
    for image in images:
        x, other = farthest_apart(margins_apart, image.expand(len(first), -1, -1, -1), norm, steps, generator)
        with torch.no_grad():
            gap = margins(model(x).logits) - margins(model(other).logits) - model.slack[first, second]
        found = torch.maximum(
            found, gap / distances(x, other, norm).clamp(min=1e-30) / model.margin_lipschitz[first, second]
        )
    x, other = farthest_apart(features_apart, images, norm, steps, generator)
    with torch.no_grad():
        exact = cast_network(body, torch.float64)
        features = [exact(point.double()) for point in (x, other)]
        gap = lengths(features[0] - features[1], norm) - 2 * certificate.feature_error
    whole = gap / distances(x, other, norm).clamp(min=1e-30) / certificate.body_lipschitz
    return {
        "body": max(0.0, float(whole.max())),
        "margin, tightest pair": float(found.max()),
        "margin, mean": float(found.mean()),
    }
