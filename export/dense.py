"""Exponentials of convolutions as matrices, for attacks: one product where the series takes a dozen convolutions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from zoo.layers import ConvExponential


def densify(network: nn.Module, example: Tensor) -> None:
    """Put a matrix in the place of each ConvExponential where it multiplies less: the same function, rounded otherwise.

    example: an input [1, ...] of the network, for the sizes of the maps.
    """
    maps: dict[nn.Module, torch.Size] = {}
    hooks = [
        layer.register_forward_pre_hook(lambda layer, inputs: maps.update({layer: inputs[0].shape[1:]}))
        for layer in network.modules()
        if isinstance(layer, ConvExponential)
    ]
    with torch.no_grad():
        network(example)
        for hook in hooks:
            hook.remove()
        for parent in list(network.modules()):
            for name, layer in parent.named_children():
                if isinstance(layer, ConvExponential) and _is_small(layer, maps[layer]):
                    setattr(parent, name, _matrix(layer, maps[layer]))


def _is_small(layer: ConvExponential, shape: torch.Size) -> bool:
    """Whether a pixel of the map takes more from the others through the series than there are."""
    return math.prod(shape[1:]) < layer.terms * layer.weight.shape[2] ** 2


def _matrix(layer: ConvExponential, shape: torch.Size) -> nn.Sequential:
    """The affine map that the layer is, from what it makes of each unit input."""
    size = math.prod(shape)
    offset = layer(torch.zeros(1, *shape)).flatten()
    linear = nn.Linear(size, size)
    linear.weight.copy_((layer(torch.eye(size).reshape(size, *shape)).flatten(1) - offset).T)
    linear.bias.copy_(offset)
    return nn.Sequential(nn.Flatten(), linear, nn.Unflatten(1, shape))
