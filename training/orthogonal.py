"""Parametrisations whose value has norm at most 1: the products and factorisations of the papers on orthogonal layers.

Each folds to a plain weight. Its docstring proves the norm in exact arithmetic; float32 adds a few units of 1e-7, which
nothing here bounds: the certificate proves the folded weight again. A convolution's norm is meant as an operator on
maps of any size: on the infinite plane it is the largest norm of its symbol, the kernel's Fourier series; zero padding
feeds it maps that are 0 outside, an isometry, and a finite map or a stride only drops outputs, so neither raises it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import InputError

BJORCK_STEPS, CONVERGED = 20, 1e-4
RIDGE = 1e-3  # of LiResNet++, in means of the Gram matrix's diagonal
BRONET_RIDGE = 1e-7  # likewise


class CholeskyRows(nn.Module):
    """L^-1 X with L L^T = X X^T + e I, e = mean(diag(X X^T)) / 1000; X a matrix, or a kernel as one of its rows.

    Norm at most 1: W W^T = L^-1 (L L^T - e I) L^-T = I - e L^-1 L^-T. A singular value s becomes s / sqrt(s^2 + e).
    Of a convolution it holds for patches that do not overlap, stride equal to kernel, which are the matrix's inputs.
    Shapes: [O, ...] to the same.
    Source: Hu, Leino, Wang, Fredrikson 2024 (LiResNet++), arXiv 2310.02513, the authors' code.
    """

    def forward(self, weight: Tensor) -> Tensor:
        rows = weight.flatten(1)
        gram = rows @ rows.T
        ridge = RIDGE * gram.diagonal().mean().detach()
        factor = torch.linalg.cholesky(gram + ridge * torch.eye(len(gram)).to(gram))
        value = torch.linalg.solve_triangular(factor, rows, upper=False)
        return value.contiguous().reshape(weight.shape)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """C^-1 W with C C^T = I - W W^T: L^-1 is C / sqrt(e), and no multiple of X changes the value.

        Any other weight, whose norm is not below 1, is answered as it is.
        """
        rows = weight.flatten(1).double()
        factor, failed = torch.linalg.cholesky_ex(torch.eye(len(rows)).to(rows) - rows @ rows.T)
        if failed:
            return weight
        return torch.linalg.solve_triangular(factor, rows, upper=False).to(weight).reshape(weight.shape)


class Cayley(nn.Module):
    """`cayley` of a matrix. Shapes: [O, I] to the same."""

    def forward(self, weight: Tensor) -> Tensor:
        return cayley(weight).contiguous()

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The V of a value: B = (I + Q) / 2 of its upper square, R = -Q B^-1 / 2 of the rest, U half the skew part."""
        tall = (weight if weight.shape[0] >= weight.shape[1] else weight.T).double()
        side = tall.shape[1]
        inverse = torch.linalg.inv((torch.eye(side).to(tall) + tall[:side]) / 2)
        value = torch.cat([(inverse - inverse.T) / 4, -tall[side:] @ inverse / 2]).to(weight)
        return value if weight.shape[0] >= weight.shape[1] else value.T


def cayley(matrices: Tensor) -> Tensor:
    """The Cayley transform of each matrix V: orthonormal columns where it is tall, rows where it is wide. Norm 1.

    For tall V with upper square U and lower rest R, A = U - U* + R* R and B = (I + A)^-1, it is
    Q = [2 B - I; -2 R B]. The Hermitian part of I + A is I + R* R, so B exists; and Q* Q - I =
    4 B* (I + R* R) B - 2 (B + B*) = 0, because B + B* = B* (B^-1 + B^-*) B = B* (2 I + 2 R* R) B.
    Shapes: [..., O, I] to the same, real or complex.
    Source: Trockman, Kolter 2021, arXiv 2104.07167. Where we differ: V is not a learned multiple of V / |V|.
    """
    tall = matrices if matrices.shape[-2] >= matrices.shape[-1] else matrices.mH
    side = tall.shape[-1]
    upper, rest = tall[..., :side, :], tall[..., side:, :]
    identity = torch.eye(side).to(tall)
    inverse = torch.linalg.inv(identity + upper - upper.mH + rest.mH @ rest)
    value = torch.cat([2 * inverse - identity, -2 * rest @ inverse], dim=-2)
    return value if matrices.shape[-2] >= matrices.shape[-1] else value.mH


class _FromNumbers(nn.Module):
    """A parametrisation that starts from the tensors it is given: no way leads from a weight back to such tensors.

    `register_parametrization` takes them; assigning a weight after that raises InputError.
    """

    def __init__(self, *numbers: Tensor):
        super().__init__()
        self.start: tuple[Tensor, ...] | None = numbers

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, ...]:
        if self.start is None:
            raise InputError(f"{type(self).__name__} cannot start from given weights: start from random ones")
        start, self.start = self.start, None
        return start


class BlockReflector(_FromNumbers):
    """The first O rows and I columns of I - 2 V (V^T V + e I)^-1 V^T, V of `rank` columns: BRO.

    Norm at most 1, see `reflector`; a part of a matrix has no larger norm. e = mean(diag(V^T V)) / 10^7.
    Shapes: weight [O, I] or a kernel [O, ...] read as a matrix, as in `CholeskyRows`; V [max(O, I), rank], which starts
    as the identity's first columns plus N(0, 1) / (C sqrt(depth)) where the layer is one of `depth`.
    Source: Lai, Huang, Kung, Chen 2025 (BRONet), arXiv 2505.15174, and the authors' code.
    """

    def __init__(self, weight: Tensor, rank: int, depth: int = 1):
        self.shape = weight.shape
        size = max(weight.flatten(1).shape)
        start = torch.eye(size, rank) + torch.randn(size, rank) / (size * depth**0.5)
        super().__init__(start.to(weight))

    def forward(self, vectors: Tensor) -> Tensor:
        return reflector(vectors, BRONET_RIDGE, self.shape[0], self.shape[1:].numel()).reshape(self.shape)


def reflector(vectors: Tensor, ridge: float, rows: int, columns: int) -> Tensor:
    """The first rows and columns of I - 2 V (V* V + e I)^-1 V* of each V, e = ridge mean(diag(V* V)).

    Norm at most 1 for any e >= 0: a singular value s of V gives the eigenvalue 1 - 2 s^2 / (s^2 + e), between -1 and 1;
    the others are 1.
    Shapes: [..., C, rank] to [..., rows, columns], real or complex.
    """
    gram = vectors.mH @ vectors
    weight = ridge * gram.diagonal(dim1=-2, dim2=-1).real.mean().detach()
    solved = torch.linalg.solve(gram + weight * torch.eye(gram.shape[-1]).to(gram), vectors[..., :columns, :].mH)
    onto = vectors[..., :rows, :] @ solved
    return torch.eye(rows, columns).to(onto) - 2 * onto


class BlockOrthogonalKernel(_FromNumbers):
    """A k x k kernel of stride s as a product of projector blocks and one orthogonal kernel of s x s: BCOP, AOC.

    The product is R * (block 1) * ... * (block k - s). A block has four taps, P Q, P (I - Q), (I - P) Q and
    (I - P)(I - Q), so its symbol is (P + z (I - P)) (Q + w (I - Q)); with 0 <= P <= I, P + z (I - P) is normal with
    eigenvalues p + z (1 - p), of absolute value at most 1 for |z| = 1. R of stride s is a matrix on patches that do not
    overlap. So the whole has norm at most 1 once |R| <= 1 and all P = V V^T have |V| <= 1: see `bjorck`, which gives
    both at any convergence. Converged, and with I s^2 outputs or more, it keeps lengths away from the borders.
    With s = 1 this is BCOP. With `downsampling` a layer of stride s is BCOP of k / s taps on the s^2 I channels of a
    space-to-depth, as BCOP's paper has it, written as one kernel of k taps and stride s.

    Shapes: weight [O, I, k, k]; V [2 (k - s), C, C / 2], R [O, C s^2], C = max(I, floor(O / s^2)).
    Source: Li, Haque, Anil, Lucas, Grosse, Jacobsen 2019 (BCOP), arXiv 1911.00937; Boissin, Mamalet, Fel et al. 2025
    (AOC), arXiv 2501.07930. Where we differ: zero padding, where both have circular padding.
    Raises ValueError for a kernel smaller than the stride, and for downsampling where s does not divide k.
    """

    def __init__(self, weight: Tensor, stride: int, downsampling: bool = False):
        outputs, inputs, kernel, _ = weight.shape
        if kernel < stride or (downsampling and kernel % stride):
            raise ValueError(f"a kernel of {kernel} does not fit a stride of {stride}")
        self.depth = stride if downsampling else 1  # of a cell's side in the space-to-depth
        self.inputs, self.kernel = inputs * self.depth**2, kernel // self.depth
        self.stride = stride // self.depth
        channels = max(self.inputs, outputs // self.stride**2)
        blocks = torch.empty(2 * (self.kernel - self.stride), channels, max(1, channels // 2)).to(weight)
        for block in blocks:
            nn.init.orthogonal_(block)
        last = nn.init.orthogonal_(torch.empty(outputs, channels * self.stride**2).to(weight))
        super().__init__(blocks, last)

    def forward(self, blocks: Tensor, last: Tensor) -> Tensor:
        channels = blocks.shape[1]
        kernel = bjorck(last).reshape(len(last), channels, self.stride, self.stride)
        bases = bjorck(blocks)
        onto = bases @ bases.mT
        away = torch.eye(channels).to(onto) - onto
        for p, not_p, q, not_q in zip(onto[::2], away[::2], onto[1::2], away[1::2], strict=True):
            block = torch.stack([torch.stack([p @ q, p @ not_q]), torch.stack([not_p @ q, not_p @ not_q])])
            kernel = _composed(kernel, block.permute(2, 3, 0, 1))
        kernel = kernel[:, : self.inputs]
        # A cell's numbers are its channels, rows and columns, as nn.PixelUnshuffle has them.
        return F.pixel_shuffle(kernel, self.depth).contiguous()


class Bjorck(nn.Module):
    """`bjorck` of a matrix: orthonormal rows where it converged, norm at most 1 anyway. Shapes: [O, I] to the same.

    Source: Anil, Lucas, Grosse 2019, arXiv 1811.05381; the dense layers of BCOP.
    """

    def forward(self, weight: Tensor) -> Tensor:
        return bjorck(weight)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight


def bjorck(weight: Tensor) -> Tensor:
    """At most 20 steps W <- (3 W - W W^T W) / 2 from W / |(W W^T)^2|_F^(1/4): in the end the nearest orthogonal matrix.

    Norm at most 1 after any number of steps: the start has it, since |W|^4 = |(W W^T)^2| <= |(W W^T)^2|_F, and a step
    takes a singular value s to (3 s - s^3) / 2, which maps [0, 2] into [-1, 1]. All steps but the last are made on the
    Gram matrix of the shorter side, until its entries are those of the identity but for `CONVERGED`; the last one, on W
    itself, takes what is left, 1 + e, to 1 - 3 e^2 / 2.
    Shapes: [..., O, I] to the same.
    Source: Bjorck, Bowie 1971, by Anil, Lucas, Grosse 2019, arXiv 1811.05381. Where we differ: they scale by an
    estimate of the norm, which may be below it, and make all steps.
    """
    wide = weight.shape[-2] <= weight.shape[-1]
    rows = weight if wide else weight.mT
    gram = rows @ rows.mT
    with torch.no_grad():
        trace = gram.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]  # so that no square overflows
        square = trace * torch.linalg.matrix_norm((gram / trace) @ (gram / trace), keepdim=True).sqrt()
    rows, gram = rows * square.rsqrt(), gram / square
    identity = torch.eye(gram.shape[-1]).to(gram)
    factor = identity
    for _ in range(BJORCK_STEPS - 1):
        if ((gram.detach() - identity).abs() <= CONVERGED).all():
            break
        step = 1.5 * identity - 0.5 * gram
        factor, gram = step @ factor, step @ gram @ step
    rows = factor @ rows
    rows = 1.5 * rows - 0.5 * (rows @ rows.mT @ rows)
    return rows if wide else rows.mT.contiguous()


def _composed(outer: Tensor, inner: Tensor) -> Tensor:
    """The kernel of `outer` behind `inner`, of stride 1: [O, M, k, k], [M, I, l, l] to [O, I, k + l - 1, k + l - 1]."""
    full = (outer.shape[2] - 1, outer.shape[3] - 1)
    return F.conv2d(inner.transpose(0, 1), outer.flip(2, 3), padding=full).transpose(0, 1)
