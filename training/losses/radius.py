"""Losses that reward the certified radius of the images that are right: CRM and SOC's certificate regularisation."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def crm(
    logits: Tensor,
    labels: Tensor,
    margin_lipschitz: Tensor,
    epsilon: float,
    sharpness: float,
    cap: float,
    weight: float,
    surrogate: Literal["soft", "exponential"] = "soft",
) -> Tensor:
    """CE(y, t) + weight mean(g(R) for images that are right with R < cap, 0 for others): certified radii pushed to cap.

    R = min over i of R_i = (y_t - y_i) / K_ti. The soft surrogate g is minus the soft minimum of the radii,
    (1 / sharpness) log sum exp(-sharpness R_i); the exponential one is (1 / sharpness) exp(-sharpness R). Whether an
    image counts has no gradient, so the soft loss jumps where R passes cap, by about weight cap / N. epsilon is not
    used: `cap` is the radius that is enough.

    Source: Fazlyab et al. 2023 (CRM), arXiv 2310.00116, equations (6) and (8): sharpness is t, cap is R_0.
    """
    radii = _radii(logits, labels, margin_lipschitz)
    least = radii.amin(dim=1)
    if surrogate == "soft":
        reward = (-sharpness * radii).logsumexp(dim=1) / sharpness
    else:
        reward = (-sharpness * least.clamp_min(0)).exp() / sharpness  # finite also for images that do not count
    counted = (least > 0) & (least < cap)
    return F.cross_entropy(logits, labels) + weight * torch.where(counted, reward, 0.0).mean()


def certificate_regularised(
    logits: Tensor, labels: Tensor, margin_lipschitz: Tensor, epsilon: float, weight: float = 0.1
) -> Tensor:
    """CE(y, t) - weight mean(max(R, 0)), R = min over i != t of (y_t - y_i) / K_ti; epsilon is not used.

    Source: Singla, Singla, Feizi 2022 ("Improved deterministic l2 robustness"), arXiv 2108.04062, for heads of
    normalised rows; earlier work had sqrt(2) times the network's constant for every K_ti.
    """
    radii = _radii(logits, labels, margin_lipschitz)
    return F.cross_entropy(logits, labels) - weight * radii.amin(dim=1).clamp_min(0).mean()


def _radii(logits: Tensor, labels: Tensor, margin_lipschitz: Tensor) -> Tensor:
    """(y_t - y_i) / K_ti, the distance to each other class's boundary; infinity for the label itself. [N, C]."""
    constants = margin_lipschitz[labels].clamp_min(torch.finfo(logits.dtype).eps)
    radii = (logits.gather(1, labels[:, None]) - logits) / constants
    return radii.scatter(1, labels[:, None], torch.inf)
