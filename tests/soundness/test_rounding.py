"""Networks replayed in exact arithmetic: the float64 evaluation errs by no more than the certificate says."""

from __future__ import annotations

import copy
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from zoo.bounds.rounding import U, gamma, propagate
from zoo.certificate.certify import compose
from zoo.errors import UncertifiableLayerError
from zoo.layers import MinMax, Pixels, Residual
from zoo.records import Certificate, LayerBound, dumps, loads

from .oracle import certified, conv, linear, network
from .replay import Exact, exact, replay


def square_norm(vector: Exact) -> Fraction:
    return sum((entry * entry for entry in vector.flat), Fraction(0))


def check(net: nn.Sequential, images: Tensor) -> None:
    """Every computed margin is within half of T of the exact one, every layer's output within its norm and error."""
    certificate, model = certified(net, tuple(images.shape[1:]))
    logits = model(images).logits
    computed = (logits[:, :, None] - logits[:, None, :]).numpy()  # rounded as the radius rounds it
    allowed = exact(model.slack.clamp(min=0)) / 2
    for image, margins in zip(images, computed, strict=True):
        check_body(net, certificate, image)
        truth = replay(net, exact(image))
        for j, i in np.ndindex(margins.shape):
            assert abs(Fraction(margins[j, i]) - (truth[j] - truth[i])) <= allowed[j, i]


def check_body(net: nn.Sequential, certificate: Certificate, image: Tensor) -> None:
    domain = math.sqrt(image.numel()) * (1 + 1e-12)
    computed, truth = image[None].double(), exact(image)
    for depth, layer in enumerate(list(net)[:-1], start=1):
        computed, truth = copy.deepcopy(layer).double()(computed), replay([layer], truth)  # type: ignore[arg-type]
        norm, error = propagate(certificate.layers[:depth], domain)
        assert square_norm(exact(computed[0])) <= Fraction(norm) ** 2
        assert square_norm(truth) <= Fraction(norm) ** 2
        assert square_norm(exact(computed[0]) - truth) <= Fraction(error) ** 2
    assert certificate.feature_norm >= norm * (1 - 1e-9)
    assert certificate.feature_error >= error * (1 - 1e-9)


# Random networks -----------------------------------------------------------------------------------------------------


def random_linear(generator: np.random.Generator, outputs: int, inputs: int) -> nn.Linear:
    """Weights and biases over some orders of magnitude, as trained ones are not."""
    spread = 10.0 ** generator.uniform(-2, 1)
    return linear(generator.standard_normal((outputs, inputs)) * spread, generator.standard_normal(outputs) * 10)


def random_conv(generator: np.random.Generator, shape: tuple[int, ...], stride=1, padding=0) -> nn.Conv2d:
    return conv(generator.standard_normal(shape), generator.standard_normal(shape[0]) * 3, stride, padding)


def dense_network(seed: int) -> nn.Sequential:
    g = np.random.default_rng(seed)
    return network(
        Pixels([0.1, 0.7], [1.7, -33.0]),
        nn.Flatten(),
        random_linear(g, 7, 8),
        MinMax("neighbours"),
        random_linear(g, 6, 7),
        MinMax("halves"),
        random_linear(g, 5, 6),
        nn.ReLU(),
        random_linear(g, 4, 5),
    )


def convolutional_network(seed: int) -> nn.Sequential:
    g = np.random.default_rng(seed)
    return network(
        Pixels([0.49, 0.45], [4.1, 3.9]),
        random_conv(g, (4, 2, 3, 3), padding=1),
        MinMax("halves"),
        random_conv(g, (3, 4, 2, 3), (2, 1), (1, 2)),
        MinMax("neighbours"),
        random_conv(g, (4, 3, 2, 2), 2),
        nn.ReLU(),
        nn.Flatten(),
        random_linear(g, 5, 12),
        MinMax("neighbours"),
        random_linear(g, 3, 5),
    )


@pytest.mark.parametrize("seed", range(6))
def test_dense_networks(seed):
    check(dense_network(seed), torch.rand(3, 2, 2, 2, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("seed", range(4))
def test_convolutional_networks(seed):
    check(convolutional_network(seed), torch.rand(2, 2, 4, 5, generator=torch.Generator().manual_seed(seed)))


def test_inputs_at_the_edges_of_the_domain_and_of_the_format():
    edges = torch.tensor([0.0, 1.0, -0.0, 1e-45, 1.0 - 2.0**-24, 2.0**-126, 0.1, 0.5]).reshape(1, 2, 2, 2)
    check(dense_network(7), torch.cat([edges, torch.zeros_like(edges), torch.ones_like(edges)]))


def test_points_of_the_ball_outside_the_box_are_clamped():
    """The recursion bounds what a pixel can be: outside of [0, 1] that is the clamp's doing."""
    images = torch.full((1, 2, 2, 2), 1e6)
    images[0, 0] = -1e6
    check(dense_network(8), images)
    check(network(nn.Flatten(), linear([[1, 1], [1, -1]])), torch.tensor([[[[1e30, -3.0]]]]))


@pytest.mark.parametrize("terms", [3, 200, 2000])
def test_long_sums(terms):
    """Each product and each partial sum is inexact, and all err to the same side."""
    g = np.random.default_rng(terms)
    weight = np.float32(0.1) * np.ones((2, terms)) * [[1], [-1]] + g.random((2, terms)) * 1e-6
    check(network(nn.Flatten(), linear(weight), linear(np.eye(2))), torch.full((1, 1, 1, terms), 0.7))


# Adversaries ---------------------------------------------------------------------------------------------------------


def bias_pair(size: float, activation: nn.Module, amplify: float = 1.0) -> nn.Sequential:
    """x + B - B between activations that change nothing in exact arithmetic: f = +-(x0 - x1) amplify."""
    return network(
        nn.Flatten(),
        linear(np.eye(2), [size, size / 2]),
        activation,
        linear(np.eye(2), [-size, -size / 2]),
        nn.ReLU(),
        linear(amplify * np.eye(2)),
        linear([[1, -1], [-1, 1]]),
    )


@pytest.mark.parametrize("activation", [nn.ReLU(), MinMax("halves"), MinMax("neighbours")], ids=str)
@pytest.mark.parametrize("amplify", [1.0, 1e4])
@pytest.mark.parametrize("size", [1e1, 1e8, 1e12, 1e14, 1e16, 1e30])
def test_biases_that_cancel_cost_what_they_destroy(activation, amplify, size):
    net = bias_pair(size, activation, amplify)
    images = torch.rand(4, 1, 1, 2, generator=torch.Generator().manual_seed(5))
    check(net, images)
    _, model = certified(net, (1, 1, 2))
    outputs = model(images)
    for image, label, radius in zip(images, outputs.label.tolist(), outputs.radius.tolist(), strict=True):
        left, right = exact(image).ravel()
        distance = left - right if label == 0 else right - left  # times sqrt(2): below 0 where the label is wrong
        assert radius == 0 or (distance > 0 and 2 * Fraction(radius) ** 2 <= distance**2)
    if size <= 1e8:
        assert (outputs.radius > 0).any()
    if size >= 1e16:
        assert (outputs.radius == 0).all()


@pytest.mark.parametrize("size", [1e8, 1e16])
def test_biases_that_hide_the_logits(size):
    """The body is exact here; the head's own additions destroy the margin."""
    net = network(nn.Flatten(), linear(np.eye(2), [size, size]))
    images = torch.rand(16, 1, 1, 2, generator=torch.Generator().manual_seed(6))
    check(net, images)
    _, model = certified(net, (1, 1, 2))
    assert bool((model(images).radius > 0).any()) == (size < 1e16)


def test_radius_falls_as_the_biases_grow():
    image = torch.tensor([0.9, 0.1]).reshape(1, 1, 1, 2)
    radii = [
        certified(bias_pair(size, nn.ReLU()), (1, 1, 2))[1](image).radius.item()
        for size in (0, 1e8, 1e12, 1e13, 1e14, 1e15, 1e16)
    ]
    assert radii == sorted(radii, reverse=True)
    assert radii[0] == pytest.approx(0.8 / math.sqrt(2), rel=1e-6)
    assert radii[-1] == 0


# Any order of summation ----------------------------------------------------------------------------------------------


def wide_network() -> nn.Sequential:
    g = np.random.default_rng(9)
    return network(
        Pixels([0.5], [2.0]),
        random_conv(g, (16, 1, 3, 3), padding=1),
        nn.ReLU(),
        random_conv(g, (16, 16, 4, 4), 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        random_linear(g, 32, 16 * 16),
        nn.ReLU(),
        random_linear(g, 5, 32),
    )


def margins(logits: Tensor) -> Tensor:
    return logits[:, :, None] - logits[:, None, :]


def test_permuted_channels_threads_and_batches_stay_within_the_slack():
    """The same network written in another order, run on other threads and in other batches, rounds otherwise."""
    net, images = wide_network(), torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    _, model = certified(net, (1, 8, 8))
    one = model(images)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(2))
    permuted = copy.deepcopy(net)
    first, second = permuted[1], permuted[3]
    assert isinstance(first, nn.Conv2d)
    assert isinstance(second, nn.Conv2d)
    first.weight.copy_(first.weight[order].clone())
    assert first.bias is not None
    first.bias.copy_(first.bias[order].clone())
    second.weight.copy_(second.weight[:, order].clone())
    others = {"permuted": certified(permuted, (1, 8, 8))[1](images).logits}
    others["one by one"] = torch.cat([model(image[None]).logits for image in images])
    try:
        torch.set_num_threads(2)
        others["two threads"] = model(images).logits
    finally:
        torch.set_num_threads(1)
    slack = model.slack.clamp(min=0)
    for name, logits in others.items():
        assert bool(((margins(logits) - margins(one.logits)).abs() <= slack).all()), name
    assert not torch.equal(others["permuted"], one.logits)  # the test does compare different roundings


# The recursion itself ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("terms", [1, 2, 1000, 10**6, 10**9])
def test_gamma_is_rounded_up(terms):
    unit = Fraction(1, 2**53)
    assert Fraction(U) == unit
    assert Fraction(gamma(terms)) >= terms * unit / (1 - terms * unit)


@pytest.mark.parametrize("seed", range(5))
def test_composition_is_rounded_up(seed):
    """Forty layers: the product of their bounds, and the recursion, against the same formulas in fractions."""
    g = np.random.default_rng(seed)
    layers = [
        LayerBound("l", "Linear", (3,), (3,), *g.uniform(0.5, 2, 1), 0.0, "", {}, fan_in, *g.uniform(0, 3, 2), limit)
        for fan_in, limit in zip(g.integers(0, 3, 40).tolist(), [None, 2.5] * 20, strict=True)
    ]
    layers = [LayerBound(**{**vars(layer), "lipschitz_bound": float(layer.lipschitz_bound)}) for layer in layers]
    fields = compose(layers, np.eye(3), np.zeros(3), (3,))
    product = math.prod(Fraction(layer.lipschitz_bound) for layer in layers)
    norm, error = Fraction(math.sqrt(3)) * (1 - Fraction(1, 2**50)), Fraction(0)
    unit = Fraction(1, 2**53)
    for layer in layers:
        bound, offset = Fraction(layer.lipschitz_bound), Fraction(layer.offset_norm)
        count = layer.fan_in + 2 if layer.fan_in else 0
        local = count * unit / (1 - count * unit) * (Fraction(layer.absolute_norm) * norm + offset)
        reach = bound * norm + offset
        norm = (reach if layer.range_norm is None else min(reach, Fraction(layer.range_norm))) + local
        error = bound * error + local
    for field, truth in (("body_lipschitz", product), ("feature_norm", norm), ("feature_error", error)):
        assert truth <= Fraction(fields[field]) <= truth * (1 + Fraction(1, 10**9)) + Fraction(1, 10**290)


def up(count: int) -> list[nn.Module]:
    return [linear(2.0**127 * np.eye(2)) for _ in range(count)]


def down(count: int) -> list[nn.Module]:
    return [linear(2.0**-126 * np.eye(2)) for _ in range(count)]


def nested(depth: int) -> Residual:
    return Residual(*up(2), *([nested(depth - 1)] if depth else []), *down(2))


TOO_LARGE = {
    "three layers of 1e38": [nn.Flatten(), *[linear(1e38 * np.eye(2)) for _ in range(3)]],
    # Each clamp brings the norm back to 1, while the constants and the errors go on to infinity.
    "clamps between": [*[conv([[[[1e15]]]]), Pixels([0.0], [1.0])] * 22, nn.Flatten()],
    # A number on the way is infinity in binary64; the bounds at the end are small.
    "up and down": [nn.Flatten(), *up(9), *down(9)],
    "up, a branch, down": [nn.Flatten(), *up(7), Residual(*up(2), *down(2)), *down(7)],
    "up and down in a branch": [nn.Flatten(), linear(512 * np.eye(2)), Residual(*up(8), *down(8))],
    "up and down in a skip": [
        nn.Flatten(),
        linear(512 * np.eye(2)),
        Residual(nn.ReLU(), skip=Residual(*up(8), *down(8))),
    ],
    "offset in a branch": [nn.Flatten(), Residual(linear(np.zeros((2, 2)), [3e38, 0]), *up(8), *down(9))],
    "up in each of six branches": [nn.Flatten(), nested(5)],
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_weights_beyond_all_bounds_are_refused(case):
    """Where float64 could overflow no rounding bound holds, and infinity over infinity is no radius."""
    with pytest.raises(UncertifiableLayerError):
        certified(network(*TOO_LARGE[case], linear([[1, 0], [0, 1]])), (1, 1, 2))


WEIGHTS = {
    "tiny weights": [linear(1e-30 * np.ones((2, 2)))],
    "large weights": [linear(1e15 * np.ones((2, 2)))],
    "huge weights": [linear(1e25 * np.ones((2, 2)))],
    "a block whose slope is beyond float32": [Residual(linear(1e25 * np.eye(2)), linear(1e25 * np.eye(2)))],
    "a block of zeros": [Residual(linear(np.zeros((2, 2))), skip=linear(np.zeros((2, 2))))],
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_a_record_of_extreme_weights_can_be_written(case):
    """Every number of a certificate is finite, the estimates too: NaN is not JSON."""
    certificate, _ = certified(network(nn.Flatten(), *WEIGHTS[case], linear(np.eye(2))), (1, 1, 2))
    text = dumps(certificate)
    assert dumps(loads(Certificate, text)) == text
