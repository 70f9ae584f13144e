"""Cross-entropies on logits that are raised as far as an attack could raise them: EMMA, the fixed margin, LMT."""

import torch
from torch import Tensor
from torch.nn import functional as F


def emma(logits: Tensor, labels: Tensor, margin_lipschitz: Tensor, epsilon: float, floor: float = 0.0) -> Tensor:
    """Cross-entropy with each wrong logit raised by what an attack of radius r_i <= epsilon can raise it.

    With m_i = K_ti: CE(y_i - y_t + r_i m_i, t), where r_i = clip((y_t - y_i) / (m_i epsilon), floor, 1) epsilon,
    detached: epsilon for a class against which the image is certified, for others just enough to reach the decision
    boundary, and `floor` epsilon for a class that already wins.

    Source: Hu et al. 2023 (LiResNet), arXiv 2301.12549, definition 3, floor 0. The authors' code has a floor of 0.01.
    """
    raised = margin_lipschitz[labels]
    margins = logits - logits.gather(1, labels[:, None])
    reach = (raised * epsilon).clamp_min(torch.finfo(logits.dtype).tiny)
    radii = (-margins / reach).clamp(floor, 1).detach() * epsilon
    return F.cross_entropy(margins + radii * raised, labels)


def fixed_margin(logits: Tensor, labels: Tensor, margin_lipschitz: Tensor, epsilon: float) -> Tensor:
    """CE(y_i + epsilon K_ti, t): each wrong logit raised by all that an attack at epsilon can raise it.

    Source: Hu et al. 2023 (LiResNet), arXiv 2301.12549, appendix A; their NeurIPS snapshot trains with it.
    """
    return F.cross_entropy(logits + epsilon * margin_lipschitz[labels], labels)


def lmt(logits: Tensor, labels: Tensor, margin_lipschitz: Tensor, epsilon: float, weight: float = 1.0) -> Tensor:
    """CE(y_i + weight epsilon max K for i != t): every wrong logit raised by the largest margin constant.

    Source: Tsuzuku, Sato, Sugiyama 2018 (Lipschitz-margin training), arXiv 1802.04034. Where we differ: they raise by
    sqrt(2) epsilon K, K the constant of all logits together, which is never less than the largest margin constant.
    """
    wrong = F.one_hot(labels, logits.shape[1]) == 0
    return F.cross_entropy(logits + weight * epsilon * margin_lipschitz.max() * wrong, labels)
