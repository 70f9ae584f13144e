"""Parametrisations in the Fourier basis: a kernel's matrix at each frequency, made orthogonal as a paper does it.

The kernel is that of a convolution which wraps around the layer's map, as on a torus. In exact arithmetic each matrix
has norm at most 1; float32 adds a few units of 1e-7, which nothing here bounds: the certificate proves the folded
matrices again.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from training.orthogonal import reflector
from zoo.errors import InputError

LOT_RIDGE, LOT_STEPS = 1e-4, 10
LIPCONVNET_RIDGE = 1e-5  # in means of the Gram matrix's diagonal


class Frequencies(nn.Module):
    """The weight of a FrequencyConv or a Sandwich, made from a kernel: its matrix at each frequency, made orthogonal.

    torus: the side of the map, its padding included. orthogonal: what makes complex matrices [..., O, I] orthogonal,
        `lot`, `cayley` or what `reflectors` returns, which changes O and I.
    Shapes: kernel [O, I, k, k], k odd, to [2, torus // 2 + 1, torus, O, I], real parts first.
    Raises InputError where a weight is assigned: few weights are those of a kernel that is smaller than the map.
    """

    def __init__(self, kernel: Tensor, torus: int, orthogonal: Callable[[Tensor], Tensor]):
        super().__init__()
        self.torus, self.orthogonal = torus, orthogonal
        self.start: Tensor | None = kernel

    def forward(self, kernel: Tensor) -> Tensor:
        matrices = self.orthogonal(symbols(kernel, self.torus))
        return torch.stack([matrices.real, matrices.imag])

    def right_inverse(self, weight: Tensor) -> Tensor:
        if self.start is None:
            raise InputError("a layer in the Fourier basis cannot start from given weights: start from random ones")
        start, self.start = self.start, None
        return start


def symbols(kernel: Tensor, torus: int) -> Tensor:
    """sum over the taps d of K_d exp(i w.d), the middle tap at 0: complex [torus // 2 + 1, torus, O, I]."""
    side = kernel.shape[2]
    taps = torch.arange(side).to(kernel) - side // 2
    angles = 2 * math.pi / torus * torch.arange(torus).to(kernel)[:, None] * taps
    waves = torch.polar(torch.ones_like(angles), angles)
    by_rows = torch.einsum("ha,oiab->hoib", waves[: torus // 2 + 1], kernel.to(waves.dtype))
    return torch.einsum("tb,hoib->htoi", waves, by_rows)


def lot(matrices: Tensor) -> Tensor:
    """(V V* + e I)^(-1/2) V of each matrix, by Newton and Schulz' iteration: norm at most 1 after any number of steps.

    Let V be wide, or transposed, and S = (V V* + e I) / c, c = |V V* + e I|_F, with eigenvalues in (0, 1]. From Y = S
    and Z = I, with T = (3 I - Z Y) / 2, a step is Y <- Y T, Z <- T Z. All are polynomials of S: at an eigenvalue s it
    is y = s z, and p = z y = s z^2 starts at s and goes to p (3 - p)^2 / 4, which maps [0, 1] into itself. So s z^2 <=
    1; a singular value v of V, with v^2 <= c s, becomes z v / c^(1/2) <= 1.
    Source: Xu, Li, Li 2022 (LOT), arXiv 2210.11620, and the authors' code for the ridge e = 10^-4 and the 10 steps.
    """
    wide = matrices if matrices.shape[-2] <= matrices.shape[-1] else matrices.mH
    identity = torch.eye(wide.shape[-2], device=wide.device, dtype=wide.dtype)
    gram = wide @ wide.mH + LOT_RIDGE * identity
    size = torch.linalg.matrix_norm(gram, keepdim=True)
    y, z = gram / size, identity
    for _ in range(LOT_STEPS):
        step = (3 * identity - z @ y) / 2
        y, z = y @ step, step @ z
    value = z @ wide / size.sqrt()
    return value if matrices.shape[-2] <= matrices.shape[-1] else value.mH


def reflectors(outputs: int, inputs: int, ridge: float = LIPCONVNET_RIDGE) -> Callable[[Tensor], Tensor]:
    """A function of matrices: the first rows and columns of the block reflector of each V [C, rank], as in BRO.

    Shapes: [..., C, rank], C = max(outputs, inputs), to [..., outputs, inputs].
    Source: Lai, Huang, Kung, Chen 2025 (BRO), arXiv 2505.15174, and the authors' code, also for the ridge.
    """
    return partial(reflector, ridge=ridge, rows=outputs, columns=inputs)


def reflector_start(outputs: int, inputs: int, taps: int, share: int = 2, depth: int = 1) -> Tensor:
    """A kernel for `reflectors` to start from, [C, C / share, taps, taps] with C = max(outputs, inputs).

    The middle tap is the identity's first columns, the others 0; all plus N(0, 1) / (taps C sqrt(depth)), where the
    layer is one of `depth`.
    """
    channels = max(outputs, inputs)
    kernel = torch.randn(channels, max(1, channels // share), taps, taps) / (taps * channels * depth**0.5)
    kernel[:, :, taps // 2, taps // 2] += torch.eye(*kernel.shape[:2])
    return kernel
