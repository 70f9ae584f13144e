"""Attacks: they can show that a model is not robust, never that it is. Their success bounds VRA from above.

Each search climbs a gradient inside [0, 1], and all but `farthest_apart` inside a ball around the image. Norms are "l2"
or "linf".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

Gap = Callable[[Tensor], Tensor]  # what an ascent climbs: points [N, C, H, W] to [N]


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
    In l2 the distance may be larger than `epsilon` by what float32 rounds; in l-infinity it is not.
    Shapes: images [N, C, H, W] float32, labels [N].
    Source: Madry et al. 2018, arXiv 1706.06083, with the margin loss of Carlini & Wagner 2017.
    """
    reach = epsilon - 2**-24 if norm == "linf" else epsilon  # float32 rounds x + reach by less than that in [0, 1]
    radius = torch.tensor(reach).reshape(1, 1, 1, 1)
    if norm == "linf":
        start = reach * (2 * torch.rand(images.shape, generator=generator) - 1)
    else:
        start = torch.randn(images.shape, generator=generator)
        start = start * (epsilon / _size(start, norm))
    rows = torch.arange(len(images))
    points = within(images, start, radius, norm)
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
        points[rows] = within(images[rows], moved - images[rows], radius, norm)
    return points


def apgd(gap: Gap, images: Tensor, reach: Tensor, norm: str, steps: int, generator: torch.Generator) -> Tensor:
    """Points of [0, 1] within `reach` [N] of the images, with the largest gap that was met on the way.

    Ascent with momentum from a random point of each ball. The step begins at twice the reach; at checkpoints it is
    halved, and the ascent goes back to its best point, where fewer than three quarters of the steps since the last
    one climbed, or neither step nor best point changed.
    Source: Croce & Hein 2020, arXiv 2003.01690, algorithm 1 (APGD).
    """
    reach = reach[:, None, None, None]
    noise = torch.randn(images.shape, generator=generator)
    x = within(images, noise * reach / _size(noise, norm), reach, norm)
    value, slope = _climb(gap, x)
    before, best, best_value, best_slope = x, x, value, slope
    step, climbed, checkpoint, interval = 2 * reach, torch.zeros(len(images)), 0, max(1, round(0.22 * steps))
    halved, improved = torch.zeros(len(images), dtype=torch.bool), best_value.clone()
    for count in range(1, steps + 1):
        straight = within(images, x + step * direction(slope, norm) - images, reach, norm)
        moved = straight if count == 1 else x + 0.75 * (straight - x) + 0.25 * (x - before)
        before, x, last = x, within(images, moved - images, reach, norm), value
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
        x = within(images, length * direction(slope, norm), length, norm)
        value, slope = _climb(gap, x)
        quotient = (value - start) / _size(x - images, norm).flatten().clamp(min=1e-30)
        better = quotient > best_quotient
        best, best_quotient = torch.where(better[:, None, None, None], x, best), torch.maximum(quotient, best_quotient)
    return best


def rising(gap: Gap, image: Tensor, sizes: Iterable[float], norm: str, steps: int) -> Iterator[Tensor]:
    """For each size, in turn, the point with the largest gap that `steps` steps of ascent meet within that size.

    The ascent for a size starts where that for the size before ended; the points lie in [0, 1] and at distances from
    the image that do not exceed the size in exact arithmetic. image [1, C, H, W], float32.
    """
    x = image
    _, slope = _climb(gap, x)
    for size in sizes:
        reach, best, kept = torch.full((1, 1, 1, 1), size * (1 - 1e-6)), -torch.inf, (x, slope)
        for step in range(steps):
            length = size * (1 if step == 0 else 2.5 / steps)
            x = within(image, x + length * direction(slope, norm) - image, reach, norm)
            value, slope = _climb(gap, x)
            if value > best:
                best, kept = value, (x, slope)
        x, slope = kept
        yield x


def farthest_apart(
    gap: Callable[[Tensor, Tensor], Tensor], images: Tensor, norm: str, steps: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """For each image two points of the box, with the largest gap over their distance that was met.

    At each step the difference of the points turns towards the gradient of their difference, and both move together up
    the gradient of their middle. Their distance shrinks from 1 to a thousandth: points far apart see more of the
    function, near ones its derivative. gap: of two points [N, C, H, W], as [N].
    """
    middle, apart = images, direction(torch.randn(images.shape, generator=generator), norm)
    best = torch.full((len(images),), -torch.inf)
    points = (images, images)
    for step in range(steps):
        distance = 1e-3 ** (step / max(1, steps - 1))
        x, other = ((middle + side * distance / 2 * apart).clamp(0, 1).requires_grad_(True) for side in (1, -1))
        value = gap(x, other)
        up, down = torch.autograd.grad(value.sum(), (x, other))
        with torch.no_grad():
            quotient = value / distances(x, other, norm).clamp(min=1e-30)
            better = quotient > best
            best = torch.where(better, quotient, best)
            chosen = better[:, None, None, None]
            points = torch.where(chosen, x, points[0]), torch.where(chosen, other, points[1])
            apart = direction(up - down, norm)
            middle = (middle + distance / 2 * direction(up + down, norm)).clamp(0, 1)
    return points


def distances(x: Tensor, other: Tensor, norm: str) -> Tensor:
    """The distances [N] of points in float64, rounded up by more than it loses."""
    return lengths(x.double() - other.double(), norm) * (1 + 1e-9)


def lengths(batch: Tensor, norm: str) -> Tensor:
    """The norms [N] of the rows of a batch [N, ...]."""
    return torch.linalg.vector_norm(batch.flatten(1), torch.inf if norm == "linf" else 2.0, dim=1)


def direction(gradients: Tensor, norm: str) -> Tensor:
    """The steepest directions of length 1 in the norm, for gradients [N, C, H, W]."""
    return gradients.sign() if norm == "linf" else gradients / _size(gradients, norm).clamp(min=1e-30)


def within(images: Tensor, offset: Tensor, reach: Tensor, norm: str) -> Tensor:
    """images + offset, pulled into the balls of this reach [N, 1, 1, 1] and into [0, 1]."""
    if norm == "linf":
        return (images + torch.maximum(torch.minimum(offset, reach), -reach)).clamp(0, 1)
    return (images + offset * (reach / torch.maximum(_size(offset, norm), reach).clamp(min=1e-30))).clamp(0, 1)


def _climb(gap: Gap, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_(True)
    value = gap(x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), slope


def _size(batch: Tensor, norm: str) -> Tensor:
    """`lengths` in a shape that divides the batch."""
    return lengths(batch, norm)[:, None, None, None]
