"""Attacks: they can show that a model is not robust, never that it is. Their success bounds VRA from above."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def pgd_l2(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    steps: int = 40,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Perturbed images in [0, 1] within `epsilon` of the given ones in l2, chosen to make `network` err.

    Gradient ascent on the loss max over i != y of (f_i - f_y), steps of 2.5 epsilon / `steps` along the normalised
    gradient, from a random point of the ball; each image keeps its first success, else its last point.
    Shapes: images [N, C, H, W] float32, labels [N].
    Source: Madry et al. 2018, arXiv 1706.06083, in l2, with the margin loss of Carlini & Wagner 2017.
    """
    start = torch.randn(images.shape, generator=generator)
    point = _project(images, images + start * (epsilon / _norm(start)), epsilon)
    for _ in range(steps):
        point.requires_grad_(True)
        logits = network(point)
        margin = logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1) - logits.gather(1, labels[:, None])[:, 0]
        (gradient,) = torch.autograd.grad(margin.sum(), point)
        with torch.no_grad():
            step = gradient / _norm(gradient).clamp(min=1e-30) * (2.5 * epsilon / steps)
            moved = _project(images, point + step, epsilon)
            point = torch.where((margin > 0)[:, None, None, None], point, moved).detach()
    return point.detach()


def _project(centre: Tensor, point: Tensor, epsilon: float) -> Tensor:
    """The nearest point on the segment to the centre that lies in its ball; clipping to [0, 1] shortens it only."""
    offset = point - centre
    return (centre + offset * (epsilon / _norm(offset).clamp(min=epsilon))).clamp(0, 1)


def _norm(batch: Tensor) -> Tensor:
    return batch.flatten(1).norm(dim=1)[:, None, None, None]
