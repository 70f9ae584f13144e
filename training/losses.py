"""Losses on logits and margin Lipschitz constants. Each is differentiable in both, so training pays for K.

Shapes throughout: logits [N, C], labels int64 [N], margin_lipschitz [C, C] with K_ij = K_ji and K_ii = 0, a scalar
result. `epsilon` is a radius in l2 over pixels of [0, 1].
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def emma(logits: Tensor, labels: Tensor, margin_lipschitz: Tensor, epsilon: float, floor: float = 0.0) -> Tensor:
    """Cross-entropy with each wrong logit raised by what an attack of its own, still adaptive radius can raise it.

    With m_i = K_ti and t the label: CE(y_i - y_t + r_i m_i, t), where r_i = clip((y_t - y_i) / (m_i epsilon),
    floor, 1) epsilon, without gradient: the whole epsilon for a class that is certified away, as much as reaches the
    decision boundary for the others, and `floor` epsilon for a class that already wins.

    Source: Hu et al. 2023 (LiResNet), arXiv 2301.12549, definition 3, floor 0. The
    authors' code has a floor of 0.01.
    """
    raised = margin_lipschitz[labels]
    margins = logits - logits.gather(1, labels[:, None])
    reach = (raised * epsilon).clamp_min(torch.finfo(logits.dtype).tiny)
    radii = (-margins / reach).clamp(floor, 1).detach() * epsilon
    return F.cross_entropy(margins + radii * raised, labels)


def gloro(logits: Tensor, labels: Tensor, margin_lipschitz: Tensor, epsilon: float) -> Tensor:
    """Cross-entropy over the classes and bottom, the class of inputs that are not certified at epsilon.

    Source: Leino, Wang, Fredrikson 2021 (GloRo), arXiv 2102.08452.
    """
    bottom = bottom_logit(logits, margin_lipschitz, epsilon)
    return F.cross_entropy(torch.cat([logits, bottom[:, None]], dim=1), labels)


def gloro_trades(
    logits: Tensor, labels: Tensor, margin_lipschitz: Tensor, epsilon: float, weight: float = 1.0
) -> Tensor:
    """CE(y, t) + weight KL([softmax(y), 0] || softmax([y, bottom])): accuracy, and apart from it robustness.

    All logits but bottom are shared, so the divergence is log(1 + exp(bottom - logsumexp(y))), whatever the class.

    Source: Leino, Wang, Fredrikson 2021 (GloRo), arXiv 2102.08452: its TRADES variant, with KL.
    """
    bottom = bottom_logit(logits, margin_lipschitz, epsilon)
    divergence = F.softplus(bottom - logits.logsumexp(dim=1)).mean()
    return F.cross_entropy(logits, labels) + weight * divergence


def bottom_logit(logits: Tensor, margin_lipschitz: Tensor, epsilon: float) -> Tensor:
    """max over i != j of y_i + epsilon K_ij, j the prediction: above y_j exactly where j is not certified. [N].

    Source: Leino, Wang, Fredrikson 2021 (GloRo), arXiv 2102.08452.
    """
    predictions = logits.argmax(dim=1)
    raised = logits + epsilon * margin_lipschitz[predictions]
    return raised.scatter(1, predictions[:, None], -torch.inf).amax(dim=1)
