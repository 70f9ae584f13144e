"""Losses for networks that are 1-Lipschitz by construction: SLL's and AOL's, CPL's, that of l-infinity distance nets.

The first two are written in units of a network whose every margin constant is sqrt(2), as it is where the logits are
the first features of an orthogonal body. Other heads are brought to that unit by their margin constants.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def offset_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    margin_lipschitz: Tensor,
    epsilon: float,
    offset: float = 1.5 * math.sqrt(2),
    temperature: float = 0.25,
) -> Tensor:
    """temperature CE((s - offset onehot(t)) / temperature, t), s_i = sqrt(2) (y_i - y_t) / K_ti: SLL's and AOL's loss.

    An image costs little once its certified radius is offset / sqrt(2), so epsilon is not used. With all K_ij equal to
    sqrt(2), s is y up to a shift, and this is the papers' loss.

    Source: Araujo et al. 2023 (SLL), arXiv 2303.03169, offset 3 / sqrt(2); Prach, Lampert 2022 (AOL), arXiv 2208.03160,
    offset sqrt(2); both with temperature 1 / 4. Where we differ: s for heads with other constants.
    """
    margins = _unit_margins(logits, labels, margin_lipschitz)
    shifted = margins - offset * F.one_hot(labels, logits.shape[1]).to(margins)
    return temperature * F.cross_entropy(shifted / temperature, labels)


def multi_margin(
    logits: Tensor, labels: Tensor, margin_lipschitz: Tensor, epsilon: float, margin: float = 0.7
) -> Tensor:
    """mean over the images of (1 / C) sum over i != t of max(0, margin + s_i), s_i = sqrt(2) (y_i - y_t) / K_ti.

    An image costs nothing once its certified radius is margin / sqrt(2), so epsilon is not used.

    Source: Meunier et al. 2022 (CPL), arXiv 2110.12690, margin 0.7. Where we differ: s for heads whose constants are
    not sqrt(2).
    """
    return F.multi_margin_loss(_unit_margins(logits, labels, margin_lipschitz), labels, margin=margin)


def clipped_hinge(
    logits: Tensor,
    labels: Tensor,
    margin_lipschitz: Tensor,
    epsilon: float,
    threshold: float,
    weight: float,
    scale: Tensor | float = 1.0,
) -> Tensor:
    """mean of clip(1 + max over i != t of (y_i - y_t) / threshold, 0, 1) + weight CE(scale y, t).

    For l-infinity distance nets, whose logits are 1-Lipschitz each: the first term is 0 where the certified radius
    reaches threshold / 2 and 1, without gradient, where the image is wrong. `scale` is learned (`Recipe.learned`),
    `weight` decays. Neither margin_lipschitz nor epsilon is used.

    Source: Zhang, Jiang, He, Wang 2022, arXiv 2110.06850, equation (7). Where we differ from its letter: it divides by
    2 theta, but the thetas of its table 3 are the authors' code's thresholds, which divide as here.
    """
    margins = logits - logits.gather(1, labels[:, None])
    best = margins.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
    return (1 + best / threshold).clamp(0, 1).mean() + weight * F.cross_entropy(scale * logits, labels)


def _unit_margins(logits: Tensor, labels: Tensor, margin_lipschitz: Tensor) -> Tensor:
    """sqrt(2) (y_i - y_t) / K_ti, and 0 for the label itself. [N, C]."""
    constants = margin_lipschitz[labels].clamp_min(torch.finfo(logits.dtype).eps)
    margins = math.sqrt(2) * (logits - logits.gather(1, labels[:, None])) / constants
    return margins.scatter(1, labels[:, None], 0.0)
