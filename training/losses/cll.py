"""The calibrated Lipschitz-margin loss, CLL: logistic in the distance to the boundary, its width set by epsilon and p.

Losch, Stutz, Schiele, Fritz 2023, "Certified robust models with slack control and large Lipschitz constants",
arXiv 2309.06166, equations (3) to (5).

The slack p is here that of the authors' code, tables and figures: the probability of both tails of the logistic
together. Equation (5) writes the probability of one tail; `published_p` converts. The tables' own numbers tell that
they mean both tails: the largest constant of loss and network together, which is 1 / sigma, is 11.6 there for epsilon
0.15 and p 0.3, 10.6 for 0.5 and 0.01, and 4.4 for 1.0 and 0.025.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def calibrated_scale(epsilon: float, p: float) -> float:
    """sigma = 2 epsilon / (logit(1 - p / 2) - logit(p / 2)): the logistic with p / 2 beyond either margin's edge.

    Source: CLL, equation (5), where p stands for our p / 2. Raises ValueError unless epsilon > 0 and 0 < p < 1.
    """
    if not (epsilon > 0 and 0 < p < 1):
        raise ValueError(f"CLL needs epsilon above 0 and p between 0 and 1, got {epsilon} and {p}")
    return epsilon / math.log((2 - p) / p)


def published_p(tail: float) -> float:
    """The p that the authors' code, tables and these functions use, from the p of equation (5)."""
    return 2 * tail


def cll(
    logits: Tensor,
    labels: Tensor,
    margin_lipschitz: Tensor,
    epsilon: float,
    p: float,
    weight: float = 0.0,
    scale: float = 1.0,
    one_sided: bool = False,
) -> Tensor:
    """CE(z, t) + weight max(K)^2 with z_j = ((y_j - y_t) / (scale K_tj) + epsilon) / sigma(p), z_t = -epsilon / sigma.

    K is detached in the first term, which measures distances in the input; only the second term reduces K. `one_sided`
    leaves z_t at 0. With two classes and `one_sided` this is `cll_binary`.

    Source: CLL, the authors' code, as no text gives the form for more than two classes; `scale` is its K_scale, which
    the Tiny-ImageNet runs raise from 0.01 to 1. Where we differ from its versions for CPL, SLL and SOC: the second term
    has the largest K of all pairs of classes, not of those with the batch's labels.
    """
    sigma = calibrated_scale(epsilon, p)
    target = F.one_hot(labels, logits.shape[1]).bool()
    margins = logits - logits.gather(1, labels[:, None])
    reach = _positive(scale * margin_lipschitz.detach()[labels])
    distances = torch.where(target, 0.0, margins / reach)
    offsets = torch.where(target, 0.0 if one_sided else -epsilon, epsilon)
    return F.cross_entropy((distances + offsets) / sigma, labels) + weight * margin_lipschitz.max().square()


def cll_binary(
    logits: Tensor, labels: Tensor, margin_lipschitz: Tensor, epsilon: float, p: float, weight: float = 0.0
) -> Tensor:
    """log(1 + exp((epsilon - s f / K) / sigma(p))) + weight K^2, f = y_1 - y_0 and s = +1 for label 1, -1 for label 0.

    Two classes: logits [N, 2]. K is detached in the first term.

    Source: CLL, equations (3) and (4).
    """
    constant = margin_lipschitz[0, 1]
    distances = (logits[:, 1] - logits[:, 0]) / _positive(constant.detach())
    signs = 2 * labels - 1
    loss = F.softplus((epsilon - signs * distances) / calibrated_scale(epsilon, p)).mean()
    return loss + weight * constant.square()


def _positive(constants: Tensor) -> Tensor:
    """The constants, those near 0 replaced by a number that can be divided by."""
    return constants.clamp_min(torch.finfo(constants.dtype).eps)
