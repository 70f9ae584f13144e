"""LipLT: below the product bound, above every Jacobian; tables against every activation pattern."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn

from zoo.bounds import convolution, liplt
from zoo.bounds.convolution import MAX_BATCH_ENTRIES
from zoo.bounds.liplt import Block, LipLT, compose_loops
from zoo.bounds.margins import compared_constants
from zoo.bounds.residual import Loop, find_loop, follow, loop_bounds
from zoo.bounds.rule import Context
from zoo.bounds.table import TABLE
from zoo.errors import UncertifiableLayerError
from zoo.layers import ConvexPotential, Householder, MinMax, Residual

from .networks import NETWORKS, SVD, Matrix, bounds_of, convolutional, dense, matrices, norm, operator, stored
from .oracle import Shape, certified, conv, linear, lipschitz_bound, network


def transformed(net: nn.Sequential, shape: Shape) -> LipLT:
    return liplt.liplt(net, bounds_of(net, shape))


def largest_constants(net: nn.Sequential, shape: Shape, seed: int) -> Matrix:
    """What an ascent of |J_j - J_i| finds for each pair, [C, C], from points of all sizes: below the truth."""
    net = copy.deepcopy(net[1:]).double()  # without the clamp, so that every activation pattern is in reach
    generator = torch.Generator().manual_seed(seed)
    scales = torch.logspace(-2, 2, 24, dtype=torch.float64)
    points = scales.reshape(-1, *[1] * len(shape)) * torch.randn(24, *shape, dtype=torch.float64, generator=generator)
    best = torch.tensor(0.0)
    for _ in range(8):
        points.requires_grad_(True)
        logits = net(points)
        rows = [torch.autograd.grad(column.sum(), points, retain_graph=True)[0].flatten(1) for column in logits.T]
        jacobians = torch.stack(rows, dim=1)  # [N, C, d]
        differences = jacobians[:, :, None] - jacobians[:, None]
        best = torch.maximum(differences.norm(dim=3).amax(0), best)
        with torch.no_grad():  # along the steepest pair's gradient, which crosses into other linear pieces
            pair = differences.norm(dim=3).flatten(1).argmax(dim=1)
            steepest = differences.flatten(1, 2)[torch.arange(len(points)), pair].reshape(points.shape)
            points = points + 0.5 * scales.reshape(-1, *[1] * len(shape)) * steepest / (steepest.norm() + 1e-300)
            points = points + 0.1 * torch.randn(points.shape, dtype=torch.float64, generator=generator)
    return best.numpy()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("case", NETWORKS)
def test_above_every_jacobian_and_below_the_product(case, seed):
    make, shape = NETWORKS[case]
    net = make(seed)
    layers = bounds_of(net, shape)
    found = largest_constants(net, shape, seed)
    weight = net[-1].weight.double().numpy()
    product = np.linalg.norm(weight[:, None] - weight[None], axis=2) * math.prod(one.lipschitz_bound for one in layers)
    off = ~np.eye(len(weight), dtype=bool)
    for cost in (4e11, -1):  # below zero no product is written out
        with patch.object(convolution, "DENSE_COST", cost):
            table = liplt.liplt(net, layers)
        assert (found * SVD <= table.pairwise).all()
        assert (table.pairwise <= product * (1 + 1e-7))[off].all()
        assert table.body <= math.prod(one.lipschitz_bound for one in layers) * (1 + 1e-7)
        assert (np.abs(table.pairwise - table.pairwise.T) <= 1e-12 * table.pairwise).all()


# The recursion -------------------------------------------------------------------------------------------------------


def recursion(
    blocks: Sequence[tuple[Matrix | None, Matrix, Matrix]], head: Matrix, slopes: tuple[float, float]
) -> tuple[list[float], Matrix]:
    """Theorem 3.3 word for word, on dense matrices (H, G, W): the m_k, and the table of the head's differences."""
    alpha, beta = slopes
    hats = [(0 if h is None else h) + (alpha + beta) / 2 * g @ w for h, g, w in blocks]

    def constant(last: Matrix, depth: int) -> float:
        chain, total = last, 0.0
        for j in reversed(range(depth)):
            total += (beta - alpha) / 2 * norm(chain @ blocks[j][1]) * m[j]
            chain = chain @ hats[j]
        return total + norm(chain)

    m: list[float] = []
    for k, (_, _, w) in enumerate(blocks):
        m.append(constant(w, k))
    pairs = [[constant((j - i)[None], len(blocks)) for i in head] for j in head]
    return m, np.array(pairs)


@pytest.mark.parametrize("slopes", [(0.0, 1.0), (0.25, 1.0), (0.1, 0.7), (0.5, 0.5)])
@pytest.mark.parametrize("skips", ["none", "all", "some"])
def test_the_recursion_of_the_theorem(skips, slopes):
    """General H, G, W and slopes; the only differences are roundings, all upward, and the minimum with the product."""
    g = np.random.default_rng(len(skips))
    widths = (5, 4, 6, 5)
    parts: list[tuple[Matrix | None, Matrix, Matrix]] = []
    blocks = []
    for place, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        w, after = stored(g, 7, inputs), stored(g, outputs, 7)
        h = stored(g, outputs, inputs) if skips == "all" or (skips == "some" and place % 2) else None
        parts.append((h, after, w))
        path = None if h is None else (operator(h),)
        blocks.append(Block(Loop((inputs,), path, (operator(w),), (operator(after),), slopes), math.inf))
    head = stored(g, 3, widths[-1])
    found = compose_loops(blocks, (operator(head),))
    m, pairs = recursion(parts, head, slopes)
    naive = [1.0]
    for h, after, w in parts:
        naive.append(((0.0 if h is None else norm(h)) + slopes[1] * norm(after) * norm(w)) * naive[-1])
    assert all(one <= truth * (1 + 1e-6) for one, truth in zip(found.hidden, m, strict=True))
    tight = [norm(w) * reach > truth for (_, _, w), reach, truth in zip(parts, naive, m, strict=False)]
    assert all(one >= truth * SVD for one, truth, binds in zip(found.hidden, m, tight, strict=True) if binds)
    off = ~np.eye(3, dtype=bool)
    assert (found.pairwise[off] <= pairs[off] * (1 + 1e-6)).all()
    assert (found.pairwise[off] >= pairs[off] * SVD * 0.5).all()


def test_the_sum_of_relus_by_hand():
    """relu(x) and relu(-x) summed: |f'| = 1, the product says sqrt(2) * sqrt(2) = 2, LipLT |0| / 2 + 1/2 * 2 = 1."""
    net = network(nn.Flatten(), linear([[1], [-1]]), nn.ReLU(), linear([[1, 1], [0, 0]]))
    table = transformed(net, (1, 1, 1))
    assert table.hidden[0] == pytest.approx(math.sqrt(2), rel=1e-7)
    # |h W / 2| = 0 and |h| m_0 / 2 = sqrt(2) sqrt(2) / 2 = 1
    assert 1.0 <= table.pairwise[1, 0] <= 1.0 + 1e-7
    assert 1.0 <= table.classes[0] <= 1.0 + 1e-7
    assert 1.0 <= table.logits <= 1.0 + 1e-7
    certificate, model = certified(net, (1, 1, 1))
    assert certificate.pairwise is not None
    assert 1.0 <= model.margin_lipschitz[0, 1].item() <= 1.0 + 1e-6
    assert "LipLT" in certificate.composition


def test_two_layers_by_hand():
    """W_0 = 2 I, W_1 = diag(3, 1), head (1, 0), (0, 1), all in [0, 1] slopes, written out in the comments."""
    net = network(
        nn.Flatten(), linear(2 * np.eye(2)), nn.ReLU(), linear(np.diag([3.0, 1.0])), nn.ReLU(), linear(np.eye(2))
    )
    table = transformed(net, (1, 1, 2))
    # m_0 = 2; m_1 = |W_1 W_0| / 2 + |W_1| m_0 / 2 = 3 + 3 = 6. The row h = (1, -1) has h W_1 = (3, -1), h W_1 W_0 =
    # (6, -2): |h W_1 W_0| / 4 + |h W_1| / 2 m_0 / 2 + |h| m_1 / 2 = |(1.5, -0.5)| + |(1.5, -0.5)| + 3 sqrt(2)
    truth = 2 * math.hypot(1.5, 0.5) + 3 * math.sqrt(2)
    assert table.hidden == pytest.approx((2.0, 6.0), rel=1e-7)
    assert truth <= table.pairwise[1, 0] <= truth * (1 + 1e-7)


# One layer: Theorem 3.2 ----------------------------------------------------------------------------------------------


def loop_of(layer: Residual, shape: Shape) -> Loop:
    context = Context("layer", shape, rows=TABLE)
    skip = follow({} if layer.skip is None else {"skip": layer.skip}, context)
    loop = find_loop(skip, follow(layer.branch._modules, context), shape)
    assert loop is not None
    return loop


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("slopes", [(0.0, 1.0), (0.2, 0.9)])
def test_refinements_of_one_layer(seed, slopes):
    """Each T of the theorem against dense linear algebra and against every activation pattern."""
    g = np.random.default_rng(seed)
    h, after, w = stored(g, 4, 5), stored(g, 4, 6) * 10.0 ** g.uniform(-1, 1, 6), stored(g, 6, 5)
    after = after.astype(np.float32).astype(np.float64)
    layer = Residual(linear(w), nn.ReLU(), linear(after), skip=linear(h))
    found, _ = loop_bounds(loop_of(layer, (5,))._replace(slopes=slopes), Context("layer", (5,)))
    gram = np.abs(after.T @ after)
    q = 1 / np.linalg.norm(after, axis=0)
    hat = norm(h + sum(slopes) / 2 * after @ w)
    half = (slopes[1] - slopes[0]) / 2
    truths = {
        "sn": hat + half * norm(after) * norm(w),
        "aol": hat + half * norm(np.sqrt(gram.sum(axis=1))[:, None] * w),
        "sll": hat + half * norm(np.sqrt(gram @ q / q)[:, None] * w),
    }
    patterns = [norm(h + after @ np.diag(d) @ w) for d in itertools.product(slopes, repeat=6)]
    for name, truth in truths.items():
        assert truth * SVD <= found[name] <= truth * (1 + 1e-6)
        assert found[name] >= max(patterns) * SVD
    if slopes == (0.0, 1.0):
        assert lipschitz_bound(layer, (5,)) <= min(*truths.values(), norm(h) + norm(after) * norm(w)) * (1 + 1e-6)


def test_one_layer_by_hand():
    """x - relu(x): the product says 2, the loop |1 - 1/2| + 1/2 = 1, which is true. With H = 0 instead, 1 as well."""
    assert 1.0 <= lipschitz_bound(Residual(linear(np.eye(2)), nn.ReLU(), linear(-np.eye(2))), (2,)) <= 1.0 + 1e-7
    skip = linear(np.zeros((2, 2)))
    plain = Residual(linear(np.eye(2)), nn.ReLU(), linear(np.eye(2)), skip=skip)
    assert 1.0 <= lipschitz_bound(plain, (2,)) <= 1.0 + 1e-7
    # G with orthogonal columns of lengths 1 and 3, W of rows 3 and 1: |G| |W| = 9, |G W| = 3 as aol and sll see
    layer = Residual(linear(np.diag([3.0, 1.0])), nn.ReLU(), linear(np.diag([1.0, 3.0])))
    assert 4.0 <= lipschitz_bound(layer, (2,)) <= 4.0 + 1e-6


def test_large_blocks_keep_the_product():
    layer = Residual(conv(np.ones((2, 2, 3, 3)), padding=1), nn.ReLU(), conv(-np.ones((2, 2, 3, 3)), padding=1))
    small = lipschitz_bound(layer, (2, 6, 6))
    with patch.object(convolution, "DENSE_COST", 10):
        large = lipschitz_bound(layer, (2, 6, 6))
        norms = [lipschitz_bound(layer.branch[place], (2, 6, 6)) for place in (0, 2)]
    assert small < large
    assert large == pytest.approx(1 + norms[0] * norms[1], rel=1e-6)


def test_proposition_3_1_is_a_convex_potential():
    """sqrt(rho) x - W^T T relu(W x + b) / sqrt(rho), W W^T <= 2 rho T^-1: sqrt(rho) times ours with t = T / rho."""
    g = np.random.default_rng(0)
    rho, w, bias = 2.25, torch.tensor(stored(g, 6, 4)), torch.tensor(g.standard_normal(6))
    t = 2 * rho / (w @ w.T).abs().sum(dim=1)  # T^-1 >= W W^T / (2 rho), by diagonal dominance
    layer = ConvexPotential(4, 6)
    with torch.no_grad():
        layer.weight.copy_(w)
        layer.bias.copy_(bias)
        layer.step.copy_(t / rho * (1 - 1e-6))
    x = torch.tensor(g.standard_normal((50, 4)))
    theirs = rho**0.5 * x - (torch.relu(x @ w.T + layer.bias.double()) * t) @ w / rho**0.5
    ours = rho**0.5 * copy.deepcopy(layer).double()(x)
    assert torch.allclose(theirs, ours, atol=1e-5)
    assert lipschitz_bound(layer, (4,)) == 1.0
    # A factor commutes with relu: c h(x) = h'(c x) where h' has the biases c b.
    moved = copy.deepcopy(layer).double()
    with torch.no_grad():
        moved.bias.mul_(rho**0.5)
    assert torch.allclose(ours, moved(rho**0.5 * x), atol=1e-12)


# Tables --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_tables_against_every_activation_pattern(seed):
    """All 2^8 patterns, realised or not: no table is below the largest |J_j - J_i| of those that LipLT covers."""
    net = dense(seed, (3, 4, 4, 3))
    first, second, head = matrices(net, (1, 1, 3))
    found = np.zeros((3, 3))
    for pattern in itertools.product((0.0, 1.0), repeat=8):
        jacobian = head @ np.diag(pattern[4:]) @ second @ np.diag(pattern[:4]) @ first
        found = np.maximum(found, np.linalg.norm(jacobian[:, None] - jacobian[None], axis=2))
    certificate, model = certified(net, (1, 1, 3))
    tables = compared_constants(head, certificate.body_lipschitz, transformed(net, (1, 1, 3)))
    for name, table in tables.items():
        assert (table >= found * SVD).all(), name
    off = ~np.eye(3, dtype=bool)
    assert (model.margin_lipschitz.numpy() >= found * SVD)[off].all()
    assert (tables["LipLT, pairs"][off] <= tables["LipLT, sums"][off] * (1 + 1e-6)).all()
    assert (tables["product, pairs"][off] <= tables["product, sums"][off] * (1 + 1e-6)).all()
    assert (tables["LipLT, pairs"][off] <= tables["product, pairs"][off] * (1 + 1e-6)).all()


def test_the_certificate_takes_the_smaller_of_both_for_each_pair():
    net = dense(3, (4, 7, 5, 4))
    certificate, model = certified(net, (1, 2, 2))
    head = net[-1].weight.double().numpy()
    table = model.margin_lipschitz.numpy()
    product = np.linalg.norm(head[:, None] - head[None], axis=2) * certificate.body_lipschitz
    pairs = np.zeros((4, 4))
    assert certificate.pairwise is not None
    for (j, i), constant in zip([(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)], certificate.pairwise, strict=True):
        pairs[j, i] = pairs[i, j] = constant
    assert (pairs == transformed(net, (1, 2, 2)).pairwise)[~np.eye(4, dtype=bool)].all()
    off = ~np.eye(4, dtype=bool)
    assert (table == table.T).all()
    assert (np.diag(table) == 1).all()
    assert (table[off] > np.minimum(product, pairs)[off]).all()  # rounded up
    assert (table[off] < np.minimum(product, pairs)[off] * (1 + 1e-9)).all()


def test_many_classes_stop_where_their_rows_grow_too_large():
    """Rows that cannot be followed to the input stop at a layer; what is left is the constant up to there."""
    net, shape = convolutional(0), (1, 6, 5)
    layers = bounds_of(net, shape)
    full = liplt.liplt(net, layers)
    found = largest_constants(net, shape, 0)
    product = compared_constants(
        net[-1].weight.double().numpy(), math.prod(one.lipschitz_bound for one in layers), None
    )
    tables = []
    for entries in (MAX_BATCH_ENTRIES, 3 * 97, 10):
        with patch.object(liplt, "MAX_BATCH_ENTRIES", entries):
            tables.append(liplt.liplt(net, layers).pairwise)
    assert (tables[0] == full.pairwise).all()
    for table in tables:
        assert (found * SVD <= table).all()
        assert (table <= product["product, pairs"] * (1 + 1e-6))[~np.eye(3, dtype=bool)].all()
    assert (tables[2] > tables[0]).any()


# All else is refused -------------------------------------------------------------------------------------------------

OTHERS = {
    "MinMax": lambda: [MinMax("halves")],
    "Householder": lambda: [Householder(4)],
    "a potential": lambda: [ConvexPotential(4, 3)],
    "no activation": list,
    "a branch of MinMax": lambda: [Residual(nn.Linear(4, 4), MinMax("halves"), nn.Linear(4, 4))],
    "a branch of two ReLUs": lambda: [Residual(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU())],
    "a linear branch": lambda: [Residual(nn.Linear(4, 4))],
    "a skip that is not linear": lambda: [Residual(nn.Linear(4, 4), nn.ReLU(), skip=MinMax("halves"))],
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_activations_keep_the_product(case):
    net = network(nn.Flatten(), linear(np.eye(4)), *OTHERS[case](), linear(np.eye(4)))
    certificate, _ = certified(net, (1, 2, 2))
    assert certificate.pairwise is None
    assert "LipLT" not in certificate.composition
    with pytest.raises(
        UncertifiableLayerError, match=r"LipLT (does not apply|gains nothing|has nothing to transform)"
    ) as refused:
        liplt.liplt(net, certificate.layers)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("factors", [(1e35, 1e35), (1e-36,) * 6])
def test_weights_beyond_all_products_keep_the_product_bound(factors: tuple[float, ...]):
    """Squares of squares of products must not overflow, nor products underflow; so for a network, and for a block."""
    layers = [layer for factor in factors for layer in (linear(factor * np.eye(2)), nn.ReLU())]
    net = network(nn.Flatten(), *layers, linear(np.eye(2)))
    certificate, _ = certified(net, (1, 1, 2))
    assert certificate.pairwise is None
    with pytest.raises(UncertifiableLayerError, match="could leave the range of binary64: LipLT does not apply"):
        liplt.liplt(net, certificate.layers)
    assert certificate.body_lipschitz >= math.prod(float(np.float32(factor)) for factor in factors)
    block = Residual(linear(1e35 * np.eye(2)), nn.ReLU(), linear(-1e35 * np.eye(2)))
    assert 1e70 <= lipschitz_bound(block, (2,)) <= 1e70 * (1 + 1e-6)
