"""Networks whose true radius is known and certified almost fully: one thousandth less of K, and a label flips inside.

Attacks on a trained network come no nearer than about 1.7 times its certified radius, so they would pass a bound that
is far too small. Here f = (u A x, -u A x) with (u, v) the top singular pair of A, and v is the worst direction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from zoo.layers import MinMax, Pixels

from .oracle import Shape, certified, conv, linear, network, operator
from .replay import exact, replay
from .test_norms import separable

INSIDE, OUTSIDE = 1.0 - 1e-9, 1.0 + 1e-5
TIGHTNESS = 1.0 - 1e-6  # radius over true distance


def witness_head(feature: np.ndarray, offset: float) -> nn.Linear:
    """f = (u x - offset, offset - u x) for the direction u."""
    return linear([feature, -feature], [-offset, offset])


def exact_margin(net: nn.Sequential, image: np.ndarray, label: int) -> Fraction:
    """The least of f_label - f_i in exact arithmetic; a float64 image is taken as it is, inside the box or not."""
    logits = replay(net, exact(image))
    return min(logits[label] - other for index, other in enumerate(logits) if index != label)


def attack(net: nn.Sequential, image: np.ndarray, direction: np.ndarray, tightness: float = TIGHTNESS) -> None:
    """Along the worst direction the label holds to the very radius, and flips right outside of it."""
    _, model = certified(net, image.shape)
    outputs = model(torch.tensor(image, dtype=torch.float32)[None])
    image = image.astype(np.float32).astype(np.float64)
    radius, label = outputs.radius.item(), outputs.label.item()
    assert radius > 1e-3
    step = direction / np.linalg.norm(direction)
    for sign in (1.0, -1.0):
        inside = image + sign * radius * INSIDE * step
        assert exact_margin(net, inside, label) > 0
        assert model(torch.from_numpy(inside)[None]).label.item() == label
    outside = [image + sign * radius / tightness * OUTSIDE * step for sign in (1.0, -1.0)]
    assert any(exact_margin(net, point, label) < 0 for point in outside), "the certificate is not tight"


def around(direction: np.ndarray, size: float = 0.02) -> np.ndarray:
    """An image near the middle of the box, a little along the direction."""
    return 0.5 + size * direction / np.linalg.norm(direction)


# One layer -----------------------------------------------------------------------------------------------------------

IDENTITY = separable(np.eye(2), 0, 1)
LAYERS: dict[str, tuple[Callable[[np.random.Generator], nn.Module], Shape]] = {
    "dense": (lambda g: linear(g.standard_normal((5, 6))), (6, 1, 1)),
    "more outputs than inputs": (lambda g: linear(g.standard_normal((9, 4))), (4, 1, 1)),
    "ones as an eigenvector": (lambda g: linear([[2, -1], [-1, 2]]), (2, 1, 1)),
    "nearly equal singular values": (lambda g: linear(np.diag([1.0, 1.0 - 1e-4, 0.999, 1.0])), (4, 1, 1)),
    "patches": (lambda g: conv(g.standard_normal((3, 2, 2, 2)), stride=2), (2, 4, 4)),
    "padded": (lambda g: conv(g.standard_normal((2, 2, 3, 3)), padding=1), (2, 3, 4)),
    "strided": (lambda g: conv(g.standard_normal((3, 1, 4, 4)), stride=2, padding=1), (1, 6, 6)),
    "rectangular": (lambda g: conv(g.standard_normal((2, 1, 2, 3)), stride=(1, 2), padding=(1, 0)), (1, 4, 5)),
    "alternating": (lambda g: conv([[[[-1], [2], [-1]]]], padding=(1, 0)), (1, 3, 2)),
    "centre tap": (lambda g: conv(separable([[2, -1], [-1, 2]], 0, 1), padding=1), (2, 3, 3)),
    "residual": (lambda g: conv(separable(np.diag([1, 0.5]), 0.2, 0.3) + IDENTITY, padding=1), (2, 4, 4)),
}


@pytest.mark.parametrize("case", LAYERS)
def test_one_layer(case):
    make, shape = LAYERS[case]
    layer = make(np.random.default_rng(11))
    flat = (math.prod(shape),) if isinstance(layer, nn.Linear) else shape
    left, _, right = np.linalg.svd(operator(layer, flat))
    middle = layer(torch.full((1, *flat), 0.5)).flatten().detach().double().numpy()
    head = witness_head(left[:, 0], float(left[:, 0] @ middle))
    rest = [layer, head] if isinstance(layer, nn.Linear) else [layer, nn.Flatten(), head]
    net = network(*([nn.Flatten()] if isinstance(layer, nn.Linear) else []), *rest, channels=shape[0])
    direction = right[0].reshape(shape)
    attack(net, around(direction), direction)


@pytest.mark.parametrize("scale", [4.0, -0.25, 1e3])
def test_the_normalisation_is_part_of_the_network(scale):
    """Pixels multiplies every distance by its scale; a bound of 1 for it is off by that factor."""
    pixels = Pixels([0.5, 0.4], [scale / 2, scale])
    direction = np.array([0.0, 1.0]).reshape(2, 1, 1)
    net = network(pixels, nn.Flatten(), witness_head(np.array([0.0, 1.0]), 0.1 * scale))
    attack(net, around(direction), direction)


@pytest.mark.parametrize(("row", "other"), [([3, 4], [0, 0]), ([3, 4], [-3, -4]), ([1, 0], [0, 1]), ([5, 1], [1, -2])])
def test_the_head_counts_by_differences_of_rows(row, other):
    """|h_j - h_i|, neither |h_j| nor sqrt(2) times it."""
    difference = np.subtract(row, other)
    net = network(nn.Flatten(), linear([row, other], [0.0, 0.5 * difference.sum()]))
    direction = difference.reshape(1, 1, 2).astype(float)
    attack(net, around(direction), direction)


def test_the_nearest_of_many_classes_decides():
    """Three classes, with the most distant row the nearest in value: the minimum is over ratios, not over margins."""
    net = network(nn.Flatten(), linear([[1, 0], [0.9, 0], [-6, 8]], [0.0, -0.1, -0.6]))
    direction = np.array([7.0, -8.0]).reshape(1, 1, 2)
    attack(net, np.full((1, 1, 2), 0.5), direction)


# Many layers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pairing", ["halves", "neighbours"])
@pytest.mark.parametrize("depth", [1, 4])
def test_deep_residual_network(pairing, depth):
    """Residual convolutions with common singular vectors between MinMax layers that stay in order: K is exact.

    Every kernel is (I + diag(1, 0.5) conv) with the same separable conv, so the top vector, channel 0 times sines, is
    the same for all; channel 0 lies above channel 1 everywhere, so MinMax passes all through.
    """
    side = 4
    kernel = IDENTITY + separable(np.diag([1, 0.5]), 0.25, 0.5)
    sines = np.sin(np.pi * np.arange(1, side + 1) / (side + 1))
    direction = np.stack([np.outer(sines, sines), np.zeros((side, side))])
    layers: list[nn.Module] = [Pixels([0.5, 0.5], [2.0, 2.0]), conv(kernel, [3.0, -3.0], padding=1), MinMax(pairing)]
    for _ in range(depth - 1):
        layers += [conv(kernel, padding=1), MinMax(pairing)]
    body = network(*layers, nn.Flatten())
    middle = body(torch.full((1, 2, side, side), 0.5))[0].double().numpy()
    unit = direction.ravel() / np.linalg.norm(direction)
    net = network(*body, witness_head(unit, float(unit @ middle)))
    # The head is exact to float32 only, and each layer's bound stands 5e-9 above its norm.
    attack(net, around(direction), direction)


@pytest.mark.parametrize("activation", [nn.ReLU(), MinMax("neighbours"), MinMax("halves")])
def test_dense_chain(activation):
    """Aligned dense layers: each one's top right vector is the one before's top left vector."""
    generator = np.random.default_rng(3)
    bases = [np.linalg.qr(generator.standard_normal((4, 4)))[0] for _ in range(4)]
    values = np.diag([2.0, 1.0, 0.5, 0.1])
    matrices = [bases[i + 1] @ values @ bases[i].T for i in range(3)]
    layers: list[nn.Module] = [nn.Flatten()]
    signal = np.full(4, 0.5)
    for matrix in matrices:
        ordered = np.array([40.0, 20.0, 10.0, 5.0])  # so that no activation changes anything near the image
        layers += [linear(matrix, ordered - matrix @ signal), activation]
        signal = ordered
    left = bases[3][:, 0]
    net = network(*layers, witness_head(left, float(left @ signal)))
    direction = bases[0][:, 0].reshape(1, 2, 2)
    attack(net, around(direction), direction)


def test_a_layer_that_stands_twice_counts_twice():
    """nn.Module.named_children names a shared layer once."""
    shared = linear(np.diag([10.0, 1.0]))
    net = network(nn.Flatten(), shared, shared, witness_head(np.array([1.0, 0.0]), 50.0))
    certificate, _ = certified(net, (1, 1, 2))
    assert certificate.body_lipschitz >= 100


def test_top_k_radius_counts_classes():
    """Below topk_radius[k] at most k other classes come above the label."""
    head = linear(np.vstack([np.zeros(5), np.eye(5)]), [0.0, -0.9, -0.8, -0.7, -0.6, -0.51])
    _, model = certified(network(nn.Flatten(), head), (1, 1, 5))
    image = np.full((1, 1, 5), 0.5)
    outputs = model(torch.tensor(image, dtype=torch.float32)[None])
    assert outputs.label.item() == 0
    assert outputs.topk_radius[0].tolist() == sorted(outputs.class_radii[0, 1:].tolist())
    for rank, radius in enumerate(outputs.topk_radius[0].tolist()):
        nearest = np.argsort(-head.bias.detach().numpy()[1:])[: rank + 1]
        step = np.zeros(5)
        step[nearest] = 1.0  # raises all rank + 1 nearest classes at once
        logits = replay(model.network, exact(image + (radius * INSIDE * step / np.linalg.norm(step)).reshape(1, 1, 5)))
        assert sum(other > logits[0] for other in logits[1:]) <= rank


# No witness needed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_every_direction_of_a_plane(seed):
    """Two pixels: the whole sphere of the certified radius, at 3600 angles, inside and outside of the box."""
    g = np.random.default_rng(seed)
    activation = [nn.ReLU(), MinMax("halves"), MinMax("neighbours")][seed % 3]
    layers = [linear(g.standard_normal((8, 2)) * 3, g.standard_normal(8)), activation]
    layers += [linear(g.standard_normal((6, 8)), g.standard_normal(6)), activation]
    body = network(Pixels([0.5], [3.0]), nn.Flatten(), *layers)
    middle = body(torch.full((1, 1, 1, 2), 0.5))[0].double().numpy()
    weight = g.standard_normal((3, 6))
    net = network(*body, linear(weight, -weight @ middle))  # all three classes meet in the middle
    _, model = certified(net, (1, 1, 2))
    images = torch.rand(20, 1, 1, 2, generator=torch.Generator().manual_seed(seed))
    outputs = model(images)
    assert (outputs.radius > 1e-4).any()
    angles = torch.linspace(0, 2 * math.pi, 3600, dtype=torch.float64)
    circle = torch.stack([angles.cos(), angles.sin()], dim=1)[:, None, None, :]
    for image, label, radius in zip(images, outputs.label, outputs.radius, strict=True):
        if radius > 0:
            assert bool((model(image.double() + radius * INSIDE * circle).label == label).all())
