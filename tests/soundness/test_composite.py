"""Layers that are no single matrix: their bounds against Jacobians written out, and against norms in closed form."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from zoo.bounds import Context, bound_layer, convolution
from zoo.errors import UncertifiableLayerError
from zoo.layers import MinMax, Pixels, Residual

from .oracle import Shape, conv, linear, lipschitz_bound, network
from .test_rounding import check

TIGHT = 1.0 + 1e-7


def largest_stretch(layer: nn.Module, shape: Shape, seed: int, points: int = 20) -> float:
    """The largest singular value of the layer's Jacobian at random points, near and far: at most its constant."""
    layer = copy.deepcopy(layer).double()
    generator = torch.Generator().manual_seed(seed)
    found = 0.0
    for scale in np.logspace(-3, 3, points):
        x = float(scale) * torch.randn(1, *shape, dtype=torch.float64, generator=generator)
        jacobian = torch.autograd.functional.jacobian(layer, x).reshape(-1, math.prod(shape))
        found = max(found, float(torch.linalg.matrix_norm(jacobian, ord=2)))
    return found


def randomised(layer: nn.Module, seed: int, spread: float) -> nn.Module:
    """The layer with normal weights of this size; buffers stay."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
    return layer


def residual_dense() -> nn.Module:
    return Residual(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 5))


def residual_conv() -> nn.Module:
    return Residual(nn.Conv2d(3, 4, 3, padding=1), MinMax("halves"), nn.Conv2d(4, 3, 3, padding=1))


LAYERS: dict[str, tuple[Callable[[], nn.Module], Shape]] = {
    "residual, dense": (residual_dense, (5,)),
    "residual, convolutions": (residual_conv, (3, 4, 5)),
    "residual of residuals": (lambda: Residual(residual_dense(), MinMax("neighbours"), residual_dense()), (5,)),
}


@pytest.mark.parametrize("cost", [-1, 1e9])
@pytest.mark.parametrize("spread", [1e-3, 0.3, 30.0])
@pytest.mark.parametrize("case", LAYERS)
def test_no_jacobian_exceeds_the_bound(case, spread, cost):
    make, shape = LAYERS[case]
    for seed in range(3):
        layer = randomised(make(), seed, spread)
        with patch.object(convolution, "DENSE_COST", cost):
            bound = lipschitz_bound(layer, shape)
        assert largest_stretch(layer, shape, seed) <= bound


# Norms in closed form ------------------------------------------------------------------------------------------------

KNOWN: dict[str, tuple[nn.Module, Shape, float]] = {
    "branch along the identity": (Residual(linear(3 * np.eye(4))), (4,), 4),
    "branch of two aligned layers": (Residual(linear(2 * np.eye(4)), nn.ReLU(), linear(5 * np.eye(4))), (4,), 11),
    "branch of zeros": (Residual(linear(np.zeros((4, 4)))), (4,), 1),
    "branch of nothing": (Residual(), (4,), 2),
    "branch of 1 x 1 convolutions": (Residual(conv(2 * np.eye(3)[:, :, None, None])), (3, 2, 2), 3),
}


@pytest.mark.parametrize("case", KNOWN)
def test_known_constants_are_met(case):
    layer, shape, truth = KNOWN[case]
    assert truth <= lipschitz_bound(layer, shape) <= truth * TIGHT


# Rounding ------------------------------------------------------------------------------------------------------------


def rounding_network(case: str, seed: int) -> tuple[nn.Sequential, Shape]:
    """Two such layers between dense ones, with weights and biases that do not cancel."""
    make, shape = LAYERS[case]
    size = math.prod(shape)
    first, second = randomised(make(), seed, 0.4), randomised(make(), seed + 1, 2.0)
    channels, rows, columns = shape if len(shape) == 3 else (shape[0], 1, 1)
    flat = () if len(shape) == 3 else (nn.Flatten(),)
    g = np.random.default_rng(seed)
    pixels = Pixels([0.3] * channels, [1.7] * channels)
    head = linear(g.standard_normal((3, size)), g.standard_normal(3))
    return network(pixels, *flat, first, second, nn.Flatten(), head), (channels, rows, columns)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("case", LAYERS)
def test_floats_stay_within_the_stated_rounding(case, seed):
    net, shape = rounding_network(case, seed)
    check(net, torch.rand(2, *shape, generator=torch.Generator().manual_seed(seed)))


# All else is refused -------------------------------------------------------------------------------------------------


class MySequential(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return 10 * super().forward(x)


def with_branch(branch: nn.Module) -> nn.Module:
    layer = Residual()
    layer.branch = branch  # type: ignore[assignment]
    return layer


REFUSED: dict[str, tuple[Callable[[], nn.Module], Shape]] = {
    "branch without a rule": (lambda: Residual(nn.Linear(4, 4), nn.Tanh()), (4,)),
    "branch of another shape": (lambda: Residual(nn.Linear(4, 1)), (4,)),
    "branch of a subclass": (lambda: with_branch(MySequential(nn.Linear(4, 4))), (4,)),
    "branch with a float64 layer": (lambda: Residual(nn.Linear(4, 4).double()), (4,)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_layer_that_no_rule_proves_is_refused(case):
    make, shape = REFUSED[case]
    with pytest.raises(UncertifiableLayerError, match=r"layer 'suspect(\.\d)?' cannot be certified: ."):
        bound_layer(make(), Context("suspect", shape))
