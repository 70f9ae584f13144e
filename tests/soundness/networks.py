"""ReLU networks for LipLT, and what its tests measure them with."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from zoo.bounds.products import Operator
from zoo.bounds.rule import Context
from zoo.bounds.table import LINEAR, bound_layer
from zoo.layers import Residual
from zoo.records import LayerBound

from .oracle import Shape, certified, conv, linear, network

Matrix = NDArray[np.float64]
SVD = 1.0 - 1e-13  # the oracle's own rounding


def bounds_of(net: nn.Sequential, shape: Shape) -> list[LayerBound]:
    return list(certified(net, shape)[0].layers)


def normal(g: np.random.Generator, *shape: int, spread: float = 1.0) -> Matrix:
    return spread * g.standard_normal(shape) / math.sqrt(shape[1])


def dense(seed: int, widths: Sequence[int], spread: float = 1.0) -> nn.Sequential:
    """Linear layers and ReLUs; the last one is the head."""
    g = np.random.default_rng(seed)
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(widths):
        layers += [linear(normal(g, outputs, inputs, spread=spread), g.standard_normal(outputs) * 0.3), nn.ReLU()]
    return network(*layers[:-1])


def convolutional(seed: int) -> nn.Sequential:
    g = np.random.default_rng(seed)
    return network(
        conv(g.standard_normal((3, 1, 3, 3)) / 3, g.standard_normal(3), padding=1),
        nn.ReLU(),
        conv(g.standard_normal((4, 3, 2, 4)) / 4, g.standard_normal(4), (2, 1), (1, 2)),
        nn.ReLU(),
        nn.Flatten(),
        linear(normal(g, 6, 96)),
        nn.ReLU(),
        linear(normal(g, 3, 6)),
    )


def residual(seed: int) -> nn.Sequential:
    """H x + G relu(W x + b) with and without H, a linear layer before, one between, and a plain layer behind."""
    g = np.random.default_rng(seed)
    first = conv(g.standard_normal((2, 1, 3, 3)) / 3, padding=1)
    wide = (conv(g.standard_normal((5, 2, 3, 3)) / 4, g.standard_normal(5), 1, 1), nn.ReLU())
    strided = conv(g.standard_normal((4, 5, 2, 2)) / 4, None, 2)
    back = conv(-wide[0].weight.flip(2, 3).transpose(0, 1).numpy(force=True), padding=1)
    return (
        network(
            first,
            Residual(*wide, strided, skip=conv(g.standard_normal((4, 2, 2, 2)) / 3, None, 2)),
            nn.Flatten(),
            Residual(linear(normal(g, 7, 16)), nn.ReLU(), linear(normal(g, 16, 7))),
            linear(normal(g, 9, 16)),
            nn.ReLU(),
            linear(normal(g, 3, 9)),
        )
        if seed % 2
        else network(
            first,
            Residual(*wide, back),
            nn.Flatten(),
            linear(normal(g, 4, 32)),
            nn.ReLU(),
            linear(normal(g, 3, 4)),
        )
    )


NETWORKS = {
    "dense": (lambda seed: dense(seed, (4, 7, 5, 6, 3)), (1, 2, 2)),
    "deep and narrow": (lambda seed: dense(seed, (4, *[3] * 11, 3), 1.5), (1, 2, 2)),
    "deep and wide": (lambda seed: dense(seed, (4, *[20] * 6, 2)), (1, 2, 2)),
    "convolutions": (convolutional, (1, 6, 5)),
    "residual": (residual, (1, 4, 4)),
}


def norm(matrix: Matrix) -> float:
    return float(np.linalg.norm(matrix, 2))


def operator(matrix: Matrix) -> Operator:
    layer = linear(matrix)
    return Operator(
        layer, LINEAR[nn.Linear], (matrix.shape[1],), bound_layer(layer, Context("layer", (matrix.shape[1],)))
    )


def stored(g: np.random.Generator, *shape: int) -> Matrix:
    return normal(g, *shape).astype(np.float32).astype(np.float64)


def matrices(net: nn.Sequential, shape: Shape) -> list[Matrix]:
    """The linear layers of a plain network as dense matrices, the reshapings left out."""
    found, state = [], torch.zeros(1, *shape, dtype=torch.float64)
    for layer in copy.deepcopy(net[1:]).double():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            columns = torch.eye(state[0].numel(), dtype=torch.float64).reshape(-1, *state.shape[1:])
            zero = layer(torch.zeros_like(columns[:1]))
            found.append((layer(columns) - zero).flatten(1).T.numpy())
        state = layer(state)
    return found
