"""Where an l-infinity radius is as large as it can be: the point just beyond it has another label."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from zoo.layers import Pixels, Residual

from .oracle import certified, conv, distance, linear, network
from .replay import replay


def two_pixels(offset: float) -> nn.Sequential:
    """f_0 - f_1 = b - a + offset on the pixels a and b, by distances from -3 that the other pixel cannot reach."""
    far = distance([[-3, 0.5], [0.5, -3]], [-offset, 0.0])
    return network(nn.Flatten(), far, linear(-np.eye(2)))


def label_of(net: nn.Sequential, *pixels: Fraction) -> int:
    first, second = replay(net, np.array(pixels, dtype=object).reshape(1, 1, -1))
    return 0 if first > second else 1


def test_the_margin_radius_is_reached():
    """a rises and b falls by the radius: a millionth more, and the label is another."""
    net = two_pixels(0.25)
    _, model = certified(net, (1, 1, 2), "linf")
    outputs = model(torch.tensor([0.5, 0.5]).reshape(1, 1, 1, 2))
    radius = Fraction(outputs.radius.item())
    assert outputs.label.item() == 0
    assert radius == pytest.approx(0.125, rel=1e-9)
    half = Fraction(1, 2)
    assert label_of(net, half + radius, half - radius) == 0
    beyond = radius * (1 + Fraction(1, 10**6))
    assert label_of(net, half + beyond, half - beyond) == 1


def test_the_interval_radius_is_reached_at_the_edge_of_the_box():
    """a = 1 cannot rise, so that only b moves the margin: the box doubles the radius, and no level above is proved."""
    net = two_pixels(0.25)
    image = torch.tensor([1.0, 0.875]).reshape(1, 1, 1, 2)  # a margin of 1/8
    for level, expected in ((0.125 * (1 - 1e-12), 0.125 * (1 - 1e-12)), (0.125, 0.0625), (0.126, 0.0625)):
        _, model = certified(net, (1, 1, 2), "linf", (0.01, level))
        assert model(image).radius.item() == pytest.approx(expected, rel=1e-9)
    above = Fraction(1, 8) * (1 + Fraction(1, 10**6))
    assert label_of(net, Fraction(1), Fraction(7, 8) - above) == 1


def test_the_lower_edge_of_the_box_counts_as_well():
    net = two_pixels(0.25)
    image = torch.tensor([0.125, 0.0]).reshape(1, 1, 1, 2)  # b = 0 cannot fall
    _, model = certified(net, (1, 1, 2), "linf", (0.12, 0.13))
    assert model(image).radius.item() == 0.12


def test_the_largest_of_the_proved_levels_counts():
    net = two_pixels(1.0)
    image = torch.tensor([1.0, 0.5]).reshape(1, 1, 1, 2)  # a margin of 1/2, and b can fall by 1/2 only
    _, model = certified(net, (1, 1, 2), "linf", (0.1, 0.3, 0.45, 0.6))
    assert model(image).radius.item() == 0.45
    _, plain = certified(net, (1, 1, 2), "linf")
    assert plain(image).radius.item() == pytest.approx(0.25, rel=1e-9)


def test_a_skip_widens_the_interval():
    """5.5 - 10 a at a = 1/2: the skip's interval decides, not that of a alone."""
    skipped = Residual(linear(np.zeros((2, 2))), skip=linear([[10, 0], [0, 1]]))
    net = network(nn.Flatten(), skipped, linear([[-1, 0], [0, 0]], [5.5, 0]))
    _, model = certified(net, (1, 1, 2), "linf", (0.01, 0.25))
    assert model(torch.full((1, 1, 1, 2), 0.5)).radius.item() < 0.0501
    assert label_of(net, Fraction(1, 2) + Fraction("0.0501"), Fraction(1, 2)) == 1


def test_pixels_clamp_wherever_they_stand():
    """3 - 10 b - clamp(-1000): what was cut off is no spare margin."""
    deep = conv([[[[0, 0]]], [[[0, 1]]]], [-1000, 0])
    net = network(deep, Pixels([0, 0], [1, 1]), nn.Flatten(), linear([[-1, -10], [0, 0]], [3, 0]))
    image = torch.tensor([0.5, 0.125]).reshape(1, 1, 1, 2)
    _, model = certified(net, (1, 1, 2), "linf", (0.15, 0.5))
    assert model(image).radius.item() < 0.1751
    assert label_of(net, Fraction(1, 2), Fraction("0.3001")) == 1


@pytest.mark.parametrize("pixel", [math.nan, math.inf, -math.inf, -1e-45, 1.0000001, 2.0])
def test_no_level_counts_for_inputs_outside_the_domain(pixel):
    _, model = certified(two_pixels(1.5), (1, 1, 2), "linf", (0.1, 0.2))
    images = torch.full((2, 1, 1, 2), 0.5)
    images[1, 0, 0, 0] = pixel
    outputs = model(images)
    assert outputs.radius[0] > 0.5
    assert outputs.radius[1] == 0
    assert not outputs.class_radii.isnan().any()
