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
    return F.cross_entropy(_raised(logits, labels, margin_lipschitz, epsilon, floor), labels)


def logit_annealing(
    logits: Tensor,
    labels: Tensor,
    margin_lipschitz: Tensor,
    epsilon: float,
    offset: float = 2.0,
    temperature: float = 0.75,
    power: float = 5.0,
) -> Tensor:
    """temperature (1 - p_t)^power CE(z, t), z = (s - offset onehot(t)) / temperature, s EMMA's logits, p = softmax(z).

    The factor falls to 0 for images whose margin is large already, and leaves the network's capacity to the others.

    Source: Lai, Huang, Kung, Chen 2025 (BRONet), arXiv 2505.15174, the LA loss, with the authors' code for the raised
    logits and the defaults.
    """
    raised = _raised(logits, labels, margin_lipschitz, epsilon, floor=0.0)
    shifted = (raised - offset * F.one_hot(labels, logits.shape[1]).to(raised)) / temperature
    losses = F.cross_entropy(shifted, labels, reduction="none")
    return temperature * ((1 - (-losses).exp()) ** power * losses).mean()


def fixed_margin(logits: Tensor, labels: Tensor, margin_lipschitz: Tensor, epsilon: float) -> Tensor:
    """CE(y_i + epsilon K_ti, t): each wrong logit raised by all that an attack at epsilon can raise it.

    Source: Hu et al. 2023 (LiResNet), arXiv 2301.12549, appendix A; their NeurIPS snapshot trains with it.
    """
    return F.cross_entropy(logits + epsilon * margin_lipschitz[labels], labels)


def mixed_margin(
    logits: Tensor, labels: Tensor, margin_lipschitz: Tensor, epsilon: float, natural: float = 0.5
) -> Tensor:
    """natural CE(y, t) + (1 - natural) CE(y_i + epsilon K_ti, t): IBP's loss where K is that of each image's box.

    Source: Gowal et al. 2018 (IBP), arXiv 1810.12715; natural is its kappa, from 1 to 1/2. CROWN-IBP has the same.
    """
    worst = logits + epsilon * image_constants(margin_lipschitz, labels)
    return natural * F.cross_entropy(logits, labels) + (1 - natural) * F.cross_entropy(worst, labels)


def image_constants(margin_lipschitz: Tensor, labels: Tensor) -> Tensor:
    """K_ti of each image: the rows of a table [C, C], or those of constants of the images themselves, [N, 1, C]."""
    return margin_lipschitz[labels] if margin_lipschitz.ndim == 2 else margin_lipschitz[:, 0]


def lmt(logits: Tensor, labels: Tensor, margin_lipschitz: Tensor, epsilon: float, weight: float = 1.0) -> Tensor:
    """CE(y_i + weight epsilon max K for i != t): every wrong logit raised by the largest margin constant.

    Source: Tsuzuku, Sato, Sugiyama 2018 (Lipschitz-margin training), arXiv 1802.04034. Where we differ: they raise by
    sqrt(2) epsilon K, K the constant of all logits together, which is never less than the largest margin constant.
    """
    wrong = F.one_hot(labels, logits.shape[1]) == 0
    return F.cross_entropy(logits + weight * epsilon * margin_lipschitz.max() * wrong, labels)


def _raised(logits: Tensor, labels: Tensor, margin_lipschitz: Tensor, epsilon: float, floor: float) -> Tensor:
    """EMMA's logits y_i - y_t + r_i m_i. [N, C]."""
    raised = margin_lipschitz[labels]
    margins = logits - logits.gather(1, labels[:, None])
    reach = (raised * epsilon).clamp_min(torch.finfo(logits.dtype).tiny)
    radii = (-margins / reach).clamp(floor, 1).detach() * epsilon
    return margins + radii * raised
