"""The layers of LipNeXt beside its 1 x 1 convolutions: shifts, offsets, some absolute values, norms of patches."""

from __future__ import annotations

import copy
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from zoo.bounds.rounding import gamma
from zoo.bounds.rule import Context, intervals_of
from zoo.bounds.table import TABLE, bound_layer
from zoo.errors import UncertifiableLayerError
from zoo.layers import Abs, L2Pool, PositionOffset, SpatialShift

from .oracle import Shape, conv, linear, lipschitz_bound, network
from .replay import exact, replay
from .test_composite import largest_stretch
from .test_rounding import check


def offsets(rows: int, columns: int, size: float = 1.0) -> PositionOffset:
    layer = PositionOffset(rows, columns)
    nn.init.normal_(layer.weight, std=size, generator=torch.Generator().manual_seed(0))
    return layer


LAYERS: dict[str, tuple[nn.Module, Shape]] = {
    "shift": (SpatialShift(2), (9, 3, 4)),
    "shift of all": (SpatialShift(1), (4, 1, 2)),
    "offset": (offsets(2, 3), (3, 2, 3)),
    "some absolute values": (Abs(2), (5, 2, 2)),
    "norms of patches": (L2Pool(2), (2, 4, 6)),
    "norms of maps": (L2Pool(4), (3, 4, 4)),
}


@pytest.mark.parametrize("case", LAYERS)
def test_every_one_is_1_lipschitz_and_no_less(case):
    layer, shape = LAYERS[case]
    assert lipschitz_bound(layer, shape) == 1.0
    assert 1 - 1e-12 <= largest_stretch(layer, shape, 0) <= 1 + 1e-14  # the Jacobian's own rounding


def test_a_shift_moves_each_group_its_own_way_around_the_map():
    x = torch.zeros(1, 5, 3, 3)
    x[:, :, 0, 1] = torch.arange(1.0, 6.0)
    y = SpatialShift(1)(x)[0]
    places = [tuple(channel.nonzero()[0].tolist()) for channel in y]
    assert places == [(1, 1), (2, 1), (0, 2), (0, 0), (0, 1)]
    assert y.amax(dim=(1, 2)).tolist() == [1, 2, 3, 4, 5]


def test_the_pool_of_zeros_has_a_gradient():
    x = torch.zeros(1, 1, 2, 2, requires_grad=True)
    L2Pool(2)(x).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("case", LAYERS)
def test_floats_stay_within_the_stated_rounding(case, seed):
    layer, shape = LAYERS[case]
    g = np.random.default_rng(seed)
    before = conv(g.standard_normal((shape[0], 2, 1, 1)), 3 * g.standard_normal(shape[0]))
    body = network(before, layer, nn.Flatten(), channels=2)
    features = body(torch.zeros(1, 2, *shape[1:])).shape[1]
    net = network(*body, linear(g.standard_normal((3, features)), g.standard_normal(3)))
    check(net, torch.rand(2, 2, *shape[1:], generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("size", [0.0, 1e-300, 1e-170, 1e-161, 1e-154, 1.0, 1e90])
def test_the_rounding_of_roots_is_covered_also_where_squares_underflow(size):
    layer, shape = L2Pool(2), (3, 4, 4)
    bound = bound_layer(layer, Context("pool", shape))
    for seed in range(20):
        x = size * torch.randn(1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        off = exact(layer(x)[0]) - replay(nn.Sequential(layer), exact(x[0]))
        norm = Fraction(float(x.abs().max())) * 7  # of 48 numbers
        local = Fraction(gamma(bound.fan_in + 2)) * (Fraction(bound.absolute_norm) * norm + Fraction(bound.offset_norm))
        assert sum(entry * entry for entry in off.flat) <= local**2


def test_an_offset_rounds_as_much_as_it_says():
    """A number far larger than the offset takes it up with an error of half a unit in its last place."""
    layer, shape = offsets(2, 2, 1.0), (2, 2, 2)
    bound = bound_layer(layer, Context("offset", shape))
    for size in (1.0, 2.0**20, 2.0**53):
        x = torch.full((1, *shape), size, dtype=torch.float64)
        off = exact(copy.deepcopy(layer).double()(x)[0].detach()) - replay(nn.Sequential(layer), exact(x[0]))
        local = gamma(bound.fan_in + 2) * (bound.absolute_norm * float(x.norm()) + bound.offset_norm)
        assert math.sqrt(sum(float(entry) ** 2 for entry in off.flat)) <= local


def test_the_ends_of_some_absolute_values():
    lower, upper = torch.tensor([[-3.0, -3.0, 1.0]]), torch.tensor([[2.0, 2.0, 4.0]])
    low, high = intervals_of(Abs(1), lower, upper, TABLE)
    assert low.tolist() == [[0.0, -3.0, 1.0]]
    assert high.tolist() == [[3.0, 2.0, 4.0]]


REFUSED: dict[str, tuple[nn.Module, Shape]] = {
    "a shift of more channels than there are": (SpatialShift(2), (7, 2, 2)),
    "a shift of a vector": (SpatialShift(1), (8,)),
    "offsets of another map": (PositionOffset(2, 3), (2, 3, 2)),
    "offsets that would be broadcast": (PositionOffset(1, 1), (2, 3, 2)),
    "offsets of a vector": (PositionOffset(2, 2), (4,)),
    "absolute values of more channels than there are": (Abs(4), (3, 2, 2)),
    "absolute values of no channels": (Abs(0), (3, 2, 2)),
    "absolute values of all channels but the last": (Abs(-1), (3, 2, 2)),
    "patches that do not fill the map": (L2Pool(2), (3, 4, 5)),
    "patches of nothing": (L2Pool(0), (3, 4, 4)),
    "patches of a vector": (L2Pool(1), (3,)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case):
    layer, shape = REFUSED[case]
    with pytest.raises(UncertifiableLayerError, match=r"layer 'suspect' cannot be certified: ."):
        bound_layer(layer, Context("suspect", shape))


def test_a_shift_of_nothing_is_no_shift():
    with pytest.raises(ValueError, match="at least one channel"):
        SpatialShift(0)
