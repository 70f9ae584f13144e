"""The papers that more than one architecture or loss cites, and in `LOSSES` the paper of each loss.

The paper of a network is its class's `citation` (`zoo.architectures`).
"""

from __future__ import annotations

GLORO = "Leino, Wang, Fredrikson 2021, Globally-robust neural networks, arXiv 2102.08452"
CLL = (
    "Losch, Stutz, Schiele, Fritz 2023, Certified robust models with slack control and large Lipschitz constants, "
    "arXiv 2309.06166"
)
HU = (
    "Hu, Zou, Wang, Leino, Fredrikson 2023, Unlocking deterministic robustness certification on ImageNet, "
    "arXiv 2301.12549"
)
CRM = (
    "Fazlyab, Entesari, Roy, Chellappa 2023, Certified robustness via dynamic margin maximization and improved "
    "Lipschitz regularization, arXiv 2310.00116"
)
HOUSEHOLDER = (
    "Singla, Singla, Feizi 2022, Improved deterministic l2 robustness on CIFAR-10 and CIFAR-100, arXiv 2108.04062"
)
CPL = (
    "Meunier, Delattre, Araujo, Allauzen 2022, A dynamical system perspective for Lipschitz neural networks, "
    "arXiv 2110.12690"
)
SLL = (
    "Araujo, Havens, Delattre, Allauzen, Hu 2023, A unified algebraic perspective on Lipschitz neural networks, "
    "arXiv 2303.03169"
)
CAYLEY = "Trockman, Kolter 2021, Orthogonalizing convolutional layers with the Cayley transform, arXiv 2104.07167"
LOT = "Xu, Li, Li 2022, LOT: Layer-wise orthogonal training on improving l2 certified robustness, arXiv 2210.11620"
BRO = (
    "Lai, Huang, Kung, Chen 2025, Enhancing certified robustness via block reflector orthogonal layers and logit "
    "annealing loss, arXiv 2505.15174"
)
LBDN = "Wang, Manchester 2023, Direct parameterization of Lipschitz-bounded deep networks, arXiv 2301.11526"
DISTANCE = (
    "Zhang, Jiang, He, Wang 2022, Boosting the certified robustness of l-infinity distance nets, arXiv 2110.06850"
)
SORTNET = (
    "Zhang, Jiang, He, Wang 2022, Rethinking Lipschitz neural networks and certified robustness: a Boolean function "
    "perspective, arXiv 2210.01787"
)
AOL = "Prach, Lampert 2022, Almost-orthogonal layers for efficient general-purpose Lipschitz networks, arXiv 2208.03160"
BCOP = (
    "Li, Haque, Anil, Lucas, Grosse, Jacobsen 2019, Preventing gradient attenuation in Lipschitz constrained "
    "convolutional networks, arXiv 1911.00937"
)
AOC = (
    "Boissin, Mamalet, Fel, Picard, Massena, Serrurier 2025, An adaptive orthogonal convolution scheme for efficient "
    "and flexible CNN architectures, arXiv 2501.07930"
)
IBP = (
    "Gowal et al. 2018, On the effectiveness of interval bound propagation for training verifiably robust models, "
    "arXiv 1810.12715"
)
LIRESNETPP = "Hu, Leino, Wang, Fredrikson 2024, A recipe for improved certifiable robustness, arXiv 2310.02513"
LMT = (
    "Tsuzuku, Sato, Sugiyama 2018, Lipschitz-margin training: scalable certification of perturbation invariance for "
    "deep neural networks, arXiv 1802.04034"
)
LOSSES = {
    **dict.fromkeys(("gloro", "gloro_trades"), GLORO),
    "cll": CLL,
    **dict.fromkeys(("emma", "fixed_margin"), HU),
    "lmt": LMT,
    "mixed_margin": IBP,
    "logit_annealing": BRO,
    "crm": CRM,
    "certificate_regularised": HOUSEHOLDER,
    "multi_margin": CPL,
    "offset_cross_entropy": SLL,
    "clipped_hinge": DISTANCE,
}
