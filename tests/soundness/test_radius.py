"""The radius against exact fractions of the very logits that it is computed from: rounded down, and never for a tie."""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from zoo.bounds.margins import MarginTables, margin_tables
from zoo.certificate.model import CertifiedModel
from zoo.layers import Residual

from .oracle import certified, linear, network
from .replay import exact, replay

SHAPE = (1, 1, 2)
RECTANGLE = np.array([[0, 0], [4, 0], [0, 3], [4, 3]])  # every two rows differ by 3, 4 or 5


def images(count: int, pixels: int = 2, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, 1, pixels, generator=torch.Generator().manual_seed(seed))


def with_tables(
    net: nn.Sequential, lipschitz: np.ndarray, slack: np.ndarray, shape: tuple[int, ...] = SHAPE
) -> CertifiedModel:
    tables = MarginTables(np.array(lipschitz, dtype=float), np.array(slack, dtype=float))
    return CertifiedModel(net, tables, shape).eval()


def test_the_radius_is_rounded_down():
    """(f_j - f_i - T) / K in fractions, with every K an integer: subtraction, subtraction and division may round up."""
    net = network(nn.Flatten(), linear(RECTANGLE, [1.0, -0.9, -0.7, -2.2]))
    tables = margin_tables(RECTANGLE.astype(float), np.array([1.0, -0.9, -0.7, -2.2]), 1.0, math.sqrt(2), 1e-9)
    outputs = CertifiedModel(net, tables, SHAPE).eval()(images(4000))
    rows = zip(outputs.logits.tolist(), outputs.label.tolist(), outputs.class_radii.tolist(), strict=True)
    positive = 0
    for logits, label, radii in rows:
        for i in {0, 1, 2, 3} - {label}:
            margin = Fraction(logits[label] - logits[i]) - Fraction(tables.slack[label, i])
            distance = math.isqrt(int(((RECTANGLE[label] - RECTANGLE[i]) ** 2).sum()))
            assert radii[i] == 0 or Fraction(radii[i]) * distance < margin
            positive += radii[i] > 0
    assert positive > 10_000
    assert outputs.radius.tolist() == [min(radii) for radii in outputs.class_radii.tolist()]


def test_the_radius_is_at_most_the_distance_of_the_exact_network():
    net = network(nn.Flatten(), linear(RECTANGLE, [1.0, -0.9, -0.7, -2.2]))
    _, model = certified(net, (1, 1, 2))
    points = images(500, seed=1)
    outputs = model(points)
    for point, label, radius in zip(points, outputs.label.tolist(), outputs.radius.tolist(), strict=True):
        logits = replay(net, exact(point))
        for i in {0, 1, 2, 3} - {label}:
            distance = math.isqrt(int(((RECTANGLE[label] - RECTANGLE[i]) ** 2).sum()))
            assert radius == 0 or Fraction(radius) * distance < logits[label] - logits[i]


def test_points_within_the_radius_keep_their_label_to_the_last_bit():
    """Jin, Ohrimenko, Rubinstein 2022: representable points around the sphere; those inside, exactly, never flip."""
    generator = np.random.default_rng(4)
    inside = 0
    for _ in range(20):
        net = network(nn.Flatten(), linear(generator.standard_normal((2, 3)), generator.standard_normal(2) * 0.1))
        _, model = certified(net, (1, 1, 3))
        start = torch.rand(1, 1, 1, 3, generator=torch.Generator().manual_seed(int(generator.integers(2**31))))
        outputs = model(start)
        label, radius = outputs.label.item(), outputs.radius.item()
        head = net[-1].weight.double().numpy()
        direction = (head[1] - head[0]) * (1 if label == 0 else -1)
        target = start.double().numpy() + radius * (direction / np.linalg.norm(direction)).reshape(1, 1, 1, 3)
        steps = generator.integers(-3, 4, (100, 1, 1, 3))
        ulps = np.spacing(np.abs(target).astype(np.float32)).astype(float)
        points = torch.tensor(target + steps * ulps).float()
        labels = model(points).label
        for point, found in zip(points, labels.tolist(), strict=True):
            difference = exact(point) - exact(start[0])
            if sum(entry * entry for entry in difference.flat) <= Fraction(radius) ** 2:
                inside += 1
                assert found == label  # as computed, claim D
                logits = replay(net, exact(point))
                assert logits[label] > logits[1 - label]  # in exact arithmetic, claim R
    assert inside > 200


# The winner is masked by its index ------------------------------------------------------------------------------------


@pytest.mark.parametrize("equal", [[0, 1], [1, 2], [0, 2], [0, 1, 2]])
def test_ties_have_radius_zero(equal):
    bias = np.full(3, -5.0)
    bias[equal] = 1.0
    weight = np.array([[1, 0], [0, 1], [1, 1]]) * 1e-3
    weight[equal] = 0.5  # the same logit up to the last bit
    _, model = certified(network(nn.Flatten(), linear(weight, bias)), (1, 1, 2))
    outputs = model(images(8))
    assert set(outputs.label.tolist()) <= set(equal)
    assert (outputs.radius == 0).all()
    assert (outputs.class_radii[:, equal].min(dim=1).values == 0).all()
    assert outputs.class_radii.gather(1, outputs.label[:, None]).isinf().all()


def test_equal_logits_of_different_rows_have_radius_zero():
    _, model = certified(network(nn.Flatten(), linear(np.eye(2))), (1, 1, 2))
    assert (model(torch.full((1, 1, 1, 2), 0.3)).radius == 0).all()


@pytest.mark.parametrize("body", [1.0, 0.0])
def test_classes_that_never_move_tie_for_ever(body):
    """Rows of zeros with equal biases: no margin, no constant, no rounding. 0 / 0 must not become a radius."""
    head = linear([[0, 0], [0, 0], [1, 1]], [0.0, 0.0, -10.0])
    _, model = certified(network(nn.Flatten(), linear(body * np.eye(2)), head), (1, 1, 2))
    outputs = model(images(4))
    assert (outputs.radius == 0).all()
    assert not outputs.class_radii.isnan().any()


def test_a_class_that_never_comes_nearer_is_far_away():
    """Equal rows, different biases: the margin is constant, so is the label."""
    _, model = certified(network(nn.Flatten(), linear([[3, 1], [3, 1]], [0.0, -1.0])), (1, 1, 2))
    assert (model(images(4)).radius > 1e9).all()


# What is not an image of the domain gets nothing ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "pixel", [math.nan, math.inf, -math.inf, -1e-45, float(np.nextafter(np.float32(1), np.float32(2))), 2.0, -3e38]
)
def test_inputs_outside_the_domain_have_radius_zero(pixel):
    _, model = certified(network(nn.Flatten(), linear([[1, 0], [0, 1]], [9.0, 0.0])), (1, 1, 2))
    batch = torch.full((3, 1, 1, 2), 0.5)
    batch[1, 0, 0, 1] = pixel
    outputs = model(batch)
    assert outputs.radius[[0, 2]].min() > 5
    assert outputs.radius[1] == 0
    assert outputs.topk_radius[1].tolist() == [0]
    assert not outputs.class_radii.isnan().any()
    assert model(torch.tensor([[[[1.25, -0.25]]]])).radius == 0  # outside by amounts that cancel


@pytest.mark.parametrize("logit", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("where", [0, 1, 2])
def test_logits_that_are_not_finite_have_radius_zero(logit, where):
    """Certified weights cannot do this; the guard does not rely on it."""
    bias = np.array([5.0, 1.0, 0.0])
    bias[where] = logit
    net = network(nn.Flatten(), linear(np.zeros((3, 2)), bias))
    slack = np.where(np.eye(3, dtype=bool), -np.inf, 1e-12)
    outputs = with_tables(net, np.ones((3, 3)), slack)(images(2))
    assert (outputs.radius == 0).all()
    assert not outputs.class_radii.isnan().any()


# The tables ----------------------------------------------------------------------------------------------------------


def test_rows_of_the_tables_are_the_predicted_class():
    """K_ji and T_ji with j predicted: tables without symmetry, every class the predicted one in turn."""
    generator = np.random.default_rng(2)
    lipschitz, slack = generator.uniform(1, 9, (4, 4)), generator.uniform(0, 0.5, (4, 4))
    np.fill_diagonal(slack, -np.inf)
    model = with_tables(network(nn.Flatten(), linear(5 * np.eye(4))), lipschitz, slack, (1, 1, 4))
    outputs = model(torch.eye(4).reshape(4, 1, 1, 4) * 0.8)
    assert outputs.label.tolist() == [0, 1, 2, 3]
    for j, i in itertools.permutations(range(4), 2):
        expected = (outputs.logits[j, j].item() - outputs.logits[j, i].item() - slack[j, i]) / lipschitz[j, i]
        assert outputs.class_radii[j, i].item() == expected
    assert outputs.class_radii.diagonal().isinf().all()


@pytest.mark.parametrize("spread", [0.0, 3.0, 18.0])
@pytest.mark.parametrize(("classes", "features"), [(2, 1), (3, 7), (6, 40)])
def test_tables_are_rounded_up(classes, features, spread):
    """K and T against their formulas in 50 digits."""
    g = np.random.default_rng(classes)
    weight = (g.standard_normal((classes, features)) * 10 ** g.uniform(-spread, spread, (classes, 1))).astype(
        np.float32
    )
    bias = g.standard_normal(classes).astype(np.float32)
    body, norm, error = 3.7, 12.3, 1e-13
    tables = margin_tables(weight.astype(float), bias.astype(float), body, norm, error)
    with mpmath.workdps(50):
        rows = [[mpmath.mpf(float(entry)) for entry in row] for row in weight]
        length = [mpmath.sqrt(mpmath.fsum(x * x for x in row)) for row in rows]
        u = mpmath.mpf(2) ** -53
        n = (features + 2) * u
        reach = [length[j] * norm + abs(float(bias[j])) for j in range(classes)]
        local = [n / (1 - n) * value for value in reach]
        for j, i in itertools.permutations(range(classes), 2):
            distance = mpmath.sqrt(mpmath.fsum((x - y) ** 2 for x, y in zip(rows[j], rows[i], strict=True)))
            margin = distance * error + local[j] + local[i] + u * (reach[j] + local[j] + reach[i] + local[i])
            for found, truth in (
                (tables.margin_lipschitz[j, i], distance * body),
                (tables.slack[j, i], 2 * margin),
            ):
                assert truth < mpmath.mpf(float(found)) < truth * (1 + mpmath.mpf("1e-9"))
    assert (np.diag(tables.slack) == -np.inf).all()
    assert (np.diag(tables.margin_lipschitz) == 1).all()


@pytest.mark.parametrize("features", [10, 18_816, 100_000])
def test_row_norms_are_rounded_up_for_any_number_of_features(features):
    """After 1, each square is just below half an ulp and is lost, all of them to the same side."""
    weight = np.full((2, features), float(np.float32(2**-26.5) * np.float32(0.9999999)))
    weight[:, 0] = 1
    weight[1] = 0
    tables = margin_tables(weight, np.zeros(2), 1.0, 1.0, 0.0)
    square = 1 + (features - 1) * Fraction(weight[0, 1]) ** 2
    bound = Fraction(tables.margin_lipschitz[0, 1]) / (1 + Fraction(1, 2**52))  # what the radius may round up by
    assert bound**2 >= square


# Many callers at once -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("norm", "levels"), [("l2", ()), ("linf", (1e-4, 1e-3))])
def test_threads_do_not_disturb_one_another(norm, levels):
    """Answers and gradients of calls that overlap are, to the last bit, those of calls one after the other."""
    net = network(nn.Flatten(), Residual(nn.Linear(48, 48), nn.ReLU()), nn.Linear(48, 5), channels=3)
    _, model = certified(net, (3, 4, 4), norm, levels)
    points = torch.rand(40, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def answer(point: torch.Tensor) -> list[torch.Tensor]:
        point = point[None].requires_grad_(True)
        outputs = model(point)
        (gradient,) = torch.autograd.grad(outputs.logits.max() + outputs.radius.sum(), point)
        return [*(value.detach() for value in outputs), gradient]

    alone = [answer(point) for point in points]
    assert all(answers[-1].count_nonzero() for answers in alone)
    with ThreadPoolExecutor(16) as threads:
        together = list(threads.map(answer, [*points] * 2))
    for row, answers in enumerate(together):
        assert all(map(torch.equal, answers, alone[row % len(points)]))
    assert {value.dtype for value in model.network.state_dict().values()} == {torch.float32}
