"""The rounding of a convolution, as the graph computes it and as PyTorch does.

**Products of tiles.** A tile of outputs is computed from its a_r x a_c inputs as y = A (U * (B x)), see
`zoo.lowering.toomcook`: A and B stand for those of both axes one after the other, and U_f = sum of G_f,t w_t over the
taps is a matrix from input to output channels for each frequency f. In exact arithmetic that is the convolution. As
computed, each y is a sum of products of an entry of A, of G, of w, of B, and of x, in each of which a factor (1 + d),
|d| <= u, stands for

    a_r + a_c   the sums of either B (its entries are exact, and products with its zeros),
    r_r + r_c   the sums over r_r x r_c taps in U, one axis after the other,
    2           the entries of G of either axis, which are rounded,
    C           the sum over C input channels,
    a_r + a_c   the sums of either A, exact as well,

at most, in any order of summation. With n the sum of these and bars for the same map of entrywise absolute values,

    |fl(y) - y| <= gamma_n y-bar,   y-bar = |A| (U-bar * (|B| |x|)),   U-bar_f = sum of |G_f,t| |w_t|.

*The norm of the map x -> y-bar.* Of one tile it is a block matrix whose blocks are sum over f of |A|_pf |B|_fq U-bar_f
for its outputs p and its inputs q. A block matrix has at most the norm of the matrix of its blocks' norms, so with
s_f >= |U-bar_f| at most that of |A| diag(s) |B|. Tiles do not share outputs, and a pixel lies in at most
ceil(a_r / m_r) ceil(a_c / m_c) tiles of m_r x m_c outputs, so the squares of the norms of the tiles' inputs add up to
at most as much times |x|^2. A tile that reaches beyond the map reads zeros there. A strided convolution is one of
stride 1 on cells of pixels, of which each pixel is in one, and a kernel with zeros appended.

**Sums.** PyTorch adds up the n' = I k k products of an output directly, within gamma_{n'} |W| |x|, and so does the
graph where a tile has one output. The constants here hold for both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from zoo.bounds.rounding import UNDERFLOW
from zoo.bounds.rule import RAISED, schur_bound
from zoo.bounds.spectral import Matrix
from zoo.lowering.choice import PLAIN_SUMS, Lowering, choose
from zoo.lowering.sizes import Sizes
from zoo.lowering.toomcook import algorithm

PERRON_STEPS = 30  # of power iteration, which proposes a vector for `perron_bound`


class Rounding(NamedTuple):
    """The computed convolution without bias errs by at most gamma_terms (absolute |x| + offset).

    That holds for PyTorch's sums and for the graph's lowering. With j more roundings, j <= 2, the error is at most
    gamma_{terms + j} (absolute |x| + offset). `absolute` is at least the norm of the
    convolution by the kernel's absolute values; `offset` pays for underflow.
    """

    lowering: Lowering
    terms: int
    absolute: float
    offset: float


def convolution_rounding(kernel: Matrix, sizes: Sizes) -> Rounding:
    """The constants of the convolution by a kernel [O, I, kh, kw], in the lowering that the graph has for it in l2."""
    lowering = choose(sizes)
    terms, absolute = math.prod(kernel.shape[1:]), schur_bound(np.abs(kernel).sum(axis=(2, 3)))
    if lowering.tile == (1, 1):
        return Rounding(lowering, terms, absolute, 0.0)
    tiled, amplified = tile_rounding(kernel, sizes, lowering)
    # gamma_{n + j} / gamma_{n' + j} <= (n + 2) / (n' + 2) for n <= n', j <= 2
    share = min(1.0, (tiled + 2) / (terms + 2)) * RAISED
    absolute = max(absolute, share * amplified)
    return Rounding(lowering, max(terms, tiled), absolute, UNDERFLOW * (1.0 + absolute))


def rounding_of_sums(kernels: Sequence[Matrix], terms: int) -> Rounding:
    """The constants of plain sums of `terms` products, for one kernel for each group of channels."""
    absolute = max(schur_bound(np.abs(kernel).sum(axis=(2, 3))) for kernel in kernels)
    return Rounding(PLAIN_SUMS, terms, absolute, 0.0)


def tile_rounding(kernel: Matrix, sizes: Sizes, lowering: Lowering) -> tuple[int, float]:
    """n, and at least the norm of the map x -> y-bar."""
    cells = sizes.cells
    parts = [algorithm(tile, taps) for tile, taps in zip(lowering.tile, cells.kernel, strict=True)]
    tiled = [part for part, tile in zip(parts, lowering.tile, strict=True) if tile > 1]
    terms = cells.in_channels
    terms += sum(part.size for part in parts) + sum(part.size for part in tiled)
    terms += sum(part.kernel.shape[1] + 1 for part in tiled)
    frequencies = np.einsum(
        "ap,bq,oipq->aboi", *(np.abs(part.kernel) for part in parts), np.abs(kernel_of_cells(kernel, sizes)),
        optimize=True,
    ).reshape(-1, cells.out_channels, cells.in_channels)  # fmt: skip
    norms = np.array([schur_bound(matrix) for matrix in frequencies])
    back, data = (np.kron(*(np.abs(getattr(part, name)) for part in parts)) for name in ("back", "data"))
    shared = math.prod(-(-part.size // tile) for part, tile in zip(parts, lowering.tile, strict=True))
    return terms, perron_bound(back * norms @ data) * math.sqrt(shared) * RAISED


def kernel_of_cells(kernel: Matrix, sizes: Sizes) -> Matrix:
    """The kernel [O, I, kh, kw] on cells of stride x stride pixels: [O, stride stride I, taps, taps]."""
    (down, right), taps = sizes.stride, sizes.cells.kernel
    ends = [(0, tap * step - side) for tap, step, side in zip(taps, sizes.stride, kernel.shape[2:], strict=True)]
    filled = np.pad(kernel, [(0, 0), (0, 0), *ends])
    apart = filled.reshape(*kernel.shape[:2], taps[0], down, taps[1], right).transpose(0, 3, 5, 1, 2, 4)
    return apart.reshape(len(kernel), -1, *taps)


def perron_bound(matrix: Matrix) -> float:
    """At least the spectral norm of a nonnegative matrix of fewer than 2^20 entries.

    *Proof.* For P = M^T M and any v > 0 the largest eigenvalue of P is at most the maximum of (P v)_i / v_i (Collatz,
    Wielandt). Power iteration proposes v, and a bad one only makes the bound worse.
    """
    largest = float(matrix.max(initial=0.0))
    if largest == 0.0:
        return 0.0
    scaled = matrix / largest
    vector = np.ones(matrix.shape[1])
    for _ in range(PERRON_STEPS):
        image = scaled.T @ (scaled @ vector)
        vector = image / float(image.max()) + 2.0**-20
    return math.sqrt(float((scaled.T @ (scaled @ vector) / vector).max())) * largest * RAISED
