"""Estimates from below of a layer's Lipschitz constant: they tell how tight its bound is, and prove nothing."""

from __future__ import annotations

import torch
from torch import nn

from zoo.bounds.table import LINEAR
from zoo.layers import Pixels

# Perhaps without parameters, and yet of another constant than 1.
STRETCHING = (nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.MaxPool2d, nn.BatchNorm2d)


def estimate_norm(layer: nn.Module, shape: tuple[int, ...], iterations: int = 100) -> float:
    """At most the layer's Lipschitz constant, up to rounding: power iteration on the true zero-padded operator.

    In float32, on weights scaled to at most 1. It tells how tight a bound is and proves nothing, so a layer that is no
    single matrix is done as soon as five iterations gain less than a thousandth.
    """
    if isinstance(layer, Pixels):
        return float(layer.scale.abs().max())
    if next(layer.parameters(), None) is None and not isinstance(layer, STRETCHING):
        return 1.0
    if not isinstance(layer, nn.Linear | nn.Conv2d):
        return _largest_jacobian(layer, shape, iterations)
    scale = layer.weight.detach().abs().max().double()
    if scale == 0.0:
        return 0.0
    weight = (layer.weight.detach() / scale).float()
    vector = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    norm = 0.0
    for _ in range(iterations):
        vector = (vector.detach() / vector.norm()).requires_grad_(True)
        image = LINEAR[type(layer)](layer, weight, vector)
        norm = float(image.detach().norm())
        (vector,) = torch.autograd.grad(image, vector, image.detach())
        if not vector.any():
            break
    return norm * float(scale)


def _largest_jacobian(layer: nn.Module, shape: tuple[int, ...], iterations: int) -> float:
    """At most the layer's Lipschitz constant, up to rounding: the norm of its Jacobian J at one random point."""
    generator = torch.Generator().manual_seed(0)
    point, vector = (torch.randn(1, *shape, generator=generator) for _ in range(2))
    output = layer(point.requires_grad_(True))
    cotangent = torch.zeros_like(output, requires_grad=True)
    (pulled,) = torch.autograd.grad(output, point, cotangent, create_graph=True)  # J^T u, linear in u
    norm = settled = 0.0
    for iteration in range(iterations):
        if iteration % 5 == 4:
            if norm <= settled * (1 + 1e-3):
                break
            settled = norm
        vector = vector / vector.norm()
        (image,) = torch.autograd.grad(pulled, cotangent, vector, retain_graph=True)  # J v
        norm = float(image.norm())
        (vector,) = torch.autograd.grad(output, point, image, retain_graph=True)
        if not vector.any():
            break
    return norm


def estimate_linf(layer: nn.Module, shape: tuple[int, ...], rounds: int = 5) -> float:
    """At most the layer's Lipschitz constant in l-infinity, up to rounding: an absolute row sum of one Jacobian J.

    Ascent from v = (1, ..., 1): the row of the largest entry of J v, then v = its signs.
    """
    if next(layer.parameters(), None) is None and not isinstance(layer, STRETCHING):
        return estimate_norm(layer, shape)
    generator = torch.Generator().manual_seed(0)
    point = torch.randn(1, *shape, generator=generator).requires_grad_(True)
    output = layer(point)
    cotangent = torch.zeros_like(output, requires_grad=True)
    (pulled,) = torch.autograd.grad(output, point, cotangent, create_graph=True)  # J^T u, linear in u
    vector, norm = torch.ones_like(point), 0.0
    for _ in range(rounds):
        (image,) = torch.autograd.grad(pulled, cotangent, vector, retain_graph=True)  # J v
        unit = torch.zeros_like(image)
        unit.view(-1)[image.abs().argmax()] = 1.0
        (row,) = torch.autograd.grad(output, point, unit, retain_graph=True)
        norm = max(norm, float(row.abs().double().sum()))
        vector = row.sign()
    return norm
