"""Networks on which certificates of this kind have gone wrong before, each with a counter-example to the wrong radius.

Exact arithmetic says that `other` of a trap has not the label of `image`, so no radius may reach it; `naive`, which is
what the mistake answers, does. What overflows is refused.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from zoo.errors import UncertifiableLayerError
from zoo.layers import ConvExponential, Pixels

from .oracle import certified, conv, linear, network
from .replay import exact, replay

APART = linear([[1, -1], [-1, 1]])  # f = (x0 - x1, x1 - x0): of margin 2 (x0 - x1), and K = 2 sqrt(2)


class Trap(NamedTuple):
    """One network, an image and the other one that has another label, [C, H, W]."""

    net: nn.Sequential
    image: np.ndarray
    other: np.ndarray
    naive: float


def at(*pixels: float) -> np.ndarray:
    return np.array(pixels, dtype=np.float32).reshape(-1, 1, 1)


def tie() -> Trap:
    """Two largest logits: where all that equal the maximum are left out, no class is left (klasleino/gloro#9)."""
    net = network(nn.Flatten(), linear(np.eye(2)), channels=2)
    return Trap(net, at(0.5, 0.5), at(0.5, 0.625), np.inf)


def tiny_weights() -> Trap:
    """Power iteration whose normalisation adds 1e-9: a layer of 1e-12 counts as much less (klasleino/gloro#8)."""
    size = 1e-12
    vector = size**2 / (size**2 + 1e-9)  # what one step makes of a unit vector, A = size I
    net = network(nn.Flatten(), linear(size * np.eye(2)), linear(np.eye(2) / size), APART, channels=2)
    return Trap(net, at(0.75, 0.25), at(0.4375, 0.5), 1.0 / (2**1.5 * vector))


def all_ones() -> Trap:
    """Power iteration from a vector of ones, which is an eigenvector here, but not the top one: 1 where 3 is true."""
    net = network(nn.Flatten(), linear([[2, -1], [-1, 2]]), APART, channels=2)
    return Trap(net, at(0.75, 0.25), at(0.4375, 0.5), 2 * 1.5 / 2**1.5)


def huge_biases() -> Trap:
    """x + B - B with B beyond 2^53: 2.1 becomes 4 and wins over 2.16 (after Murray, arXiv 2603.13334)."""
    there, back = (linear(size * np.eye(2), [bias, 0]) for size, bias in ((3, 2.0**54), (1, -(2.0**54))))
    net = network(nn.Flatten(), there, nn.ReLU(), back, APART, channels=2)
    image = at(0.7, 0.72)
    return Trap(net, image, image, 2 * (4 - 2.16) / (3 * 2**1.5))


def exponential_above_one() -> Trap:
    """An "orthogonal" SOC layer of one term is I + A, of norm sqrt(2), not 1."""
    layer = ConvExponential(2, 1, terms=1)
    layer.weight.data.copy_(torch.tensor([[0.0, -1.0], [1.0, 0.0]])[:, :, None, None])
    net = network(layer, nn.Flatten(), linear([[1, 0], [-1, 0]]), channels=2)  # 2 (x0 - x1), with a constant of 2
    return Trap(net, at(0.875, 0.125), at(0.4375, 0.5), 2 * 0.75 / 2)


def batch_norm() -> Trap:
    """Batch normalisation folded by its weight alone: the stored variance of 1/16 makes four times as much of it."""
    layer = nn.BatchNorm2d(2, eps=1e-6)
    layer.running_var.fill_(0.0625)  # type: ignore[union-attr]
    net = network(layer, nn.Flatten(), APART, channels=2)
    return Trap(net, at(0.75, 0.25), at(0.4375, 0.5), 4 * 0.999 * 2 * 0.5 / 2**1.5)


def normalisation() -> Trap:
    """A radius in normalised pixels, for the verifier begins behind (x - mean) / std: four times too large."""
    net = network(Pixels([0.5, 0.5], [4.0, 4.0]), nn.Flatten(), APART)
    return Trap(net, at(0.75, 0.25), at(0.4375, 0.5), 4 * 2 * 0.5 / 2**1.5)


def reshaped_kernel() -> Trap:
    """The norm of a convolution's kernel as a matrix: 3 for nine ones, which on this map have more than twice that."""
    rows = np.ones((2, 16)) * [[1], [-1]]  # of all outputs: 100 for an image of ones
    net = network(conv(np.ones((1, 1, 3, 3)), padding=1), nn.Flatten(), linear(rows, [-84, 84]))
    image, other = (np.full((1, 4, 4), value, np.float32) for value in (0.9375, 0.8125))
    return Trap(net, image, other, 2 * (93.75 - 84) / (2 * 4 * 3))


TRAPS = (tie, tiny_weights, all_ones, huge_biases, exponential_above_one, batch_norm, normalisation, reshaped_kernel)


@pytest.mark.parametrize("make", TRAPS, ids=lambda make: make.__name__)
def test_no_radius_reaches_an_image_of_another_label(make):
    trap = make()
    _, model = certified(trap.net, trap.image.shape)
    outputs = model(torch.from_numpy(trap.image)[None])
    label, radius = outputs.label.item(), Fraction(outputs.radius.item())
    truth = replay(trap.net, exact(trap.other))
    square = ((exact(trap.image) - exact(trap.other)) ** 2).sum()
    assert any(truth[i] >= truth[label] for i in range(len(truth)) if i != label), "not a counter-example"
    assert trap.naive > float(square) ** 0.5, "not a trap"
    assert radius**2 <= square


def test_overflow_that_returns_is_refused():
    """Infinity is clamped to 1 again, so no output shows that the numbers on the way were none."""
    up = [linear(3e38 * np.eye(2)) for _ in range(9)]
    with pytest.raises(UncertifiableLayerError):
        certified(network(nn.Flatten(), *up, nn.Hardtanh(0.0, 1.0), APART, channels=2), (2, 1, 1))
