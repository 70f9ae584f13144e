"""Cross-entropy, and GloRo's losses, which add a class, bottom, for the inputs that are not certified."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def cross_entropy(logits: Tensor, labels: Tensor, margin_lipschitz: Tensor, epsilon: float) -> Tensor:
    """CE(y, t), whatever the margin constants and epsilon: the baseline that knows nothing of robustness."""
    return F.cross_entropy(logits, labels)


def gloro(logits: Tensor, labels: Tensor, margin_lipschitz: Tensor, epsilon: float) -> Tensor:
    """Cross-entropy over the classes and bottom, the class of inputs that are not certified at epsilon.

    Source: Leino, Wang, Fredrikson 2021 (GloRo), arXiv 2102.08452.
    """
    bottom = bottom_logit(logits, margin_lipschitz, epsilon)
    return F.cross_entropy(torch.cat([logits, bottom[:, None]], dim=1), labels)


def gloro_trades(
    logits: Tensor,
    labels: Tensor,
    margin_lipschitz: Tensor,
    epsilon: float,
    weight: float = 1.0,
    divergence: Literal["kl", "ce"] = "kl",
) -> Tensor:
    """CE(y, t) + weight D([softmax(y), 0], softmax([y, bottom])): a term for accuracy, and one for robustness.

    D is the divergence KL(p || q), or the cross-entropy -sum p log q, which adds the entropy of softmax(y). All logits
    but bottom are shared, so KL is log(1 + exp(bottom - logsumexp(y))), whatever the class.

    Source: Leino, Wang, Fredrikson 2021 (GloRo), arXiv 2102.08452: its TRADES variant. The gradient flows through
    softmax(y) too, as in the authors' code; CLL's copy detaches it.
    """
    bottom = bottom_logit(logits, margin_lipschitz, epsilon)
    robust = F.softplus(bottom - logits.logsumexp(dim=1))
    if divergence == "ce":
        robust = robust - (logits.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1)
    return F.cross_entropy(logits, labels) + weight * robust.mean()


def bottom_logit(logits: Tensor, margin_lipschitz: Tensor, epsilon: float) -> Tensor:
    """max over i != j of y_i + epsilon K_ij, j the prediction: at least y_j exactly where j is not certified. [N].

    Source: Leino, Wang, Fredrikson 2021 (GloRo), arXiv 2102.08452.
    """
    predictions = logits.argmax(dim=1)
    raised = logits + epsilon * margin_lipschitz[predictions]
    return raised.scatter(1, predictions[:, None], -torch.inf).amax(dim=1)
