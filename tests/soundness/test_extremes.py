"""Weights so small or so large that products of them leave the range of binary64 on the way, though not in the end."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import zoo
from zoo.errors import UncertifiableLayerError
from zoo.layers import L2Pool, Pixels, Residual


def scaled(factor: float, bias: bool = False) -> nn.Linear:
    layer = nn.Linear(2, 2, bias)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(2) * factor)
        if bias:
            layer.bias.zero_()
    return layer


def signed() -> nn.Linear:
    """(x - 1/2, 1/2 - x), times 1e30."""
    layer = nn.Linear(1, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1e30], [-1e30]]))
        layer.bias.copy_(torch.tensor([-0.5e30, 0.5e30]))
    return layer


def dwindling() -> list[nn.Module]:
    """Their norms multiply to 1e-324, which binary64 has no number for."""
    return [scaled(1e-36) for _ in range(9)]


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_branch_whose_constant_underflows_on_the_way_keeps_what_comes_after(norm: str):
    growing = [scaled(1e36) for _ in range(7)]
    block = Residual(*dwindling(), nn.ReLU(), nn.ReLU(), *growing, skip=scaled(0.0))
    layers = [Pixels([0.0], [1.0]), nn.Flatten(), signed(), scaled(1e30), block, scaled(1e36, bias=True)]
    network = nn.Sequential(*layers).eval()
    certificate = zoo.certify(network, (1, 1, 1), norm)
    assert certificate.body_lipschitz > 1e-12
    answer = zoo.CertifiedModel.of(network, certificate)(torch.tensor([0.9, 0.1]).reshape(2, 1, 1, 1))
    assert answer.label.tolist() == [0, 1]
    assert (answer.radius < 0.8).all()  # since their labels are different


def test_liplt_leaves_products_that_would_underflow_to_the_product_bound():
    layers = [Pixels([0.0], [1.0]), nn.Flatten(), signed(), nn.ReLU(), *dwindling(), nn.ReLU(), scaled(1e25, bias=True)]
    network = nn.Sequential(*layers).eval()
    certificate = zoo.certify(network, (1, 1, 1))
    assert certificate.pairwise is None
    answer = zoo.CertifiedModel.of(network, certificate)(torch.tensor([0.9, 0.1]).reshape(2, 1, 1, 1))
    assert answer.label.tolist() == [0, 1]
    assert (answer.radius < 0.8).all()


def test_norms_of_patches_whose_squares_would_overflow_are_refused():
    def times(factor: float) -> nn.Conv2d:
        layer = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.constant_(layer.weight, factor)
        return layer

    pooled = Residual(L2Pool(2), skip=nn.AvgPool2d(2))
    block = Residual(times(1e37), times(1e37), pooled, skip=nn.Conv2d(1, 1, 2, 2, bias=False))
    network = nn.Sequential(
        Pixels([0.0], [1.0]), *(times(1e30) for _ in range(3)), block, nn.Flatten(), nn.Linear(1, 2)
    )
    with pytest.raises(UncertifiableLayerError, match="their squares may overflow"):
        zoo.certify(network.eval(), (1, 2, 2))
