"""What a rule states of its own rounding, layer by layer: above the true one, and above that of the layers inside."""

from __future__ import annotations

import copy
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from zoo.bounds.rounding import gamma, propagate
from zoo.bounds.rule import Context
from zoo.bounds.table import bound_layer
from zoo.layers import Residual
from zoo.records import LayerBound

from .oracle import linear
from .replay import exact, replay
from .test_composite import LAYERS, randomised


@pytest.mark.parametrize("case", LAYERS)
def test_one_layer_without_biases_stays_within_its_stated_rounding(case):
    """Nothing but the rounding of its products is there to be covered."""
    make, shape = LAYERS[case]
    layer = randomised(make(), 3, 0.4)
    for name, weight in layer.named_parameters():
        if name.endswith("bias"):
            weight.data.zero_()
    bound = bound_layer(layer, Context("layer", shape))
    x = torch.randn(1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        off = exact(copy.deepcopy(layer).double()(x)[0]) - replay(nn.Sequential(layer), exact(x[0]))
    local = gamma(bound.fan_in + 2) * (bound.absolute_norm * float(x.norm()) * (1 + 1e-9) + bound.offset_norm)
    assert sum(entry * entry for entry in off.flat) <= (Fraction(local) ** 2 if bound.fan_in else 0)


HADAMARD = np.array([[1, 1], [1, -1]])
for _ in range(3):
    HADAMARD = np.kron(HADAMARD, [[1, 1], [1, -1]])


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("reach", [0.0, 1.0, 1e6])
def test_a_residual_states_at_least_the_rounding_of_its_layers(skip, reach):
    """By the recursion of a plain network, for matrices whose absolute values have four times their norm."""
    bias = np.arange(16.0)
    layers = [linear(HADAMARD, bias), nn.ReLU(), linear(HADAMARD, bias)]
    block = Residual(nn.ReLU(), skip=layers[0]) if skip else Residual(*layers)
    bounds = [bound_layer(layer, Context("layer", (16,))) for layer in (layers[:1] if skip else layers)]
    records = [LayerBound("layer", "", (16,), lipschitz_estimate=0.0, **vars(bound)) for bound in bounds]
    stated = bound_layer(block, Context("block", (16,)))
    local = gamma(stated.fan_in + 2) * (stated.absolute_norm * reach + stated.offset_norm)
    assert local >= propagate(records, reach)[1]
