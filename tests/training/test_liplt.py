"""The estimate of LipLT's recursion: below the proved bound, near it once converged, with a gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from tests.soundness.oracle import certified, network
from training.estimate import margin_lipschitz
from training.liplt import LipLTEstimate
from zoo.bounds.liplt import LipLT, liplt
from zoo.errors import UncertifiableLayerError
from zoo.layers import MinMax, Pixels, Residual


def dense() -> nn.Sequential:
    return network(nn.Flatten(), nn.Linear(16, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 4))


def convolutions() -> nn.Sequential:
    return network(
        Pixels([0.5], [3.0]),
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 3, 2, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12, 6),
        nn.ReLU(),
        nn.Linear(6, 6),
        nn.Linear(6, 3),
    )


def residual() -> nn.Sequential:
    branch = (nn.Conv2d(1, 5, 4, 2, 1), nn.ReLU(), nn.Conv2d(5, 3, 3, padding=1))
    return network(
        Residual(*branch, skip=nn.Conv2d(1, 3, 2, 2)),
        nn.Flatten(),
        Residual(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 12)),
        nn.Linear(12, 3),
    )


NETWORKS = (dense, convolutions, residual)


def proved(net: nn.Sequential) -> LipLT:
    return liplt(net, certified(net, (1, 4, 4))[0].layers)


@pytest.mark.parametrize("make", NETWORKS)
def test_estimates_are_below_their_bounds(make):
    torch.manual_seed(0)
    net = make()
    table = proved(net)
    estimate = LipLTEstimate(net, (1, 4, 4), 0, 2)
    off = ~np.eye(len(table.pairwise), dtype=bool)
    for _ in range(30):
        body = estimate()
        ratio = estimate.margins(body).detach().numpy()[off] / table.pairwise[off]
        assert (ratio <= 1 + 1e-5).all()
        assert body.item() <= table.body * (1 + 1e-5) or isinstance(net[-2], Residual)
    assert (ratio >= 0.98).all()


def test_converged_estimates_are_near():
    torch.manual_seed(1)
    net = dense()
    estimate = LipLTEstimate(net, (1, 4, 4), 0, 2)
    body = estimate.converge(1e-8)
    assert body.item() == pytest.approx(proved(net).body, rel=1e-3)


@pytest.mark.parametrize("make", NETWORKS)
def test_gradients_are_those_of_the_converged_table(make):
    """A finite difference along the gradient: the table changes by its squared length."""
    torch.manual_seed(2)
    net = make().double().requires_grad_(True)
    estimate = LipLTEstimate(net, (1, 4, 4), 0, 5)
    estimate.converge(1e-12, limit=10_000)

    def total() -> torch.Tensor:
        return estimate.margins(estimate()).sum()

    weights = [one for name, one in net.named_parameters() if name.endswith("weight")]
    before = total()
    gradient = torch.autograd.grad(before, weights)
    assert all(bool(one.any()) for one in gradient)
    square = sum(float(one.square().sum()) for one in gradient)
    with torch.no_grad():
        for weight, slope in zip(weights, gradient, strict=True):
            weight -= 1e-5 / square * slope
    estimate.converge(1e-13, limit=1000)
    assert float((before - total()).detach()) == pytest.approx(1e-5, rel=0.05)


def test_iterates_are_training_state():
    torch.manual_seed(0)
    net = dense()
    one, other = (LipLTEstimate(net, (1, 4, 4), seed, 1) for seed in (0, 1))
    one()
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(), other())


def test_parametrised_weights_are_seen():
    torch.manual_seed(0)

    class Doubled(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return 2 * weight

    net = dense()
    before = LipLTEstimate(net, (1, 4, 4), 0, 50)().item()
    parametrize.register_parametrization(net[2], "weight", Doubled())
    assert LipLTEstimate(net, (1, 4, 4), 0, 50)().item() == pytest.approx(2 * before, rel=1e-3)


def test_many_classes_are_compared_in_the_head_only():
    torch.manual_seed(0)
    net = network(nn.Flatten(), nn.Linear(16, 9), nn.ReLU(), nn.Linear(9, 101))
    estimate = LipLTEstimate(net, (1, 4, 4), 0, 5)
    body = estimate()
    assert torch.equal(estimate.margins(body), margin_lipschitz(body, net[-1].weight))


@pytest.mark.parametrize("layer", [MinMax("halves"), Residual(nn.Linear(16, 16))])
def test_other_activations_are_refused(layer):
    with pytest.raises(UncertifiableLayerError, match="no LipLT estimate"):
        LipLTEstimate(network(nn.Flatten(), layer, nn.Linear(16, 2)), (1, 4, 4), 0, 1)
