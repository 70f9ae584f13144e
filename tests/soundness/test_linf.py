"""Rules in l-infinity, and radii: checked against exact row sums, and against every point of a grid in the ball."""

from __future__ import annotations

import copy
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from zoo.bounds.estimates import estimate_linf
from zoo.bounds.margins import margin_tables
from zoo.bounds.rule import Context, l1_of_rows
from zoo.bounds.table import TABLE, bound_layer
from zoo.certificate.certify import certify
from zoo.certificate.model import CertifiedModel, tables_of
from zoo.errors import CertificateError, UncertifiableLayerError
from zoo.layers import (
    Abs,
    FirstChannels,
    GroupSort,
    Householder,
    LInfDistance,
    MinMax,
    PadChannels,
    Pixels,
    Residual,
    SortedDistance,
    SpatialShift,
)
from zoo.publication.verify import REPEATED

from .oracle import Shape, certified, conv, distance, linear, lipschitz_bound, network, operator, sorted_distance
from .replay import exact, replay
from .test_linf_witness import two_pixels
from .test_rules import normalisation

# Rules ---------------------------------------------------------------------------------------------------------------

SOUND: dict[type[nn.Module], list[tuple[nn.Module, Shape]]] = {
    Pixels: [(Pixels([0.2, 0.9], [3.0, -5.0]), (2, 3, 4)), (Pixels([-1.0], [0.01]), (1, 2, 2))],
    MinMax: [(MinMax("halves"), (4, 2, 3)), (MinMax("neighbours"), (5, 2, 3)), (MinMax("halves"), (6,))],
    nn.ReLU: [(nn.ReLU(), (3, 2, 2))],
    nn.Flatten: [(nn.Flatten(), (3, 2, 4))],
    nn.Linear: [(nn.Linear(6, 3), (6,)), (nn.Linear(3, 8, bias=False), (3,))],
    nn.Conv2d: [
        (nn.Conv2d(2, 3, 3, padding=1), (2, 4, 5)),
        (nn.Conv2d(2, 4, 2, 2), (2, 5, 4)),
        (nn.Conv2d(1, 2, (5, 2), (3, 1), (4, 0), bias=False), (1, 3, 3)),
        (nn.Conv2d(4, 6, (2, 3), padding=2, groups=2, dilation=(3, 2)), (4, 4, 5)),
        (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 4, 5)),
    ],
    nn.LeakyReLU: [(nn.LeakyReLU(0.1), (3, 2, 2))],
    nn.Hardtanh: [(nn.Hardtanh(-1, 0.5), (3, 2, 2)), (nn.Hardtanh(0.25, 3), (5,))],
    GroupSort: [(GroupSort(3), (6, 2, 2))],
    Abs: [(Abs(), (3, 2, 2)), (Abs(2), (3, 2, 2))],
    SpatialShift: [(SpatialShift(1), (5, 3, 4))],
    nn.Identity: [(nn.Identity(), (3, 2, 2))],
    nn.Dropout: [(nn.Dropout(0.7).eval(), (3, 2, 2))],
    nn.Unflatten: [(nn.Unflatten(1, (3, 2, 4)), (24,))],
    nn.ChannelShuffle: [(nn.ChannelShuffle(2), (6, 2, 3))],
    nn.AvgPool2d: [(nn.AvgPool2d(2), (3, 4, 6)), (nn.AvgPool2d(3, 2, 1, divisor_override=2), (1, 5, 5))],
    nn.AdaptiveAvgPool2d: [(nn.AdaptiveAvgPool2d((2, 1)), (2, 4, 3))],
    nn.MaxPool2d: [(nn.MaxPool2d(2), (3, 4, 6)), (nn.MaxPool2d(3, 1, 1), (2, 4, 5))],
    nn.BatchNorm2d: [(normalisation(3, 1), (3, 2, 4)), (nn.BatchNorm2d(2, affine=False).eval(), (2, 2, 2))],
    LInfDistance: [(LInfDistance(5, 7), (5,)), (LInfDistance(4, 1), (4,))],
    SortedDistance: [(SortedDistance(5, 7, 0.7, 4), (5,)), (SortedDistance(3, 2, 0.2, 9), (3,))],
    Residual: [
        (Residual(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4)), (4,)),
        (Residual(nn.Conv2d(2, 2, 3, padding=1)), (2, 3, 4)),
    ],
    PadChannels: [(PadChannels(5), (3, 2, 2))],
    FirstChannels: [(FirstChannels(2), (3, 2, 2))],
    nn.PixelUnshuffle: [(nn.PixelUnshuffle(2), (3, 4, 2))],
}


@pytest.mark.parametrize("kind", [kind for kind, row in TABLE.items() if row.linf], ids=lambda kind: kind.__name__)
def test_every_rule_holds_for_its_layer(kind):
    """A rule without a case here is not tested, and so not a rule."""
    generator = torch.Generator().manual_seed(0)
    for plain, shape in SOUND[kind]:
        bound = bound_layer(plain, Context("layer", shape, norm="linf"))
        layer = copy.deepcopy(plain).double().requires_grad_(False)
        for scale in (0.1, 1.0, 100.0):
            x, y = scale * torch.randn(2, 300, *shape, dtype=torch.float64, generator=generator)
            y = torch.cat([y[:100], x[100:] + 1e-3 * y[100:].sign()])
            assert layer(x).shape[1:] == bound.output_shape
            moved = (layer(x) - layer(y)).flatten(1).abs().amax(1) / (x - y).flatten(1).abs().amax(1)
            assert moved.max() <= bound.lipschitz_bound * (1 + 1e-9)
            reached = layer(x).flatten(1).abs().amax(1)
            reach = bound.lipschitz_bound * x.flatten(1).abs().amax(1) + bound.offset_norm
            assert bool((reached <= reach * (1 + 1e-12)).all())
            if bound.range_norm is not None:
                assert reached.max() <= bound.range_norm
        assert layer(torch.zeros(1, *shape, dtype=torch.float64)).abs().max() <= bound.offset_norm / REPEATED
        assert estimate_linf(plain, shape) <= bound.lipschitz_bound * (1 + 1e-6)


@pytest.mark.parametrize("layer", [Householder(4), nn.Tanh(), nn.Softsign()], ids=str)
def test_a_layer_without_a_rule_in_linf_is_refused(layer):
    with pytest.raises(UncertifiableLayerError, match=f"no rule for {type(layer).__name__} in linf"):
        bound_layer(layer, Context("layer", (4, 2, 2), norm="linf"))


def test_distances_are_no_layer_of_l2():
    with pytest.raises(UncertifiableLayerError, match="no rule for LInfDistance in l2"):
        bound_layer(LInfDistance(4, 4), Context("layer", (4,)))


@pytest.mark.parametrize("shape", [(5,), (1, 2, 2)])
def test_a_distance_layer_that_does_not_fit_is_refused(shape):
    with pytest.raises(UncertifiableLayerError):
        bound_layer(LInfDistance(4, 3), Context("layer", shape, norm="linf"))


@pytest.mark.parametrize(("keep", "terms"), [(0.0, 3), (1.0, 3), (1.5, 3), (-0.1, 3), (math.nan, 3), (0.5, 0)])
def test_shares_that_are_not_proved_are_refused(keep, terms):
    with pytest.raises(UncertifiableLayerError, match="not proved"):
        bound_layer(SortedDistance(4, 3, keep, terms), Context("layer", (4,), norm="linf"))


def row_sum(matrix: np.ndarray) -> Fraction:
    return max(sum(map(abs, row), Fraction(0)) for row in exact(matrix))


MATRICES = {
    "random": np.random.default_rng(0).standard_normal((7, 9)),
    "rank one": np.outer(np.ones(5), np.full(6, 0.1)),
    "zero": np.zeros((3, 4)),
    "signs": np.where(np.indices((8, 8)).sum(axis=0) % 2, 1.0, -1.0) / 3,
    "tiny": np.full((4, 5), 1e-38),
    "huge": np.full((4, 5), 3e38),
    "lost terms": np.array([[1.0, *[2.0**-54] * 40_000]]),
    "one column": np.array([[1.0], [-2.0]]),
}


@pytest.mark.parametrize("case", MATRICES)
def test_row_sums_are_rounded_up(case):
    layer = linear(MATRICES[case])
    bound = lipschitz_bound(layer, (layer.in_features,), "linf")
    truth = row_sum(layer.weight.detach().double().numpy())
    assert truth <= Fraction(bound) <= truth * (1 + Fraction(1, 10**10))


@pytest.mark.parametrize("seed", range(60))
def test_convolutions_are_at_least_their_exact_norm(seed):
    g = np.random.default_rng(seed)
    (rows, columns), shape = g.integers(1, 4, 2), (int(g.integers(1, 3)), *map(int, g.integers(3, 7, 2)))
    kernel = g.standard_normal((int(g.integers(1, 4)), shape[0], rows, columns)) * 10.0 ** g.uniform(-3, 3)
    layer = conv(kernel, None, tuple(map(int, g.integers(1, 4, 2))), tuple(map(int, g.integers(0, 4, 2))))
    assert row_sum(operator(layer, shape)) <= Fraction(lipschitz_bound(layer, shape, "linf"))


def test_row_sums_of_differences_are_rounded_up():
    """Differences of float32 numbers are rounded once before they are added."""
    g = np.random.default_rng(1)
    rows = (g.standard_normal((2, 500)) * 10.0 ** g.uniform(-9, 9, (2, 500))).astype(np.float32).astype(float)
    truth = sum((abs(Fraction(a) - Fraction(b)) for a, b in rows.T), Fraction(0))
    assert truth <= Fraction(l1_of_rows(rows[:1] - rows[1:])[0])


def test_margin_constants_are_dual():
    """K_ji = |h_j - h_i|_1 K_body: minus the identity gives 2 K, the margin over two."""
    tables = margin_tables(-np.eye(4), np.zeros(4), 1.5, 1.0, 0.0, "linf")
    others = tables.margin_lipschitz[~np.eye(4, dtype=bool)]
    assert (others >= 3).all()
    assert others.max() <= 3 * (1 + 1e-9)
    assert (np.diag(tables.slack) == -np.inf).all()


# Radii, point by point -----------------------------------------------------------------------------------------------

PIXELS = 2
LEVELS = (0.02, 0.05, 0.1, 0.25, 0.4)


def spread(g: np.random.Generator, *shape: int) -> np.ndarray:
    return np.round(g.uniform(-1, 1, shape) * 16) / 16


def distance_net(g: np.random.Generator) -> nn.Sequential:
    hidden = distance(spread(g, 4, PIXELS), spread(g, 4))
    return network(nn.Flatten(), hidden, distance(spread(g, 3, 4), spread(g, 3)), linear(-np.eye(3)))


def sorted_net(g: np.random.Generator) -> nn.Sequential:
    hidden = sorted_distance(spread(g, 4, PIXELS), spread(g, 4), keep=0.6)
    last = sorted_distance(spread(g, 3, 4), spread(g, 3), keep=0.6, terms=3)
    return network(nn.Flatten(), hidden, last, linear(-np.eye(3)))


def distance_mlp(g: np.random.Generator) -> nn.Sequential:
    dense = linear(2 * spread(g, 5, 4), spread(g, 5))
    body = (nn.Flatten(), distance(2 * spread(g, 4, PIXELS)), dense, nn.ReLU())
    return network(Pixels([0.5], [-2.0]), *body, linear(spread(g, 3, 5), spread(g, 3)))


def relu_net(g: np.random.Generator) -> nn.Sequential:
    first = linear(3 * spread(g, 6, PIXELS), spread(g, 6))
    return network(nn.Flatten(), first, nn.ReLU(), linear(2 * spread(g, 3, 6), spread(g, 3)))


def residual_net(g: np.random.Generator) -> nn.Sequential:
    body = (linear(2 * spread(g, 4, PIXELS), spread(g, 4)), MinMax("halves"))
    return network(nn.Flatten(), *body, Residual(linear(spread(g, 4, 4)), nn.ReLU()), linear(spread(g, 3, 4)))


def skip_net(g: np.random.Generator) -> nn.Sequential:
    body = Residual(linear(2 * spread(g, 4, PIXELS)), nn.ReLU(), linear(spread(g, 4, 4)), skip=linear(spread(g, 4, 2)))
    return network(nn.Flatten(), body, nn.ReLU(), linear(spread(g, 3, 4), spread(g, 3)))


def twice_clamped_net(g: np.random.Generator) -> nn.Sequential:
    """A Pixels that is not the first layer clamps as well."""
    body = (conv(4 * spread(g, 3, 1, 1, 2), spread(g, 3), 1, (0, 1)), Pixels([0.5] * 3, [1.0, -2.0, 1.0]), nn.Flatten())
    return network(*body, linear(spread(g, 3, 9), spread(g, 3)))


def convolutional_net(g: np.random.Generator) -> nn.Sequential:
    body = (conv(2 * spread(g, 3, 1, 1, 2), spread(g, 3), 1, (0, 1)), nn.ReLU(), nn.Flatten())
    return network(*body, linear(spread(g, 3, 9), spread(g, 3)))


def linear_net(g: np.random.Generator) -> nn.Sequential:
    return network(nn.Flatten(), linear(spread(g, 3, PIXELS), spread(g, 3)))


NETWORKS = {
    make.__name__: make
    for make in (
        *(distance_net, distance_mlp, sorted_net, relu_net, residual_net),
        *(skip_net, twice_clamped_net, convolutional_net, linear_net),
    )
}


def all_points(start: Tensor, radius: float, steps: int = 8) -> np.ndarray:
    """A grid over the closed ball, its vertices and faces included, as float64 that do not leave it: [M, *shape]."""
    axes = []
    for pixel in start.double().ravel().tolist():
        axis = pixel + radius * np.linspace(-1, 1, 2 * steps + 1)
        for end, inward in ((0, math.inf), (-1, -math.inf)):
            while abs(Fraction(axis[end]) - Fraction(pixel)) > Fraction(radius):
                axis[end] = np.nextafter(axis[end], inward)
        axes.append(axis)
    return np.array(list(itertools.product(*axes))).reshape(-1, *start.shape)


@pytest.mark.parametrize("kind", NETWORKS)
def test_no_point_of_the_ball_has_another_label(kind):
    """Margin and interval radii of ten random networks: on a grid, where it is closest also in exact arithmetic."""
    by_level, by_margin, generator = 0, 0, torch.Generator().manual_seed(0)
    for seed in range(10):
        g = np.random.default_rng(seed)
        net = NETWORKS[kind](g)
        _, model = certified(net, (1, 1, PIXELS), "linf", LEVELS)
        corners = torch.tensor(list(itertools.product([0.0, 0.125, 0.75, 1.0], repeat=PIXELS)))
        images = torch.cat(
            [corners[g.permutation(16)[:6]].reshape(-1, 1, 1, PIXELS), torch.rand(6, 1, 1, PIXELS, generator=generator)]
        )
        outputs = model(images)
        double = copy.deepcopy(net).double()
        for image, label, radii in zip(images, outputs.label.tolist(), outputs.class_radii.tolist(), strict=True):
            for other, radius in enumerate(radii):
                if other == label or radius == 0:
                    continue
                by_level, by_margin = by_level + (radius in LEVELS), by_margin + (radius not in LEVELS)
                radius = min(radius, 1.5)  # beyond that the ball holds the whole box
                points = all_points(image, radius)
                logits = double(torch.from_numpy(points))
                closest = points[(logits[:, label] - logits[:, other]).argmin()]
                values = replay(net, exact(closest))
                assert values[label] > values[other], (kind, seed, radius)
    assert by_margin
    assert by_level > 20 or kind == "linear_net"  # there both are the same, but for the box


@pytest.mark.parametrize("kind", NETWORKS)
def test_representable_points_of_the_ball_keep_the_computed_label(kind):
    """Claim D: the same model, at float32 points around the ball's faces and vertices."""
    g = np.random.default_rng(7)
    net = NETWORKS[kind](g)
    _, model = certified(net, (1, 1, PIXELS), "linf", LEVELS)
    inside = 0
    for start in torch.rand(20, 1, 1, PIXELS, generator=torch.Generator().manual_seed(3)):
        outputs = model(start[None])
        radius = outputs.radius.item()
        target = start.double() + radius * torch.tensor(g.choice([-1.0, 0.3, 1.0], (60, 1, 1, PIXELS)))
        points = target.float()
        near = [max(map(abs, (exact(point) - exact(start)).flat)) <= Fraction(radius) for point in points]
        inside += sum(near)
        assert (model(points[near]).label == outputs.label).all()
    assert inside > 100


def test_radii_are_consistent():
    net = distance_mlp(np.random.default_rng(2))
    outputs = certified(net, (1, 1, PIXELS), "linf", LEVELS)[1](torch.rand(50, 1, 1, PIXELS))
    assert torch.equal(outputs.radius, outputs.class_radii.amin(dim=1))
    assert torch.equal(outputs.topk_radius, outputs.class_radii.sort(dim=1).values[:, :2])
    assert outputs.class_radii.gather(1, outputs.label[:, None]).isinf().all()


# Certificates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("norm", "levels", "message"),
    [
        ("l1", (), "the norm is one of l2, linf, got 'l1'"),
        ("l2", (0.1,), "levels are tried in linf only"),
        ("linf", (0.2, 0.1), "positive and rising"),
        ("linf", (0.1, 0.1), "positive and rising"),
        ("linf", (0.0, 0.1), "positive and rising"),
        ("linf", (-0.1,), "positive and rising"),
        ("linf", (math.inf,), "positive and rising"),
        ("linf", (math.nan,), "positive and rising"),
        ("linf", tuple(np.linspace(0.1, 0.9, 17)), "at most 16"),
    ],
)
def test_another_norm_and_other_levels_are_refused(norm, levels, message):
    with pytest.raises(CertificateError, match=message):
        certify(two_pixels(1.0), (1, 1, 2), norm, levels)


def test_the_certificate_says_its_norm_in_every_sentence():
    certificate, _ = certified(two_pixels(1.0), (1, 1, 2), "linf", (0.1,))
    assert certificate.norm == "linf"
    assert certificate.levels == (0.1,)
    assert "|x' - x|_inf <= r" in certificate.claim
    assert certificate.unit.startswith("l-infinity norm")
    assert "_1" in certificate.composition
    assert not [text for text in (certificate.claim, certificate.unit, certificate.composition) if "_2" in text]


def test_a_certificate_relabelled_as_another_norm_does_not_load():
    net = network(nn.Flatten(), linear(np.random.default_rng(0).standard_normal((3, 4))))
    certificate, _ = certified(net, (1, 2, 2), "l2")
    for norm in ("linf", "l1"):
        relabelled = copy.copy(certificate)
        object.__setattr__(relabelled, "norm", norm)
        with pytest.raises(CertificateError):
            tables_of(net, relabelled)


def test_a_model_without_levels_is_that_of_the_margins():
    net = relu_net(np.random.default_rng(0))
    certificate, model = certified(net, (1, 1, PIXELS), "linf")
    images = torch.rand(9, 1, 1, PIXELS)
    other = CertifiedModel(net, tables_of(net, certificate), model.input_shape).eval()
    for one, two in zip(model(images), other(images), strict=True):
        assert torch.equal(one, two)
