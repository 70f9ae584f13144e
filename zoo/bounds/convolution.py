"""Upper bounds of the norms of zero-padded convolutions of any kernel, stride and padding.

**Torus theorem.** Let A be the convolution of an n x n map by a kernel of side k with stride s and zero padding p,
and let N >= n + p be a multiple of s. Let C be the circular convolution by the same kernel on the torus Z_N^2 and
D the subsampling by s. Then |A| <= |D C|.
*Proof.* Place the map in the cells [0, n) of the torus and 0 elsewhere. An output of A reads positions in
[-p, n - 1 + p]; a position outside [0, n) falls, modulo N, on a cell of [n, N), where the torus holds 0 as the
padding does. So each output of A is the output of D C at its position modulo N. Outputs that read any pixel
stand at positions in [max(0, p - k + 1), n - 1 + p], which are distinct modulo N; the others are zero rows. So the
rows of A are zero or distinct rows of (D C) restricted to the map, and a restriction has no larger norm. Each axis
has its own n, k, s, p and N.

**Symbol.** Circular convolution is diagonal in the Fourier basis, with blocks W(w) = sum_t W_t exp(2 pi i w.t / N);
subsampling adds the s^2 frequencies that alias. With M = N / s,

    |D C|^2 = max over w in Z_M^2 of |[W(w + M a)]_a|^2 / s^2,   a in {0, ..., s - 1}^2,

a maximum over matrices of the size of the kernel's channels. W is real, so half of the frequencies suffice.

**Circular padding.** A convolution that reads the map itself as a torus, N = n, has for its outputs distinct rows of
D C, moved by p, where s divides n and there are at most n / s of them: |A| <= |D C|, and equal where there are as many.

Sedghi, Gupta, Long 2019 (arXiv 1805.10408) have the circular case. On the torus of the map itself, N = n, it is no
bound for zero padding: (-1, 2, -1) on three cells has norm 3.414, its circular norm is 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Literal

import numpy as np
from torch import nn

from zoo.bounds.rounding import OUTWARD, gamma
from zoo.bounds.rule import Context, Shape
from zoo.bounds.spectral import Family, Matrix, NormProof
from zoo.lowering.sizes import Pair, Sizes, sizes_of

# Multiply-adds of the Gram matrix of a materialised convolution that are worth an exact norm (about 10 s on 2 cores).
DENSE_COST = 4e11
MAX_BATCH_ENTRIES = 2**27  # of a matrix, or of a batch of vectors: a GiB
MAX_SYMBOL_ENTRIES = 2**24  # entries of the symbols held at a time

Geometry = Literal["patches", "dense", "torus"]


def kernel_of(layer: nn.Conv2d, context: Context) -> tuple[Matrix, Sizes]:
    """The kernel [O, I, rows, columns] of a Conv2d with proved options that fits its input, and its sizes."""
    shape = context.map_shape()
    if layer.padding_mode not in ("zeros", "circular"):
        raise context.refuse(f"padding_mode={layer.padding_mode!r} is not proved; instead: 'zeros' or 'circular'")
    if isinstance(layer.padding, str):
        raise context.refuse(f"padding={layer.padding!r} is not proved; instead: numbers")
    if shape[0] != layer.in_channels:
        raise context.refuse(f"it has {layer.in_channels} input channels, its input {shape[0]}")
    sizes = sizes_of(layer, shape)
    if min(sizes.output_shape) < 1:
        raise context.refuse(f"its kernel does not fit a map of {shape[1]} x {shape[2]}")
    if layer.padding_mode == "circular":
        (top, left), padded = sizes.padding, layer._reversed_padding_repeated_twice
        if list(padded) != [left, left, top, top]:
            raise context.refuse(f"it pads by {list(padded)} whatever its padding says now; instead: a new layer")
        _check_torus(sizes, context)
    kernel_shape = (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size)
    return context.exact(layer.weight, *kernel_shape), sizes


def _check_torus(sizes: Sizes, context: Context) -> None:
    """Refuse a circular convolution whose taps or outputs would meet on the torus of its map."""
    for side, kernel, stride, outputs in zip(sizes.map, sizes.kernel, sizes.stride, sizes.outputs, strict=True):
        if kernel > side or side % stride or outputs * stride > side:
            raise context.refuse(
                f"padding_mode='circular' is proved for a kernel no larger than the map of {sizes.map[0]} x "
                f"{sizes.map[1]}, a stride that divides it, and an output no larger than the map / stride; instead: "
                "'zeros'"
            )


def groups_of(kernel: Matrix, layer: nn.Conv2d, sizes: Sizes) -> tuple[list[Matrix], Sizes]:
    """The layer as convolutions of separate channels, each without dilation: their kernels, and the sizes of each.

    A dilated kernel is one with zeros between its taps. As a matrix the layer is block diagonal, so that its norm is
    the largest of the groups'.
    """
    filled = np.zeros((*kernel.shape[:2], *sizes.kernel))
    filled[:, :, :: layer.dilation[0], :: layer.dilation[1]] = kernel
    of_group = sizes._replace(in_channels=kernel.shape[1], out_channels=len(kernel) // layer.groups)
    return np.split(filled, layer.groups), of_group


def written_out(kernel: Matrix, layer: nn.Conv2d, input_shape: Shape) -> Matrix:
    """The layer as a matrix [outputs, inputs]."""
    kernels, sizes = groups_of(kernel, layer, sizes_of(layer, input_shape))
    blocks = [dense_matrix(one, sizes) for one in kernels]
    matrix = np.zeros((len(blocks), blocks[0].shape[0], len(blocks), blocks[0].shape[1]))
    matrix[np.arange(len(blocks)), :, np.arange(len(blocks))] = blocks
    return matrix.reshape(matrix.shape[0] * matrix.shape[1], -1)


def convolution_norm(
    kernels: Sequence[Matrix], sizes: Sizes, context: Context
) -> tuple[str, NormProof, dict[str, float]]:
    """The proof that bounds the norm of the convolution by each kernel [O, I, k, k]: method, proof, torus."""
    match geometry(sizes):
        case "patches":
            matrices = [(kernel.reshape(len(kernel), -1), None) for kernel in kernels]
            return "gram-cholesky", context.prove(matrices, len(kernels)), {}
        case "dense":
            matrices = Family(lambda: ((dense_matrix(kernel, sizes), None) for kernel in kernels))
            return "gram-cholesky", context.prove(matrices, len(kernels)), {}
    return "torus-symbol", *torus_norm(kernels, sizes, context)


def torus_norm(kernels: Sequence[Matrix], sizes: Sizes, context: Context) -> tuple[NormProof, dict[str, float]]:
    """The proof by the torus theorem, for a map of any size: quick, and loose only where the map is small."""
    stride, sides = sizes.stride, torus_sides(sizes)
    count, aliases = symbol_count(stride, sides), math.sqrt(stride[0] * stride[1])
    perturbation = max(map(symbol_rounding, kernels)) * aliases * OUTWARD
    symbols = Family(lambda: chain.from_iterable(torus_symbols(kernel, stride, sides) for kernel in kernels))
    proof = context.prove(symbols, count * len(kernels), perturbation, aliases)
    return proof, {"torus_rows": float(sides[0]), "torus_columns": float(sides[1]), "frequencies": float(count)}


def geometry(sizes: Sizes) -> Geometry:
    """How the norm of this convolution is certified, and so what training should estimate.

    `patches`: disjoint windows (stride = kernel, no padding): the norm of the kernel as a matrix, exactly.
    `dense`: small enough to write the operator out as a matrix: its norm, exactly.
    `torus`: the torus theorem; above the true norm by a factor 1 + O(1/n^2).
    """
    if sizes.stride == sizes.kernel and sizes.padding == (0, 0):
        return "patches"
    inputs, outputs = sizes.in_channels * math.prod(sizes.map), math.prod(sizes.output_shape)
    return "dense" if affordable(inputs, outputs) else "torus"


def affordable(rows: int, columns: int) -> bool:
    """Whether the norm of a matrix of this size is worth a Gram matrix."""
    return rows * columns * min(rows, columns) <= DENSE_COST and rows * columns <= MAX_BATCH_ENTRIES


def torus_sides(sizes: Sizes) -> Pair:
    """The smallest N >= n + p that the stride divides, for rows and columns; n where the map is a torus itself."""
    if sizes.circular:
        return sizes.map
    rows, columns = (
        -(-(side + padding) // stride) * stride
        for side, padding, stride in zip(sizes.map, sizes.padding, sizes.stride, strict=True)
    )
    return rows, columns


def dense_matrix(kernel: Matrix, sizes: Sizes) -> Matrix:
    """The convolution as a matrix [outputs, inputs]; every entry is an entry of the kernel or 0, exactly."""
    matrix = np.zeros((*sizes.output_shape, sizes.in_channels, *sizes.map))
    for tap_row, tap_column in np.ndindex(*kernel.shape[2:]):
        out_row, in_row = _read_positions(sizes, 0, tap_row)
        out_column, in_column = _read_positions(sizes, 1, tap_column)
        matrix[:, out_row[:, None], out_column, :, in_row[:, None], in_column] = kernel[:, :, tap_row, tap_column]
    return matrix.reshape(math.prod(sizes.output_shape), -1)


def _read_positions(sizes: Sizes, axis: int, tap: int) -> tuple[np.ndarray, np.ndarray]:
    """The outputs whose `tap` reads a pixel, not padding, and the pixels that they read, along one axis."""
    outputs, side = np.arange(sizes.outputs[axis]), sizes.map[axis]
    positions = outputs * sizes.stride[axis] - sizes.padding[axis] + tap
    if sizes.circular:
        return outputs, positions % side
    inside = (positions >= 0) & (positions < side)
    return outputs[inside], positions[inside]


def torus_symbols(kernel: Matrix, stride: Pair, sides: Pair) -> Iterator[tuple[Matrix, Matrix]]:
    """The blocks [W(w + M a)]_a as (real, imaginary) [O, I * s_rows * s_columns], for half of the frequencies w."""
    out_channels, in_channels, *taps = kernel.shape
    rows, columns = sides
    # Phases are integers over rows * columns, reduced exactly; cosines and sines are read from one table.
    turn = np.arange(rows * columns) * (2.0 * math.pi / (rows * columns))
    cosine, sine = np.cos(turn), np.sin(turn)
    tap_row, tap_column = (index.ravel() for index in np.indices(taps))
    weights = np.ascontiguousarray(kernel.transpose(2, 3, 0, 1)).reshape(len(tap_row), -1)
    alias_rows, alias_columns = rows // stride[0], columns // stride[1]
    count = symbol_count(stride, sides)
    aliases = np.array([(a * alias_rows, b * alias_columns) for a in range(stride[0]) for b in range(stride[1])])
    chunk = max(1, MAX_SYMBOL_ENTRIES // (max(weights.shape) * len(aliases)))
    for start in range(0, count, chunk):
        block = np.arange(start, min(start + chunk, count))
        frequencies = np.stack([block // alias_columns, block % alias_columns], axis=1)
        grid = (frequencies[:, None] + aliases).reshape(-1, 2)
        phase = (grid[:, :1] * tap_row * columns + grid[:, 1:] * tap_column * rows) % (rows * columns)
        shape = (len(block), len(aliases), out_channels, in_channels)
        real = (cosine[phase] @ weights).reshape(shape).transpose(0, 2, 1, 3)
        imaginary = (sine[phase] @ weights).reshape(shape).transpose(0, 2, 1, 3)
        for index in range(len(block)):
            yield real[index].reshape(out_channels, -1), imaginary[index].reshape(out_channels, -1)


def symbol_count(stride: Pair, sides: Pair) -> int:
    """How many blocks `torus_symbols` yields."""
    return (sides[0] // stride[0] // 2 + 1) * (sides[1] // stride[1])


def symbol_rounding(kernel: Matrix) -> float:
    """At least the spectral norm of the rounding error of one W(w) of `torus_symbols`.

    Entrywise, the real and the imaginary part are sums of T products with a cosine or sine whose absolute error is
    at most 20 u (argument within 3 u, below 2 pi; library within 1 u), so each is off by at most
    gamma_{T+32} sum_t |W_t|.
    """
    taps = kernel.shape[2] * kernel.shape[3]
    absolute = np.abs(kernel).sum(axis=(2, 3))
    return math.sqrt(2.0) * gamma(taps + 64) * math.sqrt(float(np.square(absolute).sum())) * OUTWARD**2
