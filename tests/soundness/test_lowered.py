"""Convolutions as the graph computes them: exact in exact arithmetic, and rounded within what the rule states."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from zoo.bounds.lowered import convolution_rounding, tile_rounding
from zoo.bounds.rounding import gamma
from zoo.bounds.table import TABLE
from zoo.lowering.choice import PLAIN_SUMS, TILES, Lowering, choose
from zoo.lowering.convolution import convolve
from zoo.lowering.nodes import Nodes
from zoo.lowering.sizes import Sizes
from zoo.lowering.toomcook import algorithm, exact_algorithm
from zoo.lowering.values import Value

from .oracle import conv
from .replay import exact, replay

Matrix = NDArray[np.float64]


# Algorithms ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("outputs", "taps"), [*itertools.product((2, 4, 6), (2, 3, 4))])
def test_an_algorithm_is_the_correlation_in_fractions(outputs, taps):
    """Entry by entry: sum over f of A_if G_fj B_fk is 1 where k = i + j, else 0."""
    back, kernel, data = exact_algorithm(outputs, taps)
    for i, j, k in np.ndindex(outputs, taps, outputs + taps - 1):
        found = sum(back[i][f] * kernel[f][j] * data[f][k] for f in range(len(data)))
        assert found == (k == i + j)
    rounded = algorithm(outputs, taps)
    for matrix, fractions in ((rounded.back, back), (rounded.data, data)):
        assert [Fraction(entry) for entry in matrix.ravel().tolist()] == list(itertools.chain(*fractions))
    for entry, fraction in zip(rounded.kernel.ravel().tolist(), itertools.chain(*kernel), strict=True):
        assert abs(Fraction(entry) - fraction) <= abs(fraction) / 2**53


# Values --------------------------------------------------------------------------------------------------------------


def graph(sizes: Sizes, lowering: Lowering, kernel: Matrix, bias: Matrix) -> tuple[ModelProto, Value]:
    stored = {
        name: numpy_helper.from_array(value.astype(np.float32), name) for name, value in (("w", kernel), ("b", bias))
    }
    nodes = Nodes("float64", stored, TABLE)
    shape = (sizes.in_channels, *sizes.map)
    y = convolve(nodes, Value("x", shape), nodes.weight("w"), sizes, lowering, nodes.weight("b"))
    y = nodes.planes(y)
    nodes.add("Identity", y.name, output="y")
    x, out = (helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in ("x", "y"))
    made = helper.make_graph(nodes.nodes, "convolution", [x], [out], list(nodes.initializers.values()))
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), y


def run(model: ModelProto, x: Matrix) -> Matrix:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


SHAPES = {
    "3x3": Sizes(2, 3, (3, 3), (1, 1), (1, 1), (5, 6)),
    "3x3, no padding": Sizes(2, 2, (3, 3), (1, 1), (0, 0), (7, 5)),
    "3x3, one pixel": Sizes(2, 3, (3, 3), (1, 1), (1, 1), (1, 1)),
    "3x3, a map smaller than a tile": Sizes(1, 2, (3, 3), (1, 1), (1, 1), (2, 3)),
    "3x3, much padding": Sizes(1, 1, (3, 3), (1, 1), (3, 2), (4, 4)),
    "1x1": Sizes(3, 2, (1, 1), (1, 1), (0, 0), (3, 4)),
    "1x1, padding": Sizes(3, 2, (1, 1), (1, 1), (1, 2), (3, 4)),
    "1x1, stride 2": Sizes(3, 2, (1, 1), (2, 2), (0, 0), (5, 4)),
    "5x5, stride 2": Sizes(2, 2, (5, 5), (2, 2), (2, 2), (8, 8)),
    "4x4, stride 2": Sizes(2, 2, (4, 4), (2, 2), (1, 1), (8, 6)),
    "3x3, stride 2": Sizes(2, 2, (3, 3), (2, 2), (1, 1), (7, 8)),
    "7x7, stride 4": Sizes(1, 2, (7, 7), (4, 4), (3, 3), (9, 11)),
    "patches": Sizes(2, 3, (4, 4), (4, 4), (0, 0), (8, 9)),
    "even": Sizes(2, 2, (2, 4), (1, 1), (1, 0), (5, 6)),
    "rectangular": Sizes(2, 2, (1, 3), (2, 1), (0, 1), (5, 6)),
    "strides apart": Sizes(2, 2, (3, 2), (1, 2), (2, 1), (4, 7)),
}


def tiles_of(sizes: Sizes) -> list[Lowering]:
    tall, wide = (TILES if tap > 1 else (1,) for tap in sizes.cells.kernel)
    return [
        Lowering(tile) for tile in itertools.product(tall, wide) if tile[0] == tile[1] or 1 in (len(tall), len(wide))
    ]


def random_kernel(sizes: Sizes, seed: int = 0) -> tuple[Matrix, Matrix]:
    g = np.random.default_rng(seed)
    kernel = g.standard_normal((sizes.out_channels, sizes.in_channels, *sizes.kernel))
    return kernel.astype(np.float32).astype(np.float64), g.standard_normal(sizes.out_channels).astype(np.float32) * 1.0


@pytest.mark.parametrize("case", SHAPES)
def test_every_tile_gives_the_convolution(case):
    sizes = SHAPES[case]
    kernel, bias = random_kernel(sizes)
    x = np.random.default_rng(1).standard_normal((3, sizes.in_channels, *sizes.map))
    truth = torch.nn.functional.conv2d(
        *(torch.from_numpy(array) for array in (x, kernel, bias.astype(np.float64))), sizes.stride, sizes.padding
    ).numpy()
    for lowering in tiles_of(sizes):
        assert np.abs(run(graph(sizes, lowering, kernel, bias)[0], x) - truth).max() < 1e-11, lowering


KERNELS = {
    "normal": lambda shape, g: g.standard_normal(shape),
    "alternating": lambda shape, g: (-1.0) ** np.indices(shape)[2:].sum(axis=0) * (1 + 1e-3 * g.random(shape)),
    "ill-conditioned": lambda shape, g: g.standard_normal(shape) * 10.0 ** g.uniform(-12, 3, shape),
    "tiny": lambda shape, g: g.standard_normal(shape) * 1e-38,
    "huge": lambda shape, g: g.uniform(0.5, 1, shape) * 3e38,
    "one tap": lambda shape, g: (np.indices(shape)[2:].sum(axis=0) == 2) * (1 + g.random(shape)),
}


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("case", ["3x3", "4x4, stride 2"])
def test_the_rounding_of_every_tile_is_within_its_constants(case, kind):
    """Against fractions, without a bias, whose own rounding would hide the rest."""
    sizes = SHAPES[case]
    g = np.random.default_rng(3)
    kernel = (
        KERNELS[kind]((sizes.out_channels, sizes.in_channels, *sizes.kernel), g).astype(np.float32).astype(np.float64)
    )
    x = g.standard_normal((1, sizes.in_channels, *sizes.map)) * 10.0 ** g.uniform(-3, 0, (1, 1, *sizes.map))
    truth = replay([conv(kernel, None, sizes.stride, sizes.padding)], exact(x[0]))  # type: ignore[arg-type]
    size = math.sqrt(float(np.square(x).sum())) * (1 + 1e-12)
    for lowering in tiles_of(sizes):
        found = run(graph(sizes, lowering, kernel, np.zeros(sizes.out_channels))[0], x)[0]
        error = sum((entry * entry for entry in (exact(found) - truth).flat), Fraction(0))
        terms, absolute = stated(kernel, sizes, lowering)
        assert error <= (Fraction(gamma(terms)) * Fraction(absolute * size)) ** 2


def stated(kernel: Matrix, sizes: Sizes, lowering: Lowering) -> tuple[int, float]:
    if lowering == PLAIN_SUMS:
        return math.prod(kernel.shape[1:]), float(np.linalg.norm(np.abs(kernel).sum(axis=(2, 3)))) * (1 + 1e-9)
    return tile_rounding(kernel, sizes, lowering)


# The constants themselves --------------------------------------------------------------------------------------------


def absolute_map(kernel: Matrix, sizes: Sizes, lowering: Lowering) -> Matrix:
    """The matrix of x -> y-bar for a convolution of stride 1, tile by tile from its definition."""
    parts = [algorithm(tile, taps) for tile, taps in zip(lowering.tile, sizes.kernel, strict=True)]
    rows, columns = sizes.outputs
    matrix = np.zeros((sizes.out_channels, rows, columns, sizes.in_channels, *sizes.map))
    (tall, wide), (a, b) = lowering.tile, (part.size for part in parts)
    vertical, horizontal = (tuple(np.abs(matrix) for matrix in part) for part in parts)
    frequencies = np.einsum("ap,bq,oipq->aboi", vertical[1], horizontal[1], np.abs(kernel))
    for top, left in itertools.product(range(0, rows, tall), range(0, columns, wide)):
        for i, j, k, l in np.ndindex(tall, wide, a, b):  # noqa: E741
            row, column = top + k - sizes.padding[0], left + l - sizes.padding[1]
            if top + i < rows and left + j < columns and 0 <= row < sizes.map[0] and 0 <= column < sizes.map[1]:
                weights = np.einsum(
                    "a,b->ab", vertical[0][i] * vertical[2][:, k], horizontal[0][j] * horizontal[2][:, l]
                )
                matrix[:, top + i, left + j, :, row, column] = np.einsum("ab,aboi->oi", weights, frequencies)
    return matrix.reshape(sizes.out_channels * rows * columns, -1)


@pytest.mark.parametrize("tile", [2, 4, 6])
@pytest.mark.parametrize("case", ["3x3", "3x3, no padding", "3x3, much padding", "even"])
def test_the_norm_of_the_absolute_map_is_bounded(case, tile):
    sizes = SHAPES[case]._replace(map=(11, 12))
    kernel, _ = random_kernel(sizes, 5)
    lowering = Lowering((tile, tile))
    _, absolute = tile_rounding(kernel, sizes, lowering)
    truth = float(np.linalg.norm(absolute_map(kernel, sizes, lowering), 2))
    assert truth * (1 - 1e-12) <= absolute <= 4 * truth


def test_tiles_that_overlap_count_as_often_as_a_pixel_is_read():
    """One channel, so that a tile's own norm is all but met: what is above it is due to the overlap."""
    sizes = Sizes(1, 1, (3, 3), (1, 1), (1, 1), (16, 16))
    kernel = np.ones((1, 1, 3, 3))
    lowering = Lowering((2, 2))
    whole = float(np.linalg.norm(absolute_map(kernel, sizes, lowering), 2))
    single = sizes._replace(map=(4, 4), padding=(0, 0))
    one = float(np.linalg.norm(absolute_map(kernel, single, lowering), 2))
    assert one * 1.2 < whole <= tile_rounding(kernel, sizes, lowering)[1]


@pytest.mark.parametrize("case", ["3x3", "even", "rectangular", "4x4, stride 2"])
def test_roundings_are_those_of_the_graph_s_sums(case):
    """Counted in the nodes: the most numbers that are not 0 in a row of a left factor, or the terms of a product."""
    sizes = SHAPES[case]
    kernel, bias = random_kernel(sizes)
    for lowering in tiles_of(sizes):
        if lowering == PLAIN_SUMS:
            continue
        model, _ = graph(sizes, lowering, kernel, bias)
        constants = {value.name: numpy_helper.to_array(value) for value in model.graph.initializer}
        parts = [algorithm(tile, taps) for tile, taps in zip(lowering.tile, sizes.cells.kernel, strict=True)]
        count = sizes.cells.in_channels  # the product
        for node in model.graph.node:
            if node.op_type == "MatMul" and node.input[0] in constants:
                left = constants[node.input[0]]
                count += int((left != 0).sum(axis=1).max())
                count += any(left.shape == part.kernel.shape and (left == part.kernel).all() for part in parts)
        terms, _ = tile_rounding(kernel, sizes, lowering)
        assert terms >= count
        found = convolution_rounding(kernel, sizes)
        assert found.terms >= math.prod(kernel.shape[1:])
        if found.lowering == lowering:
            assert found.terms >= terms


def test_constants_hold_for_sums_and_for_tiles():
    """Of many channels the plain sums have more terms, of few the tiles."""
    for channels in (3, 64):
        sizes = Sizes(channels, 32, (3, 3), (1, 1), (1, 1), (16, 16))
        kernel, _ = random_kernel(sizes, 7)
        found = convolution_rounding(kernel, sizes)
        assert found.lowering.tile != (1, 1)
        terms, absolute = tile_rounding(kernel, sizes, found.lowering)
        direct = float(np.linalg.norm(np.abs(kernel).sum(axis=(2, 3)), 2))
        for more in (0, 1, 2):
            least = max(gamma(terms + more) * absolute, gamma(9 * channels + more) * direct)
            assert gamma(found.terms + more) * found.absolute >= least


# The choice ----------------------------------------------------------------------------------------------------------


def test_the_choice_depends_on_sizes_and_norm():
    wide = Sizes(128, 128, (3, 3), (1, 1), (1, 1), (16, 16))
    assert str(choose(wide)) == "toom-cook 4x4"
    assert str(choose(wide, "linf")) == "sums"
    assert str(choose(wide._replace(kernel=(1, 1), padding=(0, 0)))) == "sums"
    assert str(choose(wide._replace(kernel=(4, 4), stride=(4, 4), padding=(0, 0)))) == "sums"
    assert choose(wide._replace(kernel=(1, 3), padding=(0, 1))).tile[0] == 1
    small = choose(wide._replace(map=(2, 2))).tile
    assert small[0] <= 2


@pytest.mark.parametrize("kernel", [(9, 9), (1, 12), (30, 1), (8, 3)])
def test_a_kernel_with_more_taps_than_points_is_summed_or_has_smaller_tiles(kernel):
    sizes = Sizes(1, 1, kernel, (1, 1), (0, 0), (40, 40))
    for tile, taps in zip(choose(sizes).tile, kernel, strict=True):
        assert algorithm(tile, taps).size == tile + taps - 1
