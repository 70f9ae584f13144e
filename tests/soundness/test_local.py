"""Local radii: sound where every direction can be tried, never below the global one, above it where units are fixed."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from zoo.bounds.margins import MarginTables
from zoo.certificate import local
from zoo.certificate.local import local_radius, margin_constants
from zoo.certificate.model import CertifiedModel
from zoo.errors import UncertifiableLayerError
from zoo.layers import MinMax, Pixels, Residual

from .oracle import certified, conv, linear, network
from .replay import exact, replay

INSIDE = 1.0 - 1e-9
SHAPE = (1, 1, 2)


def circles(image: Tensor, radius: float, angles: int = 720) -> Tensor:
    """Float64 points at this distance of a two-pixel image, and at smaller ones."""
    turn = torch.linspace(0, 2 * math.pi, angles, dtype=torch.float64)
    circle = torch.stack([turn.cos(), turn.sin()], dim=1)[:, None, None, :]
    return torch.cat([image.double() + share * radius * circle for share in (INSIDE, 0.7, 0.3)])


def plane_network(seed: int, activation: nn.Module, spread: float = 1.0) -> nn.Sequential:
    """Two pixels to three classes that meet in the middle of the box."""
    g = np.random.default_rng(seed)
    layers = [linear(3 * g.standard_normal((8, 2)), spread * g.standard_normal(8)), activation]
    layers += [linear(g.standard_normal((7, 8)), spread * g.standard_normal(7)), activation]
    layers += [linear(g.standard_normal((6, 7)), spread * g.standard_normal(6)), activation]
    body = network(Pixels([0.5], [-1.5]), nn.Flatten(), *layers)
    middle = body(torch.full((1, *SHAPE), 0.5))[0].double().numpy()
    weight = g.standard_normal((3, 6))
    return network(*body, linear(weight, -weight @ middle))


def small_map(activation: nn.Module) -> nn.Sequential:
    g = np.random.default_rng(5)
    layers = [conv(g.standard_normal((4, 1, 3, 3)), g.standard_normal(4), padding=1), activation]
    layers += [conv(g.standard_normal((4, 4, 2, 2)), g.standard_normal(4), stride=2), activation, nn.Flatten()]
    return network(*layers, linear(g.standard_normal((3, 16)), g.standard_normal(3)))


ACTIVATIONS = [nn.ReLU(), MinMax("halves"), MinMax("neighbours")]


@pytest.mark.parametrize("seed", range(6))
def test_every_direction_of_a_plane(seed):
    activation = [nn.ReLU(), MinMax("neighbours")][seed % 2]
    _, model = certified(plane_network(seed, activation, spread=[0.3, 1.0, 4.0][seed % 3]), SHAPE)
    images = torch.rand(12, *SHAPE, generator=torch.Generator().manual_seed(seed))
    known, better = model(images), 0
    for image, label, radius in zip(images, known.label.tolist(), known.radius.tolist(), strict=True):
        found = local_radius(model, image)
        assert found.label == label
        assert found.radius >= radius
        assert found.radius <= found.ball or found.ball == 0
        better += found.radius > 1.1 * radius
        assert (model(circles(image, found.radius)).label == label).all()
    assert better > 3


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_constants_hold_between_any_two_points_of_a_ball(activation):
    """In exact arithmetic, against points next to each other, far apart and on kinks, on a map with convolutions."""
    net, g = small_map(activation), np.random.default_rng(1)
    for ball in (1e-3, 0.1, 1.0):
        image = g.random((1, 4, 4)).astype(np.float32).astype(np.float64)
        constants = [margin_constants(net, image, ball, label) for label in range(3)]
        margins = []
        for size in (0.0, 0.01, 0.5, INSIDE, INSIDE):
            step = g.standard_normal(image.shape)
            point = exact(image + size * ball * step / np.linalg.norm(step))
            margins.append((point, replay(net, point)))
        for point, values in margins:
            for other, rest in margins:
                distance = sum(((p - q) ** 2 for p, q in zip(point.flat, other.flat, strict=True)), Fraction(0))
                for label in range(3):
                    for rival in range(3):
                        change = (values[label] - values[rival]) - (rest[label] - rest[rival])
                        assert change**2 <= Fraction(constants[label][rival]) ** 2 * distance


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
@pytest.mark.parametrize("ball", [0.0, 1e-12, 0.02, 0.3])
def test_intervals_hold_the_exact_values(activation, ball, monkeypatch):
    """What each activation reads, at corners of the ball, decided in fractions; with ball 0 only roundings are left."""
    seen: list[local.Interval] = []
    original = local._activation

    def record(layer, values, shape):
        seen.append(values)
        return original(layer, values, shape)

    monkeypatch.setattr(local, "_activation", record)
    g = np.random.default_rng(2)
    for net, shape in ((small_map(activation), (1, 4, 4)), (plane_network(3, MinMax("neighbours"), 1e6), SHAPE)):
        seen.clear()
        image = g.random(shape).astype(np.float32).astype(np.float64)
        margin_constants(net, image, ball, 0)
        kinks = [index for index, layer in enumerate(net) if type(layer) in (nn.ReLU, MinMax)]
        for _ in range(5):
            step = np.sign(g.standard_normal(shape)) if _ else np.eye(image.size)[0].reshape(shape)
            point = exact(image + INSIDE * ball * step / np.linalg.norm(step))
            for interval, kink in zip(seen, kinks, strict=True):
                value = replay(net[:kink], point).reshape(-1)
                assert (value >= exact(interval.low)).all()
                assert (value <= exact(interval.high)).all()


# How much it gains ---------------------------------------------------------------------------------------------------


def test_inactive_units_do_not_count():
    """With the steep units off all over the box the margin is 1.6 - x_0, and the radius is that to the boundary."""
    units = linear([[1.0, 0.0], [0.5, 0.0], [10.0, 0.0], [0.0, 20.0]], [1.0, 0.0, -50.0, -50.0])
    net = network(nn.Flatten(), units, nn.ReLU(), linear([[0.0] * 4, [1.0, 0.0, 5.0, 5.0]], [1.6, 0.0]))
    _, model = certified(net, SHAPE)
    image = torch.full(SHAPE, 0.5)
    found, known = local_radius(model, image), model(image[None]).radius.item()
    assert known < 0.01
    assert 0.1 * (1 - 1e-2) < found.radius <= 0.1 + 1e-6  # float32 holds the 1.6 to 1e-7


@pytest.mark.parametrize("bias", [50.0, -50.0])
def test_ordered_and_exchanged_pairs_are_linear(bias):
    """The pair keeps its order all over the box, either way: the steep difference within it never acts."""
    pair = [linear([[10.0, 0.0], [10.0, 1.0]], [bias, 0.0]), MinMax("neighbours")]
    row = [1.0, -1.0] if bias > 0 else [-1.0, 1.0]  # of either order, first less second: bias - x_1
    net = network(nn.Flatten(), *pair, linear([[0.0, 0.0], row], [bias - 0.6, 0.0]))
    _, model = certified(net, SHAPE)
    image = torch.full(SHAPE, 0.5)  # the boundary lies at x_1 = 0.6
    found, known = local_radius(model, image), model(image[None]).radius.item()
    assert known < 0.01
    assert 0.1 * (1 - 1e-2) < found.radius <= 0.1 + 1e-5  # float32 holds the 0.6 to 4e-6


def test_intervals_pay_for_sums_that_cancel():
    """A matrix of large entries at a point that it nearly maps to 0: there is no width but that of rounding."""
    g = np.random.default_rng(0)
    for _ in range(50):
        point = g.random(6)
        weight = (1e6 * g.standard_normal((1, 6))).astype(np.float32).astype(np.float64)
        weight[0, 5] = np.float32(-(weight[0, :5] @ point[:5]) / point[5])
        found = local._affine(weight, np.zeros(1), local.Interval(point, point))
        truth = sum((a * b for a, b in zip(exact(weight[0]), exact(point), strict=True)), Fraction(0))
        assert Fraction(found.low[0]) <= truth <= Fraction(found.high[0])


def test_a_kink_inside_the_ball_counts():
    """Off at the image and steep beyond x_0 = 0.5 +- 0.125, on either side: the radius must not outrun the flip."""
    for sign in (1.0, -1.0):
        unit = linear([[8 * sign, 0.0]], [-4 * sign - 1.0])
        _, model = certified(network(nn.Flatten(), unit, nn.ReLU(), linear([[0.0], [1.0]], [1.0, 0.0])), SHAPE)
        found = local_radius(model, torch.full(SHAPE, 0.5))  # it flips at x_0 = 0.5 +- 0.25
        assert 0.1249 < found.radius <= 0.25


def test_a_unit_that_may_turn_off_counts():
    """Two units cancel while both are on; the one turns off below x_0 = 0.4, and the label flips at 0.3."""
    units = linear([[1.0, 0.0], [1.0, 0.0]], [1.0, -0.4])
    net = network(nn.Flatten(), units, nn.ReLU(), linear([[0.0, 0.0], [10.0, -10.0]], [13.0, 0.0]))
    _, model = certified(net, SHAPE)
    found = local_radius(model, torch.full(SHAPE, 0.5))
    assert found.label == 1
    assert 0.0999 < found.radius <= 0.2


def test_a_network_without_kinks_gains_nothing():
    _, model = certified(network(nn.Flatten(), linear([[3, 4], [0, 0]], [0.0, 3.0])), SHAPE)
    image = torch.full(SHAPE, 0.5)
    known = model(image[None]).radius.item()
    assert known <= local_radius(model, image).radius <= known * (1 + 1e-8)


def test_layers_that_stay_linear_count_as_one():
    """Two matrices whose large values lie across: their product has norm 1, the product of their norms is 100."""
    layers = [linear([[10.0, 0.0], [0.0, 0.1]], [50.0, 50.0]), nn.ReLU(), linear([[0.1, 0.0], [0.0, 10.0]])]
    net = network(nn.Flatten(), *layers, nn.ReLU(), linear([[0.0, 0.0], [1.0, 0.0]], [5.6, 0.0]))
    _, model = certified(net, SHAPE)
    found = local_radius(model, torch.full(SHAPE, 0.5))  # f_1 - f_0 = 0.1 (10 x_0 + 50) - 5.6
    assert 0.1 * (1 - 1e-2) < found.radius <= 0.1 + 1e-5


# Radius 0, and refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pixel", [-0.01, 1.01, math.nan])
def test_an_image_outside_the_domain_has_radius_zero(pixel):
    _, model = certified(plane_network(0, nn.ReLU()), SHAPE)
    assert local_radius(model, torch.tensor([[[pixel, 0.3]]])).radius == 0.0


def test_a_margin_below_the_slack_has_radius_zero():
    """A pair of huge biases that cancel: rounding may be all there is to a margin, however flat the network is."""
    _, model = certified(network(nn.Flatten(), linear(np.zeros((2, 2)), [1e16, 1e16])), SHAPE)
    assert local_radius(model, torch.full(SHAPE, 0.5)).radius == 0.0
    net = network(nn.Flatten(), linear([[1, 0], [0, 1]], [1e8, 1e8]), nn.ReLU(), linear([[1, -1], [-1, 1]], [1.0, 0.0]))
    _, model = certified(net, SHAPE)
    image = torch.full(SHAPE, 0.5)
    slack = float(model.slack.max())
    assert slack > 1e-8
    margin = float(model(image[None]).logits.diff().abs())
    assert local_radius(model, image).radius <= (margin - slack) / math.sqrt(8)


def test_what_is_out_of_reach_is_refused_in_one_line():
    block = Residual(linear(np.eye(2)), nn.ReLU())
    _, model = certified(network(nn.Flatten(), block, linear([[1, 0], [0, 1]], [1.0, 0.0])), SHAPE)
    with pytest.raises(UncertifiableLayerError, match=r"^no local bound for Residual[^\n]*$"):
        local_radius(model, torch.full(SHAPE, 0.5))
    single = CertifiedModel(model.network, local_tables(model), model.input_shape, torch.float32)
    with pytest.raises(UncertifiableLayerError, match="only a float64 model"):
        local_radius(single, torch.full(SHAPE, 0.5))
    net = network(conv(np.ones((600, 1, 3, 3)) / 5400, padding=1), nn.Flatten(), linear(np.zeros((2, 153_600))))
    net[-1].bias.data[0] = 1.0
    with pytest.raises(UncertifiableLayerError, match=r"too large for a local bound[^\n]*$"):
        margin_constants(net, np.full((1, 16, 16), 0.5), 0.1, 0)


def local_tables(model: CertifiedModel) -> MarginTables:
    return MarginTables(model.margin_lipschitz.numpy(), model.slack.numpy())
