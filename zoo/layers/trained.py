"""Layers with weights of their own, and the residual block."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DIFFERENCES = 2**18  # the most differences x_i - w_ji of one image that a distance layer holds at a time


class Residual(nn.Module):
    """skip(x) + branch(x): the residual block, whose branch is any sequence of layers.

    Without a skip, the conventional block x + branch(x). Residual(W, nn.ReLU(), G, skip=H) is the layer
    H x + G relu(W x + b) of Fazlyab et al. 2023 (CRM, LipLT), equations (10) and (17), here with biases.

    Shapes: [N, ...] to the branch's and the skip's common one; without a skip the branch keeps that of its input.
    """

    def __init__(self, *branch: nn.Module, skip: nn.Module | None = None):
        super().__init__()
        self.branch = nn.Sequential(*branch)
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        return (x if self.skip is None else self.skip(x)) + self.branch(x)


class ConvexPotential(nn.Module):
    """x - W^T diag(t) relu(W x + b): a step down the gradient of a convex function; 1-Lipschitz while t |W|^2 <= 2.

    W is a zero-padded convolution of odd kernel, or a matrix where `kernel` is None. The steps t >= 0 are a buffer, at
    first 2; the bound is computed from the stored W and t, however training set them.

    The sqrt(rho)-Lipschitz layer of Fazlyab et al. 2023 (CRM, LipLT), Proposition 3.1, is sqrt(rho) times this one with
    t = T / rho. Scaling commutes with relu: a factor c in front of the layer can stand behind it, where the biases are
    divided by c. So all factors of a network can move into its head, and this class serves for their layer as well.

    Shapes: [N, C, H, W] to the same with weight [hidden, C, k, k]; [N, C] to the same with weight [hidden, C].
    Source: Meunier, Delattre, Araujo, Allauzen 2022 (CPL), arXiv 2110.12690; Araujo et al. 2023 (SLL), arXiv
    2303.03169.
    """

    step: Tensor

    def __init__(self, channels: int, hidden: int, kernel: int | None = None):
        super().__init__()
        if kernel is not None and kernel % 2 == 0:
            raise ValueError(f"the kernel must be odd, got {kernel}")
        taps = () if kernel is None else (kernel, kernel)
        self.weight = nn.Parameter(torch.empty(hidden, channels, *taps))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.register_buffer("step", torch.full((hidden,), 2.0))
        nn.init.orthogonal_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        if weight.ndim == 2:
            return x - F.linear(F.relu(F.linear(x, weight, self.bias)) * self.step, weight.T)
        padding = weight.shape[2] // 2
        hidden = F.relu(F.conv2d(x, weight, self.bias, padding=padding)) * self.step[:, None, None]
        return x - F.conv2d(hidden, weight.flip(2, 3).transpose(0, 1), padding=padding)  # the adjoint

    def extra_repr(self) -> str:
        return str(list(self.weight.shape))


class ConvExponential(nn.Module):
    """S(A) x + b with S(A) = sum of A^i / i! up to i = terms, for a skew zero-padded convolution A: nearly orthogonal.

    A is skew, A^T = -A, exactly where weight[o, i, r, c] = -weight[i, o, -r, -c] for the numbers stored.

    Shapes: [N, C, H, W] to the same; weight [C, C, k, k], k odd.
    Source: Singla, Feizi 2021 (SOC), arXiv 2105.11417. Where we differ: 12 terms in training as well (they: 5).
    """

    def __init__(self, channels: int, kernel: int, terms: int = 12):
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"the kernel must be odd, got {kernel}")
        self.weight = nn.Parameter(torch.zeros(channels, channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.terms = terms

    def forward(self, x: Tensor) -> Tensor:
        term = total = x
        for power in range(1, self.terms + 1):
            term = F.conv2d(term, self.weight, padding=self.weight.shape[2] // 2) / power
            total = total + term
        return total + self.bias[:, None, None]

    def extra_repr(self) -> str:
        return f"{list(self.weight.shape)}, terms={self.terms}"


class Householder(nn.Module):
    """Each pair z of channels c and c + C/2 becomes z - v min(v.z, 0), v of length sqrt(2): a reflection where v.z < 0.

    In this form it is continuous, and 1-Lipschitz while |v|^2 <= 2, for every stored v; a table of cosines and sines
    would jump by its rounding where v.z = 0. With t the angle of Singla et al., v = sqrt(2) (-sin(t / 2), cos(t / 2)).

    Shapes: [N, C, ...] to the same, C even; weight [2, C / 2].
    Source: Singla, Singla, Feizi 2022, "Improved deterministic l2 robustness", arXiv 2108.04062, HH activation.
    """

    def __init__(self, channels: int):
        super().__init__()
        # Length sqrt(2), at their initial angle t = pi / 2.
        self.weight = nn.Parameter(torch.tensor([[-1.0], [1.0]]).repeat(1, channels // 2))

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=1)
        one, other = self.weight.reshape(2, -1, *[1] * (x.ndim - 2))
        below = torch.clamp(one * first + other * second, max=0)
        return torch.cat([first - one * below, second - other * below], dim=1)

    def extra_repr(self) -> str:
        return str(2 * self.weight.shape[1])


class TokenLinear(nn.Module):
    """One matrix over the cells of a map, the same for every channel, and a bias for each cell: spatial mixing.

    Shapes: [N, C, H, W] to the same; weight [H W, H W], bias [H W].
    Source: Touvron et al. 2021 (ResMLP), arXiv 2105.03404, as Hu et al. 2023 use it, arXiv 2301.12549, appendix I.
    """

    def __init__(self, tokens: int):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(tokens))
        self.bias = nn.Parameter(torch.zeros(tokens))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.flatten(2), self.weight, self.bias).reshape(x.shape)

    def extra_repr(self) -> str:
        return str(len(self.weight))


class PositionOffset(nn.Module):
    """A learned number for each cell, added to all channels: 1-Lipschitz.

    Shapes: [N, C, rows, columns] to the same; weight [rows, columns].
    Source: Hu, Hu, Fredrikson 2026 (LipNeXt), arXiv 2601.18513.
    """

    def __init__(self, rows: int, columns: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(rows, columns))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}"


class SelfAttention(nn.Module):
    """y_i = (m + sum over j of (q_i . k_j) v_j / T) / 4 on T tokens, m the mean of v: attention without a softmax.

    A map's cells are its tokens. Each is first projected onto the unit ball, p = x / max(1, |x|), where transformers
    normalise; then q = Q p, k = K p, v = V p are cut into `heads` equal parts, and each head attends by itself: to
    token j with the weight (1 + q_i . k_j) / T, the first two terms of exp(q_i . k_j) / T. At |Q|, |K|, |V| <= 1 no
    weight is negative, and the division by 4 makes the layer 1-Lipschitz (see `zoo.bounds.attention`).

    Shapes: [N, C, H, W] to the same, `heads` divides C; query, key, value [C, C].
    Source: our own definition, with only + * / and sqrt, for the OLSA that Hu et al. 2023 name, arXiv 2301.12549,
    appendix I. Of Xu et al., whom they cite, only an abstract is public: orthogonal matrices, and a softmax.
    """

    def __init__(self, channels: int, heads: int):
        super().__init__()
        if heads < 1 or channels % heads:
            raise ValueError(f"{channels} channels cannot be cut into {heads} equal heads")
        self.heads = heads
        self.query, self.key, self.value = (
            nn.Parameter(nn.init.orthogonal_(torch.empty(channels, channels))) for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2)
        tokens = tokens / tokens.abs().amax(dim=1, keepdim=True).clamp(min=1)  # so that no square overflows
        tokens = tokens / (tokens * tokens).sum(dim=1, keepdim=True).clamp(min=1).sqrt()
        query, key, value = (
            torch.matmul(weight, tokens).unflatten(1, (self.heads, -1)) for weight in (self.query, self.key, self.value)
        )  # [N, heads, C / heads, T]
        count = tokens.shape[2]
        context = torch.matmul(value, key.transpose(2, 3)) / count
        mixed = value.sum(dim=3, keepdim=True) / count + torch.matmul(context, query)
        return mixed.flatten(1, 2).reshape(x.shape) / 4

    def extra_repr(self) -> str:
        return f"{len(self.query)}, heads={self.heads}"


class LInfDistance(nn.Module):
    """u_j = b_j + max over i of |x_i - w_ji|: 1-Lipschitz in l-infinity.

    The distance is that of l-infinity exactly, whatever exponent p the weights were trained with. Each output is one
    rounded difference and one rounded sum: no error accumulates.

    Shapes: [N, in_features] to [N, out_features]; weight [out_features, in_features].
    Source: Zhang, Cai, Lu, He, Wang 2021, "Towards certifying l-infinity robustness using neural networks with
    l-infinity-dist neurons", arXiv 2102.05363.
    """

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x: Tensor) -> Tensor:
        distances = [(x[:, None] - rows).abs().amax(dim=2) for rows in few_rows(self.weight)]
        return torch.cat(distances, dim=1) + self.bias

    def extra_repr(self) -> str:
        return f"in_features={self.weight.shape[1]}, out_features={len(self.weight)}"


class SortedDistance(nn.Module):
    """u_j = b_j + sum over i of c_i |x - w_j|_(i), c_i = keep (1 - keep)^(i - 1): 1-Lipschitz in l-infinity.

    |x - w_j|_(i) is the i-th largest of the |x_k - w_jk|, of which the first `terms` count, or all where there are
    fewer. Up to what later ones would add, it is the mean of an `LInfDistance` whose inputs are each kept with the
    probability `keep`, which is how it is trained; with keep = 1 it would be that layer.

    Shapes: [N, in_features] to [N, out_features]; weight [out_features, in_features].
    Source: Zhang, Jiang, He, Wang 2022 (SortNet), "Rethinking Lipschitz neural networks and certified robustness: a
    Boolean function perspective", arXiv 2210.01787. Where we differ: a last term.
    """

    def __init__(self, in_features: int, out_features: int, keep: float, terms: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.keep, self.terms = keep, min(terms, in_features)

    def shares(self) -> list[float]:
        """The c_i, by products of binary64 in this order."""
        shares = [self.keep]
        while len(shares) < self.terms:
            shares.append(shares[-1] * (1.0 - self.keep))
        return shares

    def weighed(self, gaps: Tensor) -> Tensor:
        """The sum of the c_i times the i-th largest gap: [N, O, I] to [N, O]."""
        return gaps.topk(self.terms, dim=2).values @ torch.tensor(self.shares(), dtype=torch.float64).to(gaps)

    def forward(self, x: Tensor) -> Tensor:
        distances = [self.weighed((x[:, None] - rows).abs()) for rows in few_rows(self.weight)]
        return torch.cat(distances, dim=1) + self.bias

    def extra_repr(self) -> str:
        outputs, inputs = self.weight.shape
        return f"in_features={inputs}, out_features={outputs}, keep={self.keep}, terms={self.terms}"


def few_rows(weight: Tensor) -> tuple[Tensor, ...]:
    """A distance layer's weight cut into parts of few rows, so that the differences from one part fit in memory."""
    return weight.split(max(1, DIFFERENCES // weight.shape[1]))
