"""Attacks: they can show that a model is not robust, never that it is. Their success bounds VRA from above."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def pgd_l2(
    network: Callable[[Tensor], Tensor],
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

    def move(rows: Tensor, point: Tensor, gradient: Tensor) -> Tensor:
        step = gradient / _norm(gradient).clamp(min=1e-30) * (2.5 * epsilon / steps)
        return _project(images[rows], point + step, epsilon)

    return _ascend(network, labels, point, move, steps)


def pgd_linf(
    network: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    steps: int = 40,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Perturbed images in [0, 1] within `epsilon` of the given ones in l-infinity, chosen to make `network` err.

    As `pgd_l2`, along the sign of the gradient. Shapes: images [N, C, H, W] float32, labels [N].
    Source: Madry et al. 2018, arXiv 1706.06083, with the margin loss of Carlini & Wagner 2017.
    """
    reach = epsilon - 2**-24  # float32 rounds x + reach by less than that in [0, 1]
    lower, upper = (images - reach).clamp(0, 1), (images + reach).clamp(0, 1)
    start = images + reach * (2 * torch.rand(images.shape, generator=generator) - 1)

    def move(rows: Tensor, point: Tensor, gradient: Tensor) -> Tensor:
        return (point + gradient.sign() * (2.5 * epsilon / steps)).clamp(lower[rows], upper[rows])

    return _ascend(network, labels, start.clamp(lower, upper), move, steps)


def _ascend(
    network: Callable[[Tensor], Tensor],
    labels: Tensor,
    points: Tensor,
    move: Callable[[Tensor, Tensor, Tensor], Tensor],
    steps: int,
) -> Tensor:
    """The points after `steps` moves along the gradient of the margin; one that has succeeded stays, and costs no more.

    move: new points for the images of these rows, from their points and gradients.
    """
    rows = torch.arange(len(points))
    for _ in range(steps):
        point, wanted = points[rows].requires_grad_(True), labels[rows, None]
        logits = network(point)
        margin = logits.scatter(1, wanted, -torch.inf).amax(dim=1) - logits.gather(1, wanted)[:, 0]
        (gradient,) = torch.autograd.grad(margin.sum(), point)
        right = margin <= 0
        rows = rows[right]
        if not len(rows):
            break
        points[rows] = move(rows, point.detach()[right], gradient[right])
    return points


def _project(centre: Tensor, point: Tensor, epsilon: float) -> Tensor:
    """The nearest point on the segment to the centre that lies in its ball; clipping to [0, 1] shortens it only."""
    offset = point - centre
    return (centre + offset * (epsilon / _norm(offset).clamp(min=epsilon))).clamp(0, 1)


def _norm(batch: Tensor) -> Tensor:
    return batch.flatten(1).norm(dim=1)[:, None, None, None]
