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
from zoo.bounds.rule import Context
from zoo.bounds.spectral import Matrix, NormProof
from zoo.lowering.choice import Convolution

# Multiply-adds of the Gram matrix of a materialised convolution that are worth an exact norm (about 10 s on 2 cores).
DENSE_COST = 4e11
MAX_SYMBOL_ENTRIES = 2**24  # entries of the symbols held at a time

Geometry = Literal["patches", "dense", "torus"]
Shape = tuple[int, int, int]  # channels, rows, columns


def kernel_of(layer: nn.Conv2d, context: Context) -> tuple[Matrix, Shape]:
    """The kernel [O, I, rows, columns] of a Conv2d with proved options that fits its input, and its output's shape."""
    shape = context.map_shape()
    if layer.padding_mode not in ("zeros", "circular"):
        raise context.refuse(f"padding_mode={layer.padding_mode!r} is not proved; instead: 'zeros' or 'circular'")
    if isinstance(layer.padding, str):
        raise context.refuse(f"padding={layer.padding!r} is not proved; instead: numbers")
    if shape[0] != layer.in_channels:
        raise context.refuse(f"it has {layer.in_channels} input channels, its input {shape[0]}")
    outputs = output_shape(layer, shape)
    if min(outputs) < 1:
        raise context.refuse(f"its kernel does not fit a map of {shape[1]} x {shape[2]}")
    if layer.padding_mode == "circular":
        _check_torus(layer, shape, outputs, context)
    kernel_shape = (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size)
    return context.exact(layer.weight, *kernel_shape), outputs


def _check_torus(layer: nn.Conv2d, shape: Shape, outputs: Shape, context: Context) -> None:
    """Refuse a circular convolution whose taps or outputs would meet on the torus of its map."""
    for axis in (0, 1):
        side, stride = shape[1 + axis], layer.stride[axis]
        if reach(layer)[axis] > side or side % stride or outputs[1 + axis] * stride > side:
            raise context.refuse(
                f"padding_mode='circular' is proved for a kernel no larger than the map of {shape[1]} x {shape[2]}, a "
                "stride that divides it, and an output no larger than the map / stride; instead: 'zeros'"
            )


def reach(layer: nn.Conv2d | Convolution) -> tuple[int, int]:
    """The sides of the kernel with the gaps that dilation makes."""
    dilation = layer.dilation if isinstance(layer, nn.Conv2d) else (1, 1)
    rows, columns = (gap * (side - 1) + 1 for gap, side in zip(dilation, layer.kernel_size, strict=True))
    return rows, columns


def groups_of(kernel: Matrix, layer: nn.Conv2d, input_shape: Shape) -> tuple[list[Matrix], Convolution, Shape]:
    """The layer as convolutions of separate channels, each without dilation: kernels, their sizes, their inputs' shape.

    A dilated kernel is one with zeros between its taps. As a matrix the layer is block diagonal, so that its norm is
    the largest of the groups'.
    """
    rows, columns = reach(layer)
    filled = np.zeros((*kernel.shape[:2], rows, columns))
    filled[:, :, :: layer.dilation[0], :: layer.dilation[1]] = kernel
    padding = (int(layer.padding[0]), int(layer.padding[1]))
    circular = layer.padding_mode == "circular" and any(padding)
    sizes = Convolution(len(kernel) // layer.groups, (rows, columns), layer.stride, padding, circular)  # type: ignore
    shape = (input_shape[0] // layer.groups, *input_shape[1:])
    return np.split(filled, layer.groups), sizes, shape  # type: ignore[return-value]


def written_out(kernel: Matrix, layer: nn.Conv2d, input_shape: Shape) -> Matrix:
    """The layer as a matrix [outputs, inputs]."""
    kernels, sizes, shape = groups_of(kernel, layer, input_shape)
    blocks = [dense_matrix(one, sizes, shape) for one in kernels]
    matrix = np.zeros((len(blocks), blocks[0].shape[0], len(blocks), blocks[0].shape[1]))
    matrix[np.arange(len(blocks)), :, np.arange(len(blocks))] = blocks
    return matrix.reshape(matrix.shape[0] * matrix.shape[1], -1)


def convolution_norm(
    kernels: Sequence[Matrix], layer: Convolution, input_shape: Shape, context: Context
) -> tuple[str, NormProof, dict[str, float]]:
    """The proof that bounds the norm of the convolution by each kernel [O, I, k, k]: method, proof, torus."""
    match geometry(layer, input_shape):
        case "patches":
            matrices = ((kernel.reshape(len(kernel), -1), None) for kernel in kernels)
            return "gram-cholesky", context.prove(matrices, len(kernels)), {}
        case "dense":
            matrices = ((dense_matrix(kernel, layer, input_shape), None) for kernel in kernels)
            return "gram-cholesky", context.prove(matrices, len(kernels)), {}
    return "torus-symbol", *torus_norm(kernels, layer, input_shape, context)


def torus_norm(
    kernels: Sequence[Matrix], layer: Convolution, input_shape: Shape, context: Context
) -> tuple[NormProof, dict[str, float]]:
    """The same by the torus theorem, however small the map: quick, and loose only there."""
    stride, sides = (layer.stride[0], layer.stride[1]), torus_sides(layer, input_shape)
    count, aliases = symbol_count(stride, sides), math.sqrt(stride[0] * stride[1])
    perturbation = max(map(symbol_rounding, kernels)) * aliases * OUTWARD
    symbols = chain.from_iterable(torus_symbols(kernel, stride, sides) for kernel in kernels)
    proof = context.prove(symbols, count * len(kernels), perturbation, aliases)
    return proof, {"torus_rows": float(sides[0]), "torus_columns": float(sides[1]), "frequencies": float(count)}


def geometry(layer: nn.Conv2d | Convolution, input_shape: Shape) -> Geometry:
    """How the norm of this convolution is certified, and so what training should estimate.

    `patches`: disjoint windows (stride = kernel, no padding): the norm of the kernel as a matrix, exactly.
    `dense`: small enough to write the operator out as a matrix: its norm, exactly.
    `torus`: the torus theorem; above the true norm by a factor 1 + O(1/n^2).
    """
    if layer.stride == layer.kernel_size and layer.padding == (0, 0):
        return "patches"
    inputs, outputs = math.prod(input_shape), math.prod(output_shape(layer, input_shape))
    return "dense" if inputs * outputs * min(inputs, outputs) <= DENSE_COST else "torus"


def output_shape(layer: nn.Conv2d | Convolution, input_shape: Shape) -> Shape:
    """The shape [C, H, W] of the layer's output."""
    sides = (
        (input_shape[1 + axis] + 2 * int(layer.padding[axis]) - reach(layer)[axis]) // layer.stride[axis] + 1
        for axis in (0, 1)
    )
    return (layer.out_channels, *sides)  # type: ignore[return-value]


def torus_sides(layer: nn.Conv2d | Convolution, input_shape: Shape) -> tuple[int, int]:
    """The smallest N >= n + p that the stride divides, for rows and columns; n where the map is a torus itself."""
    if isinstance(layer, Convolution) and layer.circular:
        return input_shape[1], input_shape[2]
    rows, columns = (
        -(-(input_shape[1 + axis] + int(layer.padding[axis])) // layer.stride[axis]) * layer.stride[axis]
        for axis in (0, 1)
    )
    return rows, columns


def dense_matrix(kernel: Matrix, layer: nn.Conv2d | Convolution, input_shape: Shape) -> Matrix:
    """The convolution as a matrix [outputs, inputs]; every entry is an entry of the kernel or 0, exactly."""
    out_channels, rows_out, columns_out = output_shape(layer, input_shape)
    _, rows_in, columns_in = input_shape
    matrix = np.zeros((out_channels, rows_out, columns_out, *input_shape))
    circular = isinstance(layer, Convolution) and layer.circular
    for tap_row, tap_column in np.ndindex(*kernel.shape[2:]):
        out_row, in_row = _read_positions(rows_out, rows_in, tap_row, layer.stride[0], int(layer.padding[0]), circular)
        out_column, in_column = _read_positions(
            columns_out, columns_in, tap_column, layer.stride[1], int(layer.padding[1]), circular
        )
        matrix[:, out_row[:, None], out_column, :, in_row[:, None], in_column] = kernel[:, :, tap_row, tap_column]
    return matrix.reshape(out_channels * rows_out * columns_out, -1)


def _read_positions(
    outputs: int, inputs: int, tap: int, stride: int, padding: int, circular: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The outputs whose `tap` reads a pixel, not padding, and the pixels that they read, along one axis."""
    positions = np.arange(outputs) * stride - padding + tap
    if circular:
        return np.arange(outputs), positions % inputs
    inside = (positions >= 0) & (positions < inputs)
    return np.flatnonzero(inside), positions[inside]


def torus_symbols(kernel: Matrix, stride: tuple[int, int], sides: tuple[int, int]) -> Iterator[tuple[Matrix, Matrix]]:
    """The blocks [W(w + M a)]_a as (real, imaginary) [O, I * s_rows * s_columns], for half of the frequencies w."""
    out_channels, in_channels, *taps = kernel.shape
    rows, columns = sides
    # Phases are integers over rows * columns, reduced exactly; cosines and sines are read from one table.
    turn = np.arange(rows * columns) * (2.0 * math.pi / (rows * columns))
    cosine, sine = np.cos(turn), np.sin(turn)
    tap_row, tap_column = (index.ravel() for index in np.indices(taps))
    weights = np.ascontiguousarray(kernel.transpose(2, 3, 0, 1)).reshape(len(tap_row), -1)
    alias_rows, alias_columns = rows // stride[0], columns // stride[1]
    frequencies = [(r, c) for r in range(alias_rows // 2 + 1) for c in range(alias_columns)]
    aliases = [(a * alias_rows, b * alias_columns) for a in range(stride[0]) for b in range(stride[1])]
    chunk = max(1, MAX_SYMBOL_ENTRIES // (weights.shape[1] * len(aliases)))
    for start in range(0, len(frequencies), chunk):
        block = frequencies[start : start + chunk]
        grid = np.array([(r + a, c + b) for r, c in block for a, b in aliases])
        phase = (grid[:, :1] * tap_row * columns + grid[:, 1:] * tap_column * rows) % (rows * columns)
        shape = (len(block), len(aliases), out_channels, in_channels)
        real = (cosine[phase] @ weights).reshape(shape).transpose(0, 2, 1, 3)
        imaginary = (sine[phase] @ weights).reshape(shape).transpose(0, 2, 1, 3)
        for index in range(len(block)):
            yield real[index].reshape(out_channels, -1), imaginary[index].reshape(out_channels, -1)


def symbol_count(stride: tuple[int, int], sides: tuple[int, int]) -> int:
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
