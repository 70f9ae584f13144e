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
        """The points of these rows moved into their balls, in l2 along the segment to the image; then into [0, 1]."""
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


Gap = Callable[[Tensor], Tensor]  # what an ascent climbs: points [N, C, H, W] to [N]


def apgd(gap: Gap, images: Tensor, reach: Tensor, norm: str, steps: int, generator: torch.Generator) -> Tensor:
    """Points of [0, 1] within `reach` [N] of the images, with the largest gap that was met on the way.

    Ascent with momentum from a random point of each ball. The step begins at twice the reach; at checkpoints it is
    halved, and the ascent goes back to its best point, where fewer than three quarters of the steps since the last
    one climbed, or neither step nor best point changed.
    Source: Croce & Hein 2020, arXiv 2003.01690, algorithm 1 (APGD).
    """
    reach = reach[:, None, None, None]
    noise = torch.randn(images.shape, generator=generator)
    x = _within(images, noise * reach / _size(noise, norm), reach, norm)
    value, slope = _climb(gap, x)
    before, best, best_value, best_slope = x, x, value, slope
    step, climbed, checkpoint, interval = 2 * reach, torch.zeros(len(images)), 0, max(1, round(0.22 * steps))
    halved, improved = torch.zeros(len(images), dtype=torch.bool), best_value.clone()
    for count in range(1, steps + 1):
        straight = _within(images, x + step * direction(slope, norm) - images, reach, norm)
        moved = straight if count == 1 else x + 0.75 * (straight - x) + 0.25 * (x - before)
        before, x, last = x, _within(images, moved - images, reach, norm), value
        value, slope = _climb(gap, x)
        climbed += value > last
        better = (value > best_value)[:, None, None, None]
        best, best_slope = torch.where(better, x, best), torch.where(better, slope, best_slope)
        best_value = torch.maximum(value, best_value)
        if count - checkpoint == interval:
            stuck = ~halved & (best_value <= improved)
            halved = (climbed < 0.75 * interval) | stuck
            back = halved[:, None, None, None]
            step = torch.where(back, step / 2, step)
            x, before, slope = (
                torch.where(back, best, x),
                torch.where(back, best, before),
                torch.where(back, best_slope, slope),
            )
            value, climbed, improved = (
                torch.where(halved, best_value, value),
                torch.zeros(len(images)),
                best_value.clone(),
            )
            checkpoint, interval = count, max(1, interval - max(1, round(0.03 * steps)), round(0.06 * steps))
    return best


def steepest(gap: Gap, images: Tensor, reach: Tensor, norm: str, steps: int) -> Tensor:
    """Points of [0, 1] within `reach` [N] of the images, with the largest rise of the gap over the distance.

    Each step goes from the image along the gradient at the step before's end, as in power iteration, over a distance
    that falls from the reach to a hundredth of it: far ends see more of the network, near ones its derivative.
    """
    reach = reach[:, None, None, None]
    start, slope = _climb(gap, images)
    best, best_quotient = images, torch.zeros(len(images))
    for step in range(steps):
        length = reach * 0.01 ** (step / max(1, steps - 1))
        x = _within(images, length * direction(slope, norm), length, norm)
        value, slope = _climb(gap, x)
        quotient = (value - start) / _size(x - images, norm).flatten().clamp(min=1e-30)
        better = quotient > best_quotient
        best, best_quotient = torch.where(better[:, None, None, None], x, best), torch.maximum(quotient, best_quotient)
    return best


def _climb(gap: Gap, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_(True)
    value = gap(x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), slope


def _size(offset: Tensor, norm: str) -> Tensor:
    return offset.abs().amax(dim=(1, 2, 3), keepdim=True) if norm == "linf" else _length(offset)


def _within(images: Tensor, offset: Tensor, reach: Tensor, norm: str) -> Tensor:
    """images + offset, pulled into the balls of this reach [N, 1, 1, 1] and into [0, 1]."""
    if norm == "linf":
        return (images + torch.maximum(torch.minimum(offset, reach), -reach)).clamp(0, 1)
    return (images + offset * (reach / torch.maximum(_length(offset), reach).clamp(min=1e-30))).clamp(0, 1)
