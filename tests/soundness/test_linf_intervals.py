"""Interval propagation against exact intervals: the certificate bounds its rounding, and the radius pays for it."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from zoo.bounds.interval import least_margins
from zoo.bounds.rounding import propagate
from zoo.bounds.rule import intervals_of
from zoo.bounds.table import TABLE
from zoo.certificate.model import CertifiedModel, cast_network, tables_of
from zoo.layers import (
    Abs,
    FirstChannels,
    GroupSort,
    LInfDistance,
    MinMax,
    PadChannels,
    Pixels,
    Residual,
    SortedDistance,
    SpatialShift,
    trained,
)
from zoo.publication.graph import write_graph
from zoo.records import Outputs

from .oracle import certified, conv, distance, linear, network, sorted_distance
from .published import write_weights
from .replay import Exact, exact, replay, weighed
from .test_rounding import random_conv, random_linear
from .test_rules import normalisation

Ends = tuple[Exact, Exact]


def exact_ends(layer: nn.Module, lower: Exact, upper: Exact) -> Ends:
    """What the layer's output can be, coordinate by coordinate, written from the layer's definition."""
    match layer:
        case Pixels():
            ends = np.stack([replay(nn.Sequential(layer), lower), replay(nn.Sequential(layer), upper)])
            return ends.min(axis=0), ends.max(axis=0)
        case nn.BatchNorm2d():
            ends = np.stack([replay(nn.Sequential(layer), lower), replay(nn.Sequential(layer), upper)])
            return ends.min(axis=0), ends.max(axis=0)
        case Abs():
            first = slice(layer.channels)
            nearest, farthest = lower.copy(), upper.copy()
            nearest[first] = np.maximum(np.maximum(lower[first], -upper[first]), Fraction(0))
            farthest[first] = np.maximum(np.abs(lower[first]), np.abs(upper[first]))
            return nearest, farthest
        case nn.Linear() | nn.Conv2d():
            rising, falling, constant = (copy.deepcopy(layer) for _ in range(3))
            with torch.no_grad():
                rising.weight.clamp_(min=0)
                falling.weight.clamp_(max=0)
                falling.bias.zero_()
                constant.weight.zero_()
            up, down = (nn.Sequential(part) for part in (rising, falling))
            return replay(up, lower) + replay(down, upper), replay(up, upper) + replay(down, lower)
        case LInfDistance():
            weight, bias = exact(layer.weight), exact(layer.bias)
            away = np.maximum(np.maximum(lower - weight, weight - upper), Fraction(0)).max(axis=1)
            return away + bias, np.maximum(upper - weight, weight - lower).max(axis=1) + bias
        case SortedDistance():
            weight, bias = exact(layer.weight), exact(layer.bias)
            away = np.maximum(np.maximum(lower - weight, weight - upper), Fraction(0))
            return weighed(layer, away) + bias, weighed(layer, np.maximum(upper - weight, weight - lower)) + bias
        case Residual():
            low, high = lower, upper
            for inner in layer.branch:
                low, high = exact_ends(inner, low, high)
            if layer.skip is not None:
                lower, upper = exact_ends(layer.skip, lower, upper)
            return lower + low, upper + high
        case _:
            return replay(nn.Sequential(layer), lower), replay(nn.Sequential(layer), upper)


def box(image: Tensor, level: float) -> Ends:
    pixels = exact(image)
    return np.maximum(pixels - Fraction(level), Fraction(0)), np.minimum(pixels + Fraction(level), Fraction(1))


def ends_after_each(body: Iterable[nn.Module], image: Tensor, level: float) -> Iterator[Ends]:
    ends = box(image, level)
    for layer in body:
        ends = exact_ends(layer, *ends)
        yield ends


def body_ends(body: Iterable[nn.Module], image: Tensor, level: float) -> Ends:
    *_, last = ends_after_each(body, image, level)
    return last


def exact_margins(head: nn.Module, features: Ends, label: int) -> Exact:
    """The least f_label - f_i over the exact intervals of the features."""
    lower, upper = features
    weight, bias = exact(head.weight), exact(head.bias)  # type: ignore[arg-type]
    rows = weight[label] - weight
    least = np.maximum(rows, Fraction(0)) * lower + np.minimum(rows, Fraction(0)) * upper
    return least.sum(axis=1) + bias[label] - bias


def distances(seed: int) -> nn.Sequential:
    g = np.random.default_rng(seed)
    first, second = distance(9 * g.standard_normal((7, 8)), g.standard_normal(7)), distance(g.standard_normal((5, 7)))
    return network(Pixels([0.1, 0.7], [1.7, -33.0]), nn.Flatten(), first, second, random_linear(g, 4, 5))


def sorted_distances(seed: int) -> nn.Sequential:
    g = np.random.default_rng(seed)
    first = sorted_distance(9 * g.standard_normal((7, 8)), g.standard_normal(7), terms=5)
    second = sorted_distance(g.standard_normal((5, 7)))
    return network(Pixels([0.1, 0.7], [1.7, -33.0]), nn.Flatten(), first, second, random_linear(g, 4, 5))


def mixed(seed: int) -> nn.Sequential:
    """Every other layer of l-infinity."""
    g = np.random.default_rng(seed)
    return network(
        Pixels([0.49, 0.45], [4.1, -3.9]),
        random_conv(g, (4, 2, 3, 3), (2, 1), (1, 1)),
        nn.ReLU(),
        PadChannels(6),
        Residual(random_conv(g, (5, 6, 1, 1)), MinMax("neighbours"), random_conv(g, (6, 5, 3, 3), 1, 1)),
        Residual(nn.ReLU(), skip=random_conv(g, (6, 6, 1, 1))),
        nn.PixelUnshuffle(2),
        FirstChannels(10),
        MinMax("halves"),
        nn.Flatten(),
        random_linear(g, 5, 20),
        nn.ReLU(),
        random_linear(g, 3, 5),
    )


def plain(seed: int) -> nn.Sequential:
    """Pools, activations and normalisation, as people write them."""
    g = np.random.default_rng(seed)
    return network(
        Pixels([0.49, 0.45], [4.1, -3.9]),
        normalisation(2, seed),
        nn.MaxPool2d(2, 1, 1),
        random_conv(g, (6, 2, 2, 2)),
        nn.Conv2d(6, 6, 3, padding=1, groups=2, padding_mode="circular"),
        nn.LeakyReLU(0.3),
        nn.ChannelShuffle(2),
        GroupSort(3),
        nn.AvgPool2d(3, 1, 1, divisor_override=5),
        Abs(4),
        SpatialShift(1),
        nn.Dropout().eval(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        random_linear(g, 12, 24),
        nn.Hardtanh(-30, 40),
        nn.Unflatten(1, (3, 2, 2)),
        nn.Identity(),
        nn.Flatten(),
        random_linear(g, 3, 12),
    )


MAKE = {
    "plain": (plain, (2, 4, 4)),
    "distances": (distances, (2, 2, 2)),
    "sorted": (sorted_distances, (2, 2, 2)),
    "mixed": (mixed, (2, 4, 4)),
}
LEVELS = (1e-9, 8 / 255, 0.3, 1.5)


@pytest.mark.parametrize("kind", [pytest.param("plain", marks=pytest.mark.slow), "distances", "sorted", "mixed"])
@pytest.mark.parametrize("seed", range(3))
def test_ends_err_by_no_more_than_the_certificate_says(kind, seed):
    """Every layer's ends, and the margins: T is theirs, half of what the radius subtracts."""
    make, shape = MAKE[kind]
    net = make(seed)
    certificate, model = certified(net, shape, "linf", LEVELS)
    image = torch.rand(1, *shape, generator=torch.Generator().manual_seed(seed))
    double, label = cast_network(net, torch.float64), int(model(image).label)
    margins = least_margins(double, image.double(), torch.tensor([label]), torch.tensor(LEVELS, dtype=torch.float64))
    for level, margin in zip(LEVELS, margins, strict=True):
        lower, upper = (image.double() - level).clamp(min=0), (image.double() + level).clamp(max=1)
        for depth, true in enumerate(ends_after_each(net[:-1], image[0], level), start=1):
            lower, upper = intervals_of(double[depth - 1], lower, upper, TABLE)
            norm, error = propagate(certificate.layers[:depth], 1.0)
            assert bool((lower <= upper).all())
            for computed, truth in zip((lower[0], upper[0]), true, strict=True):
                assert max(map(abs, exact(computed).flat)) <= Fraction(norm)
                assert max(map(abs, (exact(computed) - truth).flat)) <= Fraction(error)
        for i, truth in enumerate(exact_margins(net[-1], true, label)):
            assert i == label or abs(Fraction(margin[0, i].item()) - truth) <= Fraction(model.slack[label, i].item())
    assert certificate.feature_norm >= norm * (1 - 1e-9)
    assert certificate.feature_error >= error * (1 - 1e-9)


@pytest.mark.parametrize("kind", MAKE)
def test_exact_ends_hold_every_sampled_output(kind):
    """The oracle is one: no output of a point in the box lies outside, in exact arithmetic and without tolerance."""
    make, shape = MAKE[kind]
    net = make(5)
    g = np.random.default_rng(0)
    image = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    for level in (0.01, 0.4):
        lower, upper = box(image, level)
        low, high = body_ends(net, image, level)
        for _ in range(6):
            share = exact(g.choice([0.0, 0.25, 1.0], shape))
            outputs = replay(net, lower + (upper - lower) * share)
            assert (low <= outputs).all()
            assert (outputs <= high).all()


def test_computed_ends_of_distances_hold_computed_outputs():
    """Rounding is monotone, so here even the computed ends need no slack."""
    net = distances(3)
    generator = torch.Generator().manual_seed(2)
    image = torch.rand(1, 2, 2, 2, generator=generator).double()
    lower, upper = (image - 0.2).clamp(min=0), (image + 0.2).clamp(max=1)
    points = lower + (upper - lower) * torch.rand(500, 2, 2, 2, dtype=torch.float64, generator=generator)
    points = points.clamp(lower, upper)
    for layer in cast_network(net, torch.float64)[:-1]:
        lower, upper = intervals_of(layer, lower, upper, TABLE)
        points = layer(points)
        assert bool(((lower <= points) & (points <= upper)).all())


def test_a_distance_from_far_away_rounds():
    net = network(nn.Flatten(), distance([[-1e9, 0], [0, -1e9]]), linear(np.eye(2)))
    certificate, _ = certified(net, (1, 1, 2), "linf")
    image = torch.tensor([0.1, 0.7]).reshape(1, 1, 2)
    computed, truth = (
        copy.deepcopy(net[:-1]).double()(image[None].double())[0],
        body_ends(list(net)[:-1], image, 0.0)[0],
    )
    assert 0 < max(map(abs, (exact(computed) - truth).flat)) <= Fraction(certificate.feature_error)


# Rounding that matters -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e8, 1e12, 1e15, 1e16, 1e18])
@pytest.mark.parametrize("layer", ["linear", "distance"])
def test_biases_that_cancel_cost_what_they_destroy(layer, size):
    """b - a + 1/8 by way of numbers as large as `size`: where they swallow the pixels, no level is proved."""
    if layer == "linear":
        body = [linear(np.eye(2), [size, size]), nn.ReLU(), linear(np.eye(2), [-size, -size])]
    else:
        body = [distance([[-size, 0], [0, -size]]), linear(np.eye(2), [-size, -size])]
    net = network(nn.Flatten(), *body, linear([[-1, 1], [1, -1]], [1 / 16, -1 / 16]))
    levels = tuple(2.0**-power for power in range(12, 1, -1))
    _, model = certified(net, (1, 1, 2), "linf", levels)
    images = torch.rand(64, 1, 1, 2, generator=torch.Generator().manual_seed(5))
    outputs = model(images)
    for image, label, radius in zip(images, outputs.label.tolist(), outputs.radius.tolist(), strict=True):
        a, b = exact(image).ravel()
        margin = (2 * (b - a) + Fraction(1, 8)) * (1 if label == 0 else -1)
        room = (1 - a) + b if label == 0 else (1 - b) + a  # how far the box lets both pixels go, in all
        assert radius == 0 or (margin > 0 and (4 * Fraction(radius) < margin or 2 * room < margin or room < 2 * radius))
        assert radius == 0 or 2 * min(2 * Fraction(radius), room) < margin
    assert bool((outputs.radius > 0).any()) == (size < 1e15)


def test_the_slack_counts_twice_for_a_level():
    """A margin of the box between T and 2 T proves nothing."""
    net = network(nn.Flatten(), linear([[0, 0], [0, 0]], [0.5, 0.0]))
    certificate, _ = certified(net, (1, 1, 2), "linf", (0.25,))
    images = torch.full((1, 1, 1, 2), 0.5)
    for slack, proved in ((0.2, True), (0.26, False), (0.5, False)):
        tables = tables_of(net, certificate)
        tables.slack[0, 1], tables.margin_lipschitz[0, 1] = slack, 1e9
        model = CertifiedModel(net, tables, (1, 1, 2), norm="linf", levels=(0.25,)).eval()
        assert (model(images).radius.item() == 0.25) == proved


# The graph -----------------------------------------------------------------------------------------------------------


def run(path: Path, images: Tensor) -> Outputs:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return Outputs(*session.run(list(Outputs._fields), {"images": images.numpy()}))


@pytest.mark.parametrize("kind", ["mixed", "plain", "sorted"])
def test_graph_and_pytorch_are_one_function(kind, tmp_path: Path):
    make, shape = MAKE[kind]
    net, images = make(1), torch.rand(64, *shape, generator=torch.Generator().manual_seed(4))
    images[32:] = images[32:].round()  # corners of the box
    with torch.no_grad():
        net[-1].bias -= net(images).mean(dim=0)  # type: ignore[operator]
    write_weights(net, tmp_path)
    _, model = certified(net, shape, "linf", (1e-4, 0.01, 0.04))
    write_graph(model, tmp_path / "model.onnx", {})
    images[5, 0, 0, 0] = math.nan
    images[6, 0, 0, 0] = -1e-3
    ours, theirs = (outputs for outputs in (model(images), run(tmp_path / "model.onnx", images)))
    assert (ours.label.numpy() == theirs.label)[6:].all()
    assert set(theirs.radius.tolist()) & {1e-4, 0.01, 0.04}
    assert (theirs.radius[5:7] == 0).all()
    slack = model.slack[model.slack.isfinite()].max().item()
    others = model.margin_lipschitz[~torch.eye(len(model.slack), dtype=torch.bool)]
    keep = np.arange(64) != 5
    for field, tolerance in (("logits", slack), ("class_radii", slack / others.min().item())):
        one, other = getattr(ours, field).numpy()[keep], getattr(theirs, field)[keep]
        finite = np.isfinite(one)
        assert (finite == np.isfinite(other)).all()
        assert np.abs(one[finite] - other[finite]).max() <= tolerance


@pytest.mark.parametrize("level", [0.35, 0.3 * (1 + 2.0**-20)])
def test_the_graph_tries_the_level_that_it_answers(level: float, tmp_path: Path):
    """Not the level as float32, as an exporter writes the number of a sum: the two differ by more than T is."""
    edge = np.nextafter(np.float32(level), np.float32(1))  # f_0 - f_1 = edge - x
    nearest = torch.linspace(0, 5e-8, 2001)[:, None, None, None]
    net = network(nn.Flatten(), linear([[0], [1]], [float(edge), 0]))
    write_weights(net, tmp_path)
    _, model = certified(net, (1, 1, 1), "linf", (level,))
    write_graph(model, tmp_path / "model.onnx", {})
    distances = [Fraction(float(edge)) - Fraction(x) for x in nearest.flatten().tolist()]
    assert any(float(np.float32(level)) < distance < level for distance in distances)
    for outputs in (model(nearest), run(tmp_path / "model.onnx", nearest)):
        radii = np.asarray(outputs.radius)
        assert all(radius < distance for radius, distance in zip(radii.tolist(), distances, strict=True))


def test_distances_agree_with_the_graph_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A layer in several pieces, two levels at once."""
    monkeypatch.setattr(trained, "DIFFERENCES", 20)
    g = np.random.default_rng(0)
    body = (distance(g.standard_normal((9, 8)), g.standard_normal(9)), distance(g.standard_normal((3, 9))))
    net = network(Pixels([0.1, 0.2], [3.0, 5.0]), nn.Flatten(), *body, linear(-np.eye(3)))
    write_weights(net, tmp_path)
    _, model = certified(net, (2, 2, 2), "linf", (0.01, 0.1))
    write_graph(model, tmp_path / "model.onnx", {})
    images = torch.rand(50, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    for ours, theirs in zip(model(images), run(tmp_path / "model.onnx", images), strict=True):
        assert ours.numpy().tobytes() == theirs.tobytes()


def test_a_wider_convolution_reads_its_padding_as_zeros():
    """Padding is the number 0, not a pixel: its interval has no width."""
    net = network(conv(np.ones((1, 1, 1, 3)), None, 1, (0, 1)), nn.Flatten(), linear([[1, 0], [0, 1]]))
    images, label = torch.full((1, 1, 1, 2), 0.5).double(), torch.zeros(1, dtype=torch.long)
    level = torch.tensor([0.125], dtype=torch.float64)
    assert least_margins(cast_network(net, torch.float64), images, label, level)[0, 0, 1].item() == -0.5
