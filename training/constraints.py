"""Weight parametrisations: how a plain layer's weight is written while it is trained.

No part of the proof: `folded_state` reads the weights they evaluate to, and the certificate speaks of those.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

INVERSE_STEPS, INVERSE_ERROR = 500, 1e-3  # of the search for the right inverse of the almost orthogonal ones


class LinearResidual(nn.Module):
    """The kernel I + diag(beta) W / sqrt(depth) of the linear block y = x + beta * Conv_W(x) / sqrt(depth).

    `beta` [O] is learned, from 1. Shapes: [O, O, k, k] to [O, O, k, k], k odd, or [O, O] to [O, O].
    Source: Hu et al. 2023 (LiResNet), arXiv 2301.12549, section 3 and appendix B. Where we differ: the layer's
    bias stands outside the residual's factor beta / sqrt(depth), which changes its step size, not the function class.
    """

    identity: Tensor

    def __init__(self, weight: Tensor, depth: int):
        super().__init__()
        self.depth = depth
        self.beta = nn.Parameter(torch.ones(len(weight)))
        identity = torch.empty_like(weight.detach())
        identity = nn.init.eye_(identity) if weight.ndim == 2 else nn.init.dirac_(identity)
        self.register_buffer("identity", identity, persistent=False)

    def _beta(self, weight: Tensor) -> Tensor:
        return self.beta.reshape(-1, *[1] * (weight.ndim - 1))

    def forward(self, residual: Tensor) -> Tensor:
        return self.identity + self._beta(residual) * residual / math.sqrt(self.depth)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return (weight - self.identity) * math.sqrt(self.depth) / self._beta(weight)


class AsKernel(nn.Module):
    """A matrix read as the kernel of this shape, for constraints of matrices. Shapes: [O, I k k] to [O, I, k, k]."""

    def __init__(self, shape: torch.Size):
        super().__init__()
        self.shape = shape

    def forward(self, matrix: Tensor) -> Tensor:
        return matrix.reshape(self.shape)

    def right_inverse(self, kernel: Tensor) -> Tensor:
        return kernel.flatten(1)


class NormalisedRows(nn.Module):
    """Rows of l2 norm 1: last-layer normalisation. Shapes: [C, F] to [C, F].

    Source: Singla, Singla, Feizi 2022, "Improved deterministic l2 robustness", arXiv 2108.04062.
    """

    def forward(self, weight: Tensor) -> Tensor:
        return weight / weight.norm(dim=1, keepdim=True)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight


class UnitNorm(nn.Module):
    """The weight divided by its spectral norm, estimated by one step of power iteration each time it is evaluated.

    With the step 2 of a ConvexPotential this is CPL: x - 2 / |W|^2 W^T relu(W x + b), the bias measured in |W|.
    `shape` is that of the vector or map that the weight acts on. Shapes: [H, C, ...] to the same.
    Source: Meunier et al. 2022 (CPL), arXiv 2110.12690. Where we differ: no 1e-4 beside the norm's square.
    """

    vector: Tensor

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        vector = torch.randn(1, *shape)
        self.register_buffer("vector", vector / vector.norm())

    def forward(self, weight: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                if weight.ndim == 4:
                    moved = F.conv_transpose2d(self._image(weight), weight, padding=weight.shape[2] // 2)
                else:
                    moved = self._image(weight) @ weight
                self.vector.copy_(moved / moved.norm())
        return weight / self._image(weight).norm()

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight

    def _image(self, weight: Tensor) -> Tensor:
        if weight.ndim == 4:
            return F.conv2d(self.vector, weight, padding=weight.shape[2] // 2)
        return F.linear(self.vector, weight)


class AlmostOrthogonalRows(nn.Module):
    """Rows scaled by d_i^(-1/2), d_i = sum over j of |W W^T|_ij q_j / q_i, with q learned: spectral norm at most 1.

    With the step 2 of a ConvexPotential this is SLL: x - W^T diag(2 / d) relu(W x + b), the bias measured in d^(1/2).
    For a convolution |W W^T| sums the kernel's correlation with itself. It also serves SelfAttention.
    Shapes: [H, C, ...] to the same.
    Source: Araujo et al. 2023 (SLL), arXiv 2303.03169. Where we differ: q = exp(...), in numerator and denominator.
    """

    def __init__(self, rows: int):
        super().__init__()
        self.log_q = nn.Parameter(torch.zeros(rows))

    def forward(self, weight: Tensor) -> Tensor:
        return _rescaled(weight, self.log_q.exp(), 1e-12)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """A W whose value is the weight, with q = 1; a weight that is no value is returned as it is."""
        return _unscaled(weight)


class AlmostOrthogonalColumns(nn.Module):
    """W diag(d), d_j = (sum over k of |W^T W|_jk + 1e-6)^(-1/2), one factor for each input channel: AOL.

    Norm at most 1: D^-2 - W^T W is symmetric, and the diagonal of its row j exceeds the row's other absolute values by
    1e-6, so it is positive semidefinite, hence D W^T W D <= I. For a kernel, W^T W on the infinite plane is the
    convolution by the kernel's correlation with itself, whose row sums are those of |W^T W| over channels and space; D
    acts on channels alone. Zero padding feeds it maps that are 0 outside, an isometry that commutes with D, and a
    finite map or a stride only drops outputs: at most 1 for any size, padding and stride. (Padding in a circle as well:
    its W^T W sums entries of the plane's, and so do its row sums.)
    Shapes: [O, I, ...] to the same.
    Source: Prach, Lampert 2022 (AOL), arXiv 2208.03160, theorems 1 and 2, and the authors' code for the 1e-6.
    """

    def forward(self, weight: Tensor) -> Tensor:
        rows = weight.transpose(0, 1)
        return _rescaled(rows, torch.ones_like(rows.flatten(1)[:, 0]), 1e-6).transpose(0, 1).contiguous()

    def right_inverse(self, weight: Tensor) -> Tensor:
        """A W whose value is the weight, but for the 1e-6; a weight that is no value is returned as it is."""
        return _unscaled(weight.transpose(0, 1)).transpose(0, 1)


def _rescaled(weight: Tensor, q: Tensor, more: float) -> Tensor:
    """The rows times (d_i + more)^(-1/2), d_i = sum over j of |W W^T|_ij q_j / q_i."""
    scale = (_gram(weight) @ q / q + more).rsqrt()
    return weight * scale.reshape(-1, *[1] * (weight.ndim - 1))


def _unscaled(weight: Tensor) -> Tensor:
    """The rows times u, where G u = u for G = |W W^T|: `_rescaled` with q = 1 makes the weight of it.

    With V = diag(u) W, d_i = u_i (G u)_i = u_i^2. The u is the Perron vector of G, whose largest eigenvalue is 1 where
    the weight is a rescaled one; any other weight is returned as it is.
    """
    gram = _gram(weight.double())
    u = torch.ones_like(gram[0])
    for _ in range(INVERSE_STEPS):
        image = gram @ u
        before, u = u, image / image.max()
        if torch.equal(before, u):  # at once where the weight is an identity, as AOL's dense layers begin
            break
    if ((gram @ u - u).abs() > INVERSE_ERROR * u).any():
        return weight
    return weight * u.to(weight.dtype).reshape(-1, *[1] * (weight.ndim - 1))


def _gram(weight: Tensor) -> Tensor:
    """|W W^T| of a matrix; of a kernel, that of the convolution on the infinite plane, summed over space."""
    if weight.ndim == 4:
        return F.conv2d(weight, weight, padding=weight.shape[2] - 1).abs().sum(dim=(2, 3))
    product = _Gram.apply(weight)
    assert isinstance(product, Tensor)
    return product.abs()


class _Gram(torch.autograd.Function):
    """W W^T, whose gradient takes one product, where autograd would take two."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return weight @ weight.T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (weight,) = ctx.saved_tensors
        return (gradients[0] + gradients[0].T) @ weight


class SkewKernel(nn.Module):
    """The exactly skew kernel (M - M^T) / 2, flipped in the second term, scaled by 0.7 (1 for 1 x 1) over its norm.

    The norm is the least of the kernel's four reshapings, by one step of power iteration each time. Shapes:
    [C, C, k, k] to the same.
    Source: Singla, Feizi 2021 (SOC), arXiv 2105.11417, and "Fantastic four", arXiv 1911.10258.
    """

    def __init__(self, channels: int, kernel: int):
        super().__init__()
        self.scale = 0.7 if kernel > 1 else 1.0
        for number, matrix in enumerate(_reshapings(torch.empty(channels, channels, kernel, kernel))):
            self.register_buffer(f"vector{number}", F.normalize(torch.randn(matrix.shape[1]), dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        skew = (weight - weight.flip(2, 3).transpose(0, 1)) / 2
        norms = []
        for number, matrix in enumerate(_reshapings(skew)):
            vector = getattr(self, f"vector{number}")
            if self.training:
                with torch.no_grad():
                    vector.copy_(F.normalize(matrix.T @ (matrix @ vector), dim=0))
            norms.append((matrix @ vector).norm())
        return skew * (self.scale / torch.stack(norms).amin())

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight


def _reshapings(kernel: Tensor) -> tuple[Tensor, ...]:
    """[O, I, k, l] as the matrices [O k, I l], [O l, I k], [O, I k l] and [O k l, I]."""
    orders = ((0, 2, 1, 3), (0, 3, 1, 2), (0, 1, 2, 3), (0, 2, 3, 1))
    rows = (2, 2, 1, 3)
    return tuple(kernel.permute(order).flatten(0, row - 1).flatten(1) for order, row in zip(orders, rows, strict=True))


class UnitPairs(nn.Module):
    """Columns of length sqrt(2), a little shortened: reflections of a Householder. Shapes: [2, P] to [2, P]."""

    def forward(self, weight: Tensor) -> Tensor:
        return F.normalize(weight, dim=0) * (math.sqrt(2.0) * (1.0 - 2.0**-21))

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight


def converge_norms(network: nn.Sequential, evaluations: int = 200) -> None:
    """Let the norms that UnitNorm and SkewKernel iterate on converge for the weights as they are now."""
    network.train()
    for _ in range(evaluations):
        for layer in network.modules():
            if isinstance(layer, parametrize.ParametrizationList):
                layer()


def folded_state(network: nn.Sequential) -> dict[str, Tensor]:
    """The weights that the parametrisations evaluate to, float32, under the names of the plain network's state.

    It leaves the network in evaluation: reading the weights of one in training would move its power iterations.
    """
    network.eval()
    state = {}
    for name, layer in network.named_modules():
        if "parametrizations" in name.split("."):
            continue
        keys = [key for key, _ in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]]
        if parametrize.is_parametrized(layer):
            keys += layer.parametrizations  # type: ignore[arg-type]
        for key in keys:
            state[f"{name}.{key}"] = getattr(layer, key).detach().float().cpu().contiguous()
    return state
