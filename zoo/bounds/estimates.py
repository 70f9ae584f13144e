"""Estimates from below of a layer's Lipschitz constant: they tell how tight its bound is, and prove nothing."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from zoo.bounds.table import LINEAR
from zoo.layers import Pixels

# Layers that may have no parameters, and whose constant may still differ from 1.
STRETCHING = (nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.MaxPool2d, nn.BatchNorm2d)
ITERATIONS, ROUNDS = 100, 5  # of power iteration in l2, and of the ascent in l-infinity

Map = Callable[[Tensor], Tensor]


def estimate_l2(layer: nn.Module, shape: tuple[int, ...]) -> float:
    """At most the layer's Lipschitz constant in l2, up to the rounding of float32.

    Power iteration on the operator of a Linear or Conv2d, with its weight scaled to at most 1; on the Jacobian at one
    random point of any other layer, where it ends as soon as five iterations gain less than a thousandth.
    """
    if isinstance(layer, Pixels):
        return float(layer.scale.abs().max())
    if next(layer.parameters(), None) is None and not isinstance(layer, STRETCHING):
        return 1.0
    if not isinstance(layer, nn.Linear | nn.Conv2d):
        return _jacobian_norm(layer, shape)
    scale = layer.weight.detach().abs().max().double()
    if scale == 0.0:
        return 0.0
    weight = (layer.weight.detach() / scale).float()
    vector = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    norm = 0.0
    for _ in range(ITERATIONS):
        vector = (vector.detach() / vector.norm()).requires_grad_(True)
        image = LINEAR[type(layer)](layer, weight, vector)
        norm = float(image.detach().norm())
        (vector,) = torch.autograd.grad(image, vector, image.detach())
        if not vector.any():
            break
    return norm * float(scale)


def _jacobian_norm(layer: nn.Module, shape: tuple[int, ...]) -> float:
    """The l2 norm of the layer's Jacobian J at one random point, from below."""
    generator = torch.Generator().manual_seed(0)
    forward, adjoint = _jacobian(layer, torch.randn(1, *shape, generator=generator, dtype=torch.float32))
    vector = torch.randn(1, *shape, generator=generator, dtype=torch.float32)
    norm = settled = 0.0
    for iteration in range(ITERATIONS):
        if iteration % 5 == 4:
            if norm <= settled * (1 + 1e-3):
                break
            settled = norm
        vector = vector / vector.norm()
        image = forward(vector)
        norm = float(image.norm())
        vector = adjoint(image)
        if not vector.any():
            break
    return norm


def estimate_linf(layer: nn.Module, shape: tuple[int, ...]) -> float:
    """At most the layer's Lipschitz constant in l-infinity, up to the rounding of float32.

    An absolute row sum of its Jacobian J at one random point, by ascent from v = (1, ..., 1): take the row of the
    largest entry of J v, then its signs as v.
    """
    if next(layer.parameters(), None) is None and not isinstance(layer, STRETCHING):
        return estimate_l2(layer, shape)
    point = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    forward, adjoint = _jacobian(layer, point)
    vector, norm = torch.ones_like(point), 0.0
    for _ in range(ROUNDS):
        image = forward(vector)
        unit = torch.zeros_like(image)
        unit.view(-1)[image.abs().argmax()] = 1.0
        row = adjoint(unit)
        norm = max(norm, float(row.abs().double().sum()))
        vector = row.sign()
    return norm


def _jacobian(layer: nn.Module, point: Tensor) -> tuple[Map, Map]:
    """The maps v -> J v and u -> J^T u for the Jacobian J of the layer at the point."""
    point.requires_grad_(True)
    output = layer(point)
    cotangent = torch.zeros_like(output, requires_grad=True)
    (pulled,) = torch.autograd.grad(output, point, cotangent, create_graph=True)  # J^T u, linear in u

    def forward(vector: Tensor) -> Tensor:
        return torch.autograd.grad(pulled, cotangent, vector, retain_graph=True)[0]

    def adjoint(image: Tensor) -> Tensor:
        return torch.autograd.grad(output, point, image, retain_graph=True)[0]

    return forward, adjoint
