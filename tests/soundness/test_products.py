"""Norms of products of layers: against SVDs, integers and fractions."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn

from zoo.bounds import convolution, liplt
from zoo.bounds.liplt import Block, compose_loops, product_norms
from zoo.bounds.products import Vectors, basis
from zoo.bounds.residual import Loop, _absolute_gram

from .networks import NETWORKS, SVD, bounds_of, matrices, norm, operator, stored
from .oracle import conv, linear, network


@pytest.mark.parametrize("cost", [4e11, 300, -1])
@pytest.mark.parametrize("case", ["dense", "deep and narrow", "convolutions"])
def test_products_are_above_their_svd(case, cost):
    """Zero tolerance but for the oracle's rounding; written out they are met, cut they are above."""
    make, shape = NETWORKS[case]
    for seed in range(3):
        net = make(seed)
        layers = bounds_of(net, shape)
        blocks, _ = liplt._blocks(net, layers)
        with patch.object(convolution, "DENSE_COST", cost):
            table = product_norms(blocks)
        dense_layers = matrices(net, shape)
        for k, j in [(end, start) for end in range(len(blocks)) for start in range(-1, end)]:
            truth = norm(np.linalg.multi_dot([np.eye(len(dense_layers[k])), *dense_layers[j + 1 : k + 1][::-1]]))
            truth *= 0.5 ** (k - j - 1)
            assert table[k][j + 1] >= truth * SVD
            if cost == 4e11 and k - j <= liplt.MAX_CHAIN and k > j + 1:
                assert table[k][j + 1] <= truth * (1 + 1e-7)


def test_a_torus_is_no_bound_of_a_product():
    """(-1, 2, -2) after (-2, -2, -1) on three cells: cut off in between, it exceeds the symbols' product by 12 %."""
    taps = (np.array([-2.0, -2.0, -1.0]), np.array([-1.0, 2.0, -2.0]))
    layers = [conv(one.reshape(1, 1, 1, 3), padding=(0, 1)) for one in taps]
    net = network(layers[0], nn.ReLU(), layers[1], nn.ReLU(), nn.Flatten(), linear(np.eye(2, 3)))
    blocks, _ = liplt._blocks(net, bounds_of(net, (1, 1, 3)))
    first, second = matrices(net, (1, 1, 3))[:2]
    turns = 2 * np.pi * np.arange(512) / 512
    shifts = np.exp(1j * np.outer([-1, 0, 1], turns))
    symbols = np.abs((taps[0] @ shifts) * (taps[1] @ shifts)).max()
    assert norm(second @ first) > symbols * 1.1
    assert product_norms(blocks)[1][0] >= norm(second @ first) / 2 * SVD


@pytest.mark.parametrize("seed", range(3))
def test_the_stated_error_of_a_product_is_above_the_true_one(seed):
    """Against integers: the float64 product of three matrices of 24-bit numbers, cancelling by design."""
    g = np.random.default_rng(seed)
    parts = [
        stored(g, 6, 6) * 10.0 ** g.integers(-3, 4, (6, 6)).astype(np.float32).astype(np.float64) for _ in range(3)
    ]
    parts = [part.astype(np.float32).astype(np.float64) for part in parts]
    vectors = basis((6,)).through(tuple(operator(part) for part in parts))
    exact = np.eye(6, dtype=object)
    for part in parts:
        exact = np.array([[int(x * 2**80) for x in row] for row in part.tolist()], dtype=object) @ exact
    computed = np.array([[int(x * 2**240) for x in row] for row in vectors.computed.T.tolist()], dtype=object)
    error = sum(int(x) ** 2 for x in (computed - exact).flat)
    assert 0 < error <= (int(vectors.error * 2**300) ** 2 >> 120)


def test_sizes_survive_squares_that_underflow():
    """Layers behind may amplify what is as small as that, and so its error."""
    assert Vectors(torch.full((2, 2), 1e-165, dtype=torch.float64)).size >= 2e-165


def test_an_error_grows_with_the_layers_behind_it_and_counts_in_every_norm():
    vectors = Vectors(torch.zeros(3, 2, dtype=torch.float64), 1.0)
    for adjoint in (False, True):
        assert vectors.through((operator(4 * np.eye(2)), operator(8 * np.eye(2))), adjoint).error >= 32
    measured = liplt._measure(vectors)
    assert (measured[:9] >= math.sqrt(2)).all()
    assert (measured[9:] >= 1).all()


def test_what_is_not_written_out_is_the_product_of_all_its_factors():
    """Two blocks (G = 4 I, W = I / 2) by hand: x_0 -> y_1 is 4 / 2 / 2 W W, and H counts where there is one."""
    before, after = (operator(np.eye(2) / 2),), (operator(4 * np.eye(2)),)
    plain = Block(Loop((2,), None, before, after), math.inf)
    with patch.object(liplt, "affordable", lambda rows, columns: False):
        norms = product_norms([plain, plain])
    assert norms[1] == [pytest.approx(0.5), pytest.approx(2.0)]
    assert norms[1] >= [0.5, 2.0]
    skipped = Block(Loop((2,), (operator(3 * np.eye(2)),), before, after), math.inf)
    assert compose_loops([skipped], (operator(np.eye(2)),)).body >= 3 + 4 / 2


@pytest.mark.parametrize("seed", range(12))
def test_the_gram_matrix_of_a_cancelling_product_is_rounded_up(seed):
    """Columns whose largest products cancel, with what the sum lost before that, against fractions."""
    matrix = stored(np.random.default_rng(seed), 7, 4)
    (one, other), size = matrix[[0, 5], 0], 2.0**30
    matrix[[0, 5]] = [[size * one, other, size * other, one], [size * other, -one, -size * one, other]]
    gram = _absolute_gram(basis((4,)).through((operator(matrix),)))
    columns = [[Fraction(entry) for entry in column] for column in matrix.T.tolist()]
    for i, j in itertools.product(range(4), repeat=2):
        assert gram[i, j] >= abs(sum(a * b for a, b in zip(columns[i], columns[j], strict=True)))
