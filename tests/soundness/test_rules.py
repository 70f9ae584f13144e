"""Every rule must hold for its layer as the layer computes."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from zoo.bounds import convolution
from zoo.bounds.rule import Context
from zoo.bounds.table import TABLE, bound_layer
from zoo.errors import CertificateError
from zoo.layers import (
    Abs,
    ConvExponential,
    ConvexPotential,
    FirstChannels,
    FrequencyConv,
    GroupSort,
    Householder,
    L2Pool,
    MinMax,
    PadChannels,
    PatchPool,
    Pixels,
    PositionOffset,
    Residual,
    Sandwich,
    SelfAttention,
    SpatialShift,
    TokenLinear,
)

from .oracle import Shape, certified, lipschitz_bound, network, operator


@dataclass(frozen=True)
class Case:
    layer: nn.Module
    shape: Shape
    exact: bool = True  # whether the layer is exact in floating point


def normalisation(channels: int, seed: int) -> nn.BatchNorm2d:
    """With numbers as training leaves them, in evaluation mode."""
    layer, generator = nn.BatchNorm2d(channels), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (layer.weight, layer.bias, layer.running_mean):
            assert tensor is not None
            tensor.copy_(3 * torch.randn(channels, generator=generator))
        assert layer.running_var is not None
        layer.running_var.copy_(torch.rand(channels, generator=generator))
    return layer.eval()


def positions(rows: int, columns: int) -> PositionOffset:
    layer = PositionOffset(rows, columns)
    nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(0))
    return layer


def biased(layer: nn.Module) -> nn.Module:
    nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(0))
    return layer


SOUND: dict[type[nn.Module], list[Case]] = {
    Pixels: [
        Case(Pixels([0.2, 0.9], [3.0, -5.0]), (2, 3, 4), exact=False),
        Case(Pixels([-1.0], [0.01]), (1, 2, 2), exact=False),
    ],
    MinMax: [
        Case(MinMax("halves"), (4, 2, 3)),
        Case(MinMax("halves"), (6,)),
        Case(MinMax("neighbours"), (4, 2, 3)),
        Case(MinMax("neighbours"), (5, 2, 3)),
        Case(MinMax("neighbours"), (1,)),
    ],
    nn.ReLU: [Case(nn.ReLU(), (3, 2, 2)), Case(nn.ReLU(inplace=True), (5,))],
    nn.Flatten: [Case(nn.Flatten(), (3, 2, 4)), Case(nn.Flatten(1, -1), (7,))],
    nn.Linear: [Case(nn.Linear(6, 3), (6,), exact=False), Case(nn.Linear(3, 8, bias=False), (3,), exact=False)],
    nn.Conv2d: [
        Case(nn.Conv2d(2, 3, 3, padding=1), (2, 4, 5), exact=False),
        Case(nn.Conv2d(2, 4, 2, 2), (2, 5, 4), exact=False),
        Case(nn.Conv2d(1, 2, (5, 2), (3, 1), (4, 0), bias=False), (1, 3, 3), exact=False),
        Case(nn.Conv2d(4, 6, 3, padding=1, groups=2), (4, 4, 5), exact=False),
        Case(nn.Conv2d(2, 3, (2, 3), 2, 2, dilation=(3, 2)), (2, 6, 5), exact=False),
        Case(nn.Conv2d(3, 3, 3, padding=1, groups=3, padding_mode="circular"), (3, 4, 5), exact=False),
    ],
    nn.ConvTranspose2d: [
        Case(nn.ConvTranspose2d(2, 3, 4, 2, 1), (2, 3, 4), exact=False),
        Case(nn.ConvTranspose2d(3, 1, (3, 2), (2, 1), (1, 0), (1, 0), bias=False), (3, 3, 2), exact=False),
    ],
    nn.LeakyReLU: [Case(nn.LeakyReLU(0.1), (3, 2, 2), exact=False), Case(nn.LeakyReLU(1.0), (5,), exact=False)],
    nn.Hardtanh: [Case(nn.Hardtanh(-1, 0.5), (3, 2, 2)), Case(nn.Hardtanh(0.25, 3), (5,))],
    GroupSort: [Case(GroupSort(3), (6, 2, 2)), Case(GroupSort(4), (4,)), Case(GroupSort(1), (3,))],
    Abs: [Case(Abs(), (3, 2, 2)), Case(Abs(2), (3, 2, 2))],
    SpatialShift: [Case(SpatialShift(1), (5, 3, 4)), Case(SpatialShift(2), (8, 1, 2))],
    PositionOffset: [Case(positions(2, 3), (4, 2, 3), exact=False)],
    L2Pool: [Case(L2Pool(2), (3, 4, 6), exact=False), Case(L2Pool(1), (2, 3, 3), exact=False)],
    nn.Identity: [Case(nn.Identity(), (3, 2, 2))],
    nn.Dropout: [Case(nn.Dropout(0.7).eval(), (3, 2, 2))],
    nn.Unflatten: [Case(nn.Unflatten(1, (3, 2, 4)), (24,))],
    nn.ChannelShuffle: [Case(nn.ChannelShuffle(2), (6, 2, 3))],
    nn.AvgPool2d: [
        Case(nn.AvgPool2d(2), (3, 4, 6), exact=False),
        Case(nn.AvgPool2d((3, 2), 1, (1, 0)), (2, 4, 5), exact=False),
        Case(nn.AvgPool2d(3, 2, 1, divisor_override=2), (1, 5, 5), exact=False),
    ],
    nn.AdaptiveAvgPool2d: [
        Case(nn.AdaptiveAvgPool2d(1), (3, 4, 6), exact=False),
        Case(nn.AdaptiveAvgPool2d((2, None)), (2, 4, 3), exact=False),
    ],
    nn.MaxPool2d: [
        Case(nn.MaxPool2d(2), (3, 4, 6)),
        Case(nn.MaxPool2d(3, 1, 1), (2, 4, 5)),
        Case(nn.MaxPool2d([2, 1]), (3, 4, 6)),
        Case(nn.MaxPool2d((2,)), (3, 4, 6)),
        Case(nn.MaxPool2d((2, 3), (1, 2), dilation=(2, 1)), (2, 5, 5)),
    ],
    nn.BatchNorm2d: [
        Case(normalisation(3, 1), (3, 2, 4), exact=False),
        Case(nn.BatchNorm2d(2, affine=False).eval(), (2, 2, 2), exact=False),
    ],
    PadChannels: [Case(PadChannels(5), (3, 2, 2)), Case(PadChannels(4), (4,))],
    FirstChannels: [Case(FirstChannels(2), (3, 2, 2)), Case(FirstChannels(4), (4,))],
    nn.PixelUnshuffle: [Case(nn.PixelUnshuffle(2), (3, 4, 2)), Case(nn.PixelUnshuffle(3), (1, 3, 3))],
    PatchPool: [Case(PatchPool(2), (3, 4, 6), exact=False), Case(PatchPool(3), (1, 3, 3), exact=False)],
    ConvexPotential: [
        Case(ConvexPotential(3, 5, 3), (3, 4, 5), exact=False),
        Case(ConvexPotential(6, 2), (6,), exact=False),
    ],
    ConvExponential: [Case(ConvExponential(3, 3), (3, 4, 5), exact=False)],
    Householder: [Case(Householder(4), (4, 2, 3), exact=False), Case(Householder(2), (2,), exact=False)],
    FrequencyConv: [
        Case(biased(FrequencyConv(2, 3, 4)), (2, 4, 4), exact=False),
        Case(FrequencyConv(3, 2, 3, padding=1), (3, 3, 3), exact=False),
    ],
    Sandwich: [
        Case(biased(Sandwich(5, 4, 3)), (5,), exact=False),
        Case(biased(Sandwich(2, 3, 2, size=3)), (2, 3, 3), exact=False),
    ],
    TokenLinear: [Case(TokenLinear(6), (2, 3, 2), exact=False)],
    SelfAttention: [
        Case(SelfAttention(4, 2), (4, 2, 3), exact=False),
        Case(SelfAttention(3, 1), (3, 1, 1), exact=False),
    ],
    Residual: [
        Case(Residual(nn.Linear(4, 6), MinMax(), nn.Linear(6, 4)), (4,), exact=False),
        Case(Residual(nn.Conv2d(2, 2, 3, padding=1)), (2, 3, 4), exact=False),
    ],
}


@pytest.mark.parametrize("kind", [kind for kind, row in TABLE.items() if row.l2], ids=lambda kind: kind.__name__)
def test_every_rule_holds_for_its_layer(kind):
    """A rule without a case here is not tested, and so not a rule."""
    assert SOUND.get(kind), f"{kind.__name__} has a rule in zoo.bounds.table, but no case in SOUND"
    generator = torch.Generator().manual_seed(0)
    for case in SOUND[kind]:
        assert type(case.layer) is kind
        bound = bound_layer(case.layer, Context("layer", case.shape))
        layer = copy.deepcopy(case.layer).double()

        def run(x: Tensor, layer: nn.Module = layer) -> Tensor:
            with torch.no_grad():
                return layer(x.clone())

        for scale in (0.1, 1.0, 100.0):
            x, y = scale * torch.randn(2, 300, *case.shape, dtype=torch.float64, generator=generator)
            y = torch.cat([y[:100], x[100:] + 1e-3 * y[100:]])
            assert run(x).shape[1:] == bound.output_shape
            moved = (run(x) - run(y)).flatten(1).norm(dim=1) / (x - y).flatten(1).norm(dim=1)
            assert moved.max() <= bound.lipschitz_bound * (1 + 1e-9)
            reached = run(x).flatten(1).norm(dim=1)
            reach = bound.lipschitz_bound * x.flatten(1).norm(dim=1) + bound.offset_norm
            assert bool((reached <= reach * (1 + 1e-12)).all())
            if bound.range_norm is not None:
                assert reached.max() <= bound.range_norm
        assert run(torch.zeros(1, *case.shape, dtype=torch.float64)).norm() <= bound.offset_norm
        assert (bound.fan_in == 0) == case.exact
        if case.exact:  # it only chooses among its inputs: float32 and float64 agree to the bit
            x = torch.randn(9, *case.shape, generator=generator)
            assert torch.equal(case.layer(x.clone()).double(), run(x.double()))


@pytest.mark.parametrize(
    ("layer", "windows"), [(nn.MaxPool2d(3, 1, 1), 9), (nn.MaxPool2d(3, 2, 1), 4), (nn.MaxPool2d((2, 3), (1, 3)), 2)]
)
def test_windows_that_overlap_are_all_moved_by_one_pixel(layer, windows):
    """A pixel above all others is the maximum of every window that it is in: the bound is reached."""
    pulse = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    found = []
    for row, column in np.ndindex(3, 3):
        pulse.zero_()[0, 0, 3 + row, 3 + column] = 1.0
        found.append(float(layer(pulse).norm()))
    bound = lipschitz_bound(layer, (1, 9, 9))
    assert max(found) == pytest.approx(math.sqrt(windows), rel=1e-12)
    assert max(found) <= bound <= max(found) * (1 + 1e-9)
    assert lipschitz_bound(layer, (1, 9, 9), "linf") == 1.0


@pytest.mark.parametrize("cost", [-1, 1e9])
@pytest.mark.parametrize("form", ["groups", "gaps", "torus", "all", "transposed"])
def test_convolutions_in_any_form_are_at_least_their_norm(form, cost):
    """Random kernels and maps against singular values of PyTorch's own operator; on a torus the norm is met."""
    g = np.random.default_rng(5)
    met = 0
    for _ in range(25):
        groups = int(g.integers(2, 4)) if form in ("groups", "all") else 1
        dilation = tuple(g.integers(1, 4, 2).tolist()) if form in ("gaps", "all") else (1, 1)
        kernel, stride = tuple(g.integers(1, 4, 2).tolist()), tuple(g.integers(1, 3, 2).tolist())
        reach = [gap * (side - 1) + 1 for gap, side in zip(dilation, kernel, strict=True)]
        sides = [step * int(g.integers(-(-width // step), 8)) for width, step in zip(reach, stride, strict=True)]
        wide = form in ("torus", "all")
        padding = tuple(
            (width - step) // 2 if wide else int(g.integers(0, width))
            for width, step in zip(reach, stride, strict=True)
        )
        if min(padding) < 0:
            continue
        shape = (groups * int(g.integers(1, 3)), *sides)
        outputs = groups * int(g.integers(1, 3))
        if form == "transposed":
            padding = tuple(min(edge, width // 2) for edge, width in zip(padding, kernel, strict=True))
            layer: nn.Conv2d | nn.ConvTranspose2d = nn.ConvTranspose2d(shape[0], outputs, kernel, stride, padding)
        else:
            mode = "circular" if wide else "zeros"
            layer = nn.Conv2d(shape[0], outputs, kernel, stride, padding, dilation, groups, padding_mode=mode)
        with patch.object(convolution, "DENSE_COST", cost):
            bound = lipschitz_bound(layer, shape)
        matrix = operator(layer, shape)
        norm = float(np.linalg.norm(matrix, 2))
        assert norm * (1 - 1e-13) <= bound
        assert form != "transposed" or cost < 0 or bound <= norm * (1 + 1e-7)
        if wide and matrix.shape[0] * stride[0] * stride[1] == outputs * sides[0] * sides[1]:
            met += bound <= norm * (1 + 1e-7)
    assert met > 3 or form not in ("torus", "all")


@pytest.mark.parametrize("cost", [-1, 1e9])
def test_zeros_around_a_map_can_have_a_larger_norm_than_its_torus(cost):
    """On three pixels the kernel 1, -1, 1 has norm 1 + sqrt(2) between zeros, and 2 on the torus."""
    layer = nn.Conv2d(1, 1, (1, 3), padding=(0, 1), bias=False)
    layer.weight.data = torch.tensor([1.0, -1.0, 1.0]).reshape(1, 1, 1, 3)
    with patch.object(convolution, "DENSE_COST", cost):
        assert lipschitz_bound(layer, (1, 1, 3)) >= 1 + math.sqrt(2)
        layer.padding_mode = "circular"
        assert 2 <= lipschitz_bound(layer, (1, 1, 3)) <= 2 * (1 + 1e-7)


@pytest.mark.parametrize("layer", [nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(2), nn.AvgPool2d((3, 2), 1, divisor_override=2)])
def test_averages_have_the_norm_of_their_matrix(layer):
    units = torch.eye(42, dtype=torch.float64).reshape(42, 1, 7, 6)
    norm = float(torch.linalg.matrix_norm(layer(units).flatten(1), 2))
    assert norm * (1 - 1e-14) <= lipschitz_bound(layer, (2, 7, 6)) <= norm * (1 + 1e-7)


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), normalisation(1, 0)])
def test_a_model_in_training_mode_does_not_answer(layer):
    _, model = certified(network(layer, nn.Flatten(), nn.Linear(8, 3)), (1, 2, 4))
    images = torch.full((1, 1, 2, 4), 0.5)
    answer = model(images).radius
    model.train()
    with pytest.raises(CertificateError, match="training mode"):
        model(images)
    assert torch.equal(model.eval()(images).radius, answer)
