"""The tightness search reaches a known constant, and never passes a proved one: the second is a soundness test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from export import tightness as search
from export.tightness import tightness
from tests.soundness.oracle import certified, conv, linear, network
from zoo.layers import ConvexPotential, Householder, MinMax, PatchPool, Pixels, Residual, TokenLinear
from zoo.publication.folder import read_folder
from zoo.publication.network import load_module

SHELF = Path(__file__).parents[1] / "model_cards"


def test_a_linear_network_is_tight():
    g = np.random.default_rng(0)
    orthogonal = np.linalg.qr(g.standard_normal((8, 8)))[0]
    net = network(Pixels([0.5], [3.0]), nn.Flatten(), linear(orthogonal), linear(g.standard_normal((4, 8))))
    certificate, model = certified(net, (1, 2, 4))
    found = tightness(model, certificate, torch.full((1, 1, 2, 4), 0.5))
    assert all(0.999 <= value <= 1 for value in found.values())


def families() -> dict[str, tuple[list[nn.Module], int]]:
    """Layers on maps of 2 x 4 x 4, and how many numbers leave them."""
    g = torch.manual_seed(0)
    skew = Residual(conv(torch.randn(2, 2, 3, 3, generator=g) / 3, padding=1), nn.ReLU())
    return {
        "plain, relu": ([conv(torch.randn(4, 2, 3, 3, generator=g), padding=1), nn.ReLU(), nn.Flatten()], 64),
        "minmax": ([conv(torch.randn(4, 2, 2, 2, generator=g), stride=2), MinMax(), nn.Flatten()], 16),
        "residual": ([skew, MinMax(), nn.Flatten()], 32),
        "potential": ([ConvexPotential(2, 5, 3), ConvexPotential(2, 3, 3), PatchPool(2), nn.Flatten()], 8),
        "reflection": ([Householder(2), TokenLinear(16), nn.Flatten()], 32),
    }


@pytest.mark.parametrize("family", families())
def test_no_quotient_exceeds_its_bound(family: str):
    layers, width = families()[family]
    net = network(Pixels([0.5] * 2, [2.0, -1.0]), *layers, linear(np.random.default_rng(1).standard_normal((3, width))))
    certificate, model = certified(net, (2, 4, 4))
    found = tightness(model, certificate, torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(2)), steps=12)
    assert all(0.02 < value <= 1 for value in found.values())


@pytest.mark.parametrize("name", ["2c2f-mnist", "liresnet-l4w32-cifar10-jpeg75"])
def test_published_models_hold(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(search, "PAIRS", 4)
    folder = read_folder(SHELF / name)
    certificate, model = folder.certificate, load_module(folder)
    channels = certificate.architecture.get("channels", 3)
    images = torch.rand(1, channels, *certificate.layers[0].input_shape[1:], generator=torch.Generator().manual_seed(0))
    found = tightness(model, certificate, images, steps=3)
    assert all(0.01 < value <= 1 for value in found.values())
