"""Attacks: they can show that a model is not robust, never that it is. Their success bounds VRA from above."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def pgd(
    network: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    norm: str = "l2",
    steps: int = 40,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Perturbed images in [0, 1] within `epsilon` of the given ones in the norm, chosen to make `network` err.

    Gradient ascent on the loss max over i != y of (f_i - f_y), in steps of 2.5 epsilon / `steps` along the gradient's
    `direction`, from a random point of the ball. An image that has succeeded stays as it is, and costs no more.
    Shapes: images [N, C, H, W] float32, labels [N].
    Source: Madry et al. 2018, arXiv 1706.06083, with the margin loss of Carlini & Wagner 2017.
    """
    reach = epsilon - 2**-24  # float32 rounds x + reach by less than that in [0, 1]
    lower, upper = (images - reach).clamp(0, 1), (images + reach).clamp(0, 1)

    def into_ball(rows: Tensor, points: Tensor) -> Tensor:
        """Of these rows. In l2 the nearest point on the segment to the image; clipping to [0, 1] shortens it only."""
        if norm == "linf":
            return points.clamp(lower[rows], upper[rows])
        offset = points - images[rows]
        return (images[rows] + offset * (epsilon / _length(offset).clamp(min=epsilon))).clamp(0, 1)

    if norm == "linf":
        start = reach * (2 * torch.rand(images.shape, generator=generator) - 1)
    else:
        start = torch.randn(images.shape, generator=generator)
        start = start * (epsilon / _length(start))
    rows = torch.arange(len(images))
    points = into_ball(rows, images + start)
    for _ in range(steps):
        point, wanted = points[rows].requires_grad_(True), labels[rows, None]
        logits = network(point)
        margin = logits.scatter(1, wanted, -torch.inf).amax(dim=1) - logits.gather(1, wanted)[:, 0]
        (gradient,) = torch.autograd.grad(margin.sum(), point)
        right = margin <= 0
        rows = rows[right]
        if not len(rows):
            break
        moved = point.detach()[right] + direction(gradient[right], norm) * (2.5 * epsilon / steps)
        points[rows] = into_ball(rows, moved)
    return points


def direction(gradients: Tensor, norm: str) -> Tensor:
    """The steepest directions of length 1 in the norm, for gradients [N, C, H, W]."""
    return gradients.sign() if norm == "linf" else gradients / _length(gradients).clamp(min=1e-30)


def _length(batch: Tensor) -> Tensor:
    return batch.flatten(1).norm(dim=1)[:, None, None, None]
