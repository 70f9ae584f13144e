"""Layers with their weights in the Fourier basis of the map, one matrix for each frequency; and the sandwich layer."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.layers.fourier import Transform, transform

MAX_TORUS = 512  # the largest side of a map that is transformed


def to_frequencies(x: Tensor, padding: int = 0) -> Tensor:
    """The transform of maps [N, C, n, n]: [frequencies, N, 2 C], real parts of the channels, then imaginary ones."""
    images, channels, side, _ = x.shape
    matrices = transform(side, padding)
    rows, columns, _ = _like(matrices, x)
    y = rows @ x.permute(2, 3, 0, 1).reshape(side, -1)
    y = y.reshape(2, matrices.half, side, -1).transpose(0, 1).reshape(matrices.half, 2 * side, -1)
    y = (columns @ y).reshape(matrices.half, 2, matrices.torus, images, channels)
    return y.permute(0, 2, 3, 1, 4).reshape(-1, images, 2 * channels)


def from_frequencies(y: Tensor, side: int, padding: int = 0) -> Tensor:
    """The inverse of `to_frequencies`: maps [N, C, n, n] with n = side; the padding around them is cut off."""
    matrices = transform(side, padding)
    rows, columns, back = _like(matrices, y)
    images, channels = y.shape[1], y.shape[2] // 2
    y = y.reshape(matrices.half, matrices.torus, images, 2, channels).permute(0, 3, 1, 2, 4)
    y = columns.T @ y.reshape(matrices.half, 2 * matrices.torus, -1)
    y = y.reshape(matrices.half, 2, side, -1).transpose(0, 1).reshape(len(rows), -1)
    return (back @ y).reshape(side, side, images, channels).permute(2, 3, 0, 1)


def real_form(weight: Tensor) -> Tensor:
    """Complex matrices [2, h, t, O, I], real parts first, as real matrices [frequencies, 2 O, 2 I]."""
    real, imaginary = weight.flatten(1, 2)
    return torch.cat([torch.cat([real, -imaginary], dim=2), torch.cat([imaginary, real], dim=2)], dim=1)


def _like(matrices: Transform, x: Tensor) -> list[Tensor]:
    parts = (matrices.rows, matrices.columns, matrices.back)
    return [torch.tensor(matrix).to(x) for matrix in parts]


def _frequencies(side: int, padding: int, *shape: int) -> tuple[int, ...]:
    torus = side + 2 * padding
    return (2, torus // 2 + 1, torus, *shape)


class FrequencyConv(nn.Module):
    """A circular convolution by any kernel as large as the map, given by its matrices in the Fourier basis, and a bias.

    y = crop(F* W F pad(x)) + b: zeros around the map, the unitary transform F, one matrix for each frequency, the
    inverse transform, the middle of the map. weight [2, t // 2 + 1, t, O, I] holds the real and imaginary parts of the
    matrices of half of the frequencies, t = size + 2 padding; the other matrices are their conjugates, and the result
    is the real part. The matrices belong to one size of map.

    Shapes: [N, I, size, size] to [N, O, size, size].
    Source: the layer of Trockman, Kolter 2021 (Cayley), arXiv 2104.07167, Xu, Li, Li 2022 (LOT), arXiv 2210.11620, and
    Lai et al. 2025 (BRO), arXiv 2505.15174; they differ in how training makes the matrices orthogonal.
    """

    def __init__(self, in_channels: int, out_channels: int, size: int, padding: int = 0):
        super().__init__()
        if size + 2 * padding > MAX_TORUS:
            raise ValueError(f"a map with its padding has at most {MAX_TORUS} cells a side, got {size + 2 * padding}")
        self.size, self.padding = size, padding
        weight = torch.zeros(_frequencies(size, padding, out_channels, in_channels))
        weight[0] = nn.init.orthogonal_(torch.empty(out_channels, in_channels))
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        y = to_frequencies(x, self.padding) @ real_form(self.weight).transpose(1, 2)
        return from_frequencies(y, self.size, self.padding) + self.bias[:, None, None]

    def extra_repr(self) -> str:
        return f"{self.weight.shape[4]}, {self.weight.shape[3]}, size={self.size}, padding={self.padding}"


class Sandwich(nn.Module):
    """2 A^T relu(B x + b) for stored matrices [A, B]: Lipschitz |[A, B]|^2, so 1 where A A^T + B B^T <= I.

    weight is [H, O + I], A's columns before B's, for vectors and for the channels of each cell of a map. With a `size`
    A and B are circular convolutions on maps of that side, given as those of `FrequencyConv`: weight [2, size // 2 + 1,
    size, H, O + I]; A^T is the adjoint.

    Any P relu(Q x + c) is of this form: for a diagonal S > 0 that makes [S^-1 P^T, S Q] short, A = S^-1 P^T / sqrt(2),
    B = S Q / sqrt(2) and b = S c / sqrt(2), because relu(S v) = S relu(v). So the Psi = S of the source, and its factor
    sqrt(2) on either side, are in the weights. MinMax cannot stand in the place of relu, whose slopes are from 0 to 1:
    with [A, B] the identity of size 2 it would make 2 max(x, 0) of x, where the rule says 1.

    Shapes: [N, I, ...] to [N, O, ...]; with a size [N, I, size, size] to [N, O, size, size].
    Source: Wang, Manchester 2023, "Direct parameterization of Lipschitz-bounded deep networks" (LBDN), arXiv
    2301.11526, equation (8).
    """

    def __init__(self, in_features: int, hidden: int, out_features: int, size: int | None = None):
        super().__init__()
        self.out_features, self.size = out_features, size
        both = nn.init.orthogonal_(torch.empty(hidden, out_features + in_features))
        weight = both if size is None else torch.zeros(_frequencies(size, 0, *both.shape))
        if size is not None:
            weight[0] = both
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(hidden))

    def forward(self, x: Tensor) -> Tensor:
        outer, inner = self.weight.split([self.out_features, self.weight.shape[-1] - self.out_features], dim=-1)
        if self.size is None and x.ndim == 4:
            hidden = F.relu(F.conv2d(x, inner[:, :, None, None], self.bias))
            return 2 * F.conv2d(hidden, outer.T[:, :, None, None])
        if self.size is None:
            return 2 * (F.relu(F.linear(x, inner, self.bias)) @ outer)
        hidden = from_frequencies(to_frequencies(x) @ real_form(inner).transpose(1, 2), self.size)
        hidden = F.relu(hidden + self.bias[:, None, None])
        return 2 * from_frequencies(to_frequencies(hidden) @ real_form(outer), self.size)

    def extra_repr(self) -> str:
        hidden, both = self.weight.shape[-2:]
        size = "" if self.size is None else f", size={self.size}"
        return f"{both - self.out_features}, {hidden}, {self.out_features}{size}"
