"""Exponentials of convolutions as matrices, for attacks: one product in the place of a dozen convolutions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from zoo.layers import ConvExponential


def densify(network: nn.Module, example: Tensor) -> None:
    """Replace each ConvExponential by a matrix where that takes fewer products; results differ by rounding alone.

    example: an input [1, ...] of the network, from which the sizes of the maps follow.
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
                # For each channel and pixel the matrix multiplies once a pixel, the series once a tap and term.
                if isinstance(layer, ConvExponential) and (
                    math.prod(maps[layer][1:]) < layer.terms * layer.weight.shape[2] ** 2
                ):
                    setattr(parent, name, _matrix(layer, maps[layer]))


def _matrix(layer: ConvExponential, shape: torch.Size) -> nn.Sequential:
    """The layer as an affine map, from its outputs for the unit inputs."""
    size = math.prod(shape)
    offset = layer(torch.zeros(1, *shape)).flatten()
    linear = nn.Linear(size, size)
    linear.weight.copy_((layer(torch.eye(size).reshape(size, *shape)).flatten(1) - offset).T)
    linear.bias.copy_(offset)
    return nn.Sequential(nn.Flatten(), linear, nn.Unflatten(1, shape))
