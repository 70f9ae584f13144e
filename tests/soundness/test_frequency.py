"""`FrequencyConv` and `Sandwich`: their norms by exact integers, SVDs and Jacobians, their rounding by replays."""

from __future__ import annotations

import copy
import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from zoo.bounds.frequency import Stage, chain_rounding, frequency_chain
from zoo.bounds.rounding import gamma
from zoo.bounds.rule import Context
from zoo.bounds.table import bound_layer
from zoo.errors import UncertifiableLayerError
from zoo.layers import FrequencyConv, MinMax, Pixels, Sandwich
from zoo.layers.fourier import transform
from zoo.layers.frequency import real_form

from .oracle import Shape, is_above_norm, linear, lipschitz_bound, network
from .replay import exact, replay
from .test_composite import TIGHT, largest_stretch
from .test_rounding import check


def with_weights(layer: nn.Module, seed: int, spread: float) -> nn.Module:
    """Random ones: of opposite frequencies none is the other's conjugate."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
    return layer


CONVOLUTIONS: dict[str, tuple[FrequencyConv, Shape]] = {
    "even torus": (FrequencyConv(2, 3, 4), (2, 4, 4)),
    "odd torus": (FrequencyConv(3, 2, 3), (3, 3, 3)),
    "zeros around": (FrequencyConv(2, 2, 3, padding=1), (2, 3, 3)),
    "one cell": (FrequencyConv(3, 4, 1), (3, 1, 1)),
    "two cells": (FrequencyConv(1, 1, 2, padding=2), (1, 2, 2)),
}
SANDWICHES: dict[str, tuple[Sandwich, Shape]] = {
    "vectors": (Sandwich(5, 4, 3), (5,)),
    "wide": (Sandwich(2, 9, 2), (2,)),
    "cell by cell": (Sandwich(3, 2, 4), (3, 2, 3)),
    "even torus": (Sandwich(2, 3, 2, size=4), (2, 4, 4)),
    "odd torus": (Sandwich(1, 2, 3, size=3), (1, 3, 3)),
    "one cell": (Sandwich(2, 5, 4, size=1), (2, 1, 1)),
}


def stored_matrices(layer: FrequencyConv | Sandwich) -> list[np.ndarray]:
    """What the rule bounds, as real matrices of float32 numbers."""
    weight = layer.weight.detach()
    return list(real_form(weight).double().numpy()) if weight.ndim == 5 else [weight.double().numpy()]


@pytest.mark.parametrize("torus", [1, 2, 3, 8, 12, 17, 34])
def test_the_transform_has_the_nearest_numbers_of_binary64(torus):
    matrices = transform(torus)
    with mpmath.workprec(200):
        truth = [
            [function(mpmath.mpf(2 * k * j) / torus) / mpmath.sqrt(torus) for function in (mpmath.cospi, mpmath.sinpi)]
            for k, j in np.ndindex(torus, torus)
        ]
        cosine, sine = np.array([[float(entry) for entry in pair] for pair in truth]).T.reshape(2, torus, torus)
    assert (matrices.columns == np.block([[cosine, sine], [-sine, cosine]])).all()
    assert (matrices.rows == np.vstack([cosine[: torus // 2 + 1], -sine[: torus // 2 + 1]])).all()
    assert np.allclose(matrices.back @ matrices.rows, np.eye(torus), atol=1e-14)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("side", [4, 5])
def test_the_matrices_of_a_kernel_are_its_circular_convolution(side, padding):
    """PyTorch's own transform, and its own convolution, on a torus that the kernel does not fill."""
    torus = side + 2 * padding
    kernel = torch.randn(3, 2, 3, 3, dtype=torch.float64)
    symbols = torch.fft.fft2(kernel.flip(2, 3), (torus, torus)).permute(2, 3, 0, 1)[: torus // 2 + 1]
    layer = FrequencyConv(2, 3, side, padding).double()
    layer.weight.data.copy_(torch.stack([symbols.real, symbols.imag]))
    x = torch.randn(2, 2, side, side, dtype=torch.float64)
    zeros = nn.functional.pad(x, (padding,) * 4)
    truth = nn.functional.conv2d(nn.functional.pad(zeros, (2, 0, 2, 0), mode="circular"), kernel)
    middle = slice(padding, padding + side)
    assert torch.allclose(layer(x), truth[:, :, middle, middle], atol=1e-12)


@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_a_convolution_is_bounded_by_its_matrices(case, spread):
    layer, shape = CONVOLUTIONS[case]
    for seed in range(3):
        with_weights(layer, seed, spread)
        bound = lipschitz_bound(layer, shape)
        assert all(is_above_norm(bound, matrix) for matrix in stored_matrices(layer))
        units = torch.eye(math.prod(shape), dtype=torch.float64).unflatten(1, shape)
        double = copy.deepcopy(layer).double().requires_grad_(False)
        double.bias.zero_()
        norm = float(np.linalg.norm(double(units).flatten(1).numpy(), 2))
        assert norm * (1 - 1e-13) <= bound  # the unit vectors' own rounding


@pytest.mark.parametrize("side", [2, 3, 5])
def test_the_norm_of_one_frequency_is_met(side):
    """All matrices but one are zero; with its opposite, where that is stored too, a wave is stretched by all of it."""
    for row, column in np.ndindex(side // 2 + 1, side):
        layer = FrequencyConv(2, 2, side)
        with torch.no_grad():
            layer.weight.zero_()
            layer.weight[0, row, column] = torch.diag(torch.tensor([3.0, 1.0]))
            if row in (0, side / 2):
                layer.weight[0, row, -column % side] = layer.weight[0, row, column]
        i, j = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        wave = torch.cos(2 * math.pi * (row * i + column * j).double() / side)
        x = torch.stack([wave, torch.zeros_like(wave)])[None]
        stretched = float(layer.double()(x).detach().norm() / x.norm())
        assert stretched >= 3 * (1 - 1e-12)
        assert 3 < lipschitz_bound(layer.float(), (2, side, side)) <= 3 * TIGHT


@pytest.mark.parametrize("spread", [1e-2, 1.0, 30.0])
@pytest.mark.parametrize("case", SANDWICHES)
def test_no_jacobian_of_a_sandwich_exceeds_its_bound(case, spread):
    layer, shape = SANDWICHES[case]
    for seed in range(3):
        with_weights(layer, seed, spread)
        bound = lipschitz_bound(layer, shape)
        root = math.sqrt(bound)
        assert all(is_above_norm(root * (1 + 1e-15), matrix) for matrix in stored_matrices(layer))
        assert largest_stretch(layer, shape, seed) <= bound


def filled(layer: Sandwich, outer: np.ndarray, inner: np.ndarray) -> Sandwich:
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(np.hstack([outer, inner])))
    return layer


def test_a_sandwich_can_be_as_long_as_its_bound():
    """A = B, a multiple of the identity: so is 2 A^T relu(A x) where x > 0, and the rule has nothing to spare."""
    for scale in (0.5, 1.0, 4.0):
        layer = filled(Sandwich(3, 3, 3), scale * np.eye(3), scale * np.eye(3))
        assert 2 * scale**2 <= lipschitz_bound(layer, (3,)) <= 2 * scale**2 * TIGHT
        x = torch.rand(5, 3)
        assert torch.equal(layer(x), 2 * scale**2 * x)


def test_with_minmax_in_the_place_of_relu_the_rule_would_be_false():
    """[A, B] is the identity, so the rule says 1, and numbers above 0 are doubled."""
    outer, inner = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [1.0]])
    assert lipschitz_bound(filled(Sandwich(1, 2, 1), outer.numpy(), inner.numpy()), (1,)) <= TIGHT
    x = torch.tensor([[1.0], [2.0]])
    assert torch.equal(2 * MinMax()(x @ inner.T) @ outer, 2 * x)
    with pytest.raises(UncertifiableLayerError, match="no rule for MinMaxSandwich"):
        lipschitz_bound(MinMaxSandwich(1, 2, 1), (1,))


class MinMaxSandwich(Sandwich):
    """The same with another activation: a type without a row."""


@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_any_two_matrices_around_a_relu_are_a_sandwich(spread):
    """P relu(Q x + c) with a diagonal S between them, as the docstring says."""
    outer, inner, bias = torch.randn(3, 6), torch.randn(6, 4), torch.randn(6)
    diagonal = torch.exp(spread * torch.randn(6))
    layer = Sandwich(4, 6, 3)
    with torch.no_grad():
        both = torch.hstack([outer.T / diagonal[:, None], inner * diagonal[:, None]])
        layer.weight.copy_(both / math.sqrt(2))
        layer.bias.copy_(diagonal * bias / math.sqrt(2))
    x = torch.randn(9, 4)
    truth = torch.relu(x @ inner.T + bias) @ outer.T
    assert torch.allclose(layer(x), truth, atol=1e-4, rtol=1e-4)
    assert lipschitz_bound(layer, (4,)) <= float(torch.linalg.matrix_norm(both.double(), 2)) ** 2 / 2 * TIGHT


# Rounding ------------------------------------------------------------------------------------------------------------

ROUNDED = {
    **{f"convolution, {name}": case for name, case in CONVOLUTIONS.items()},
    **{f"sandwich, {name}": case for name, case in SANDWICHES.items()},
}


@pytest.mark.parametrize("case", ROUNDED)
def test_floats_stay_within_the_stated_rounding(case):
    layer, shape = ROUNDED[case]
    with_weights(layer, 1, 0.7)
    maps = shape if len(shape) == 3 else (1, 1, shape[0])
    body = [Pixels([0.3] * maps[0], [1.7] * maps[0]), *([] if len(shape) == 3 else [nn.Flatten()]), layer, nn.Flatten()]
    features = math.prod(bound_layer(layer, Context("layer", shape)).output_shape)
    generator = np.random.default_rng(3)
    head = linear(generator.standard_normal((3, features)), generator.standard_normal(3))
    check(network(*body, head), torch.rand(2, *maps, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("case", ROUNDED)
def test_one_layer_without_biases_stays_within_its_stated_rounding(case):
    layer, shape = ROUNDED[case]
    with_weights(layer, 3, 0.4)
    layer.bias.data.zero_()
    bound = bound_layer(layer, Context("layer", shape))
    x = torch.randn(1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        off = exact(copy.deepcopy(layer).double()(x)[0]) - replay(nn.Sequential(layer), exact(x[0]))
    local = gamma(bound.fan_in + 2) * (bound.absolute_norm * float(x.norm()) * (1 + 1e-9) + bound.offset_norm)
    assert sum(entry * entry for entry in off.flat) <= Fraction(local) ** 2


SHARE = 1e-7  # of a product, by which the test below errs; its square is lost in the tolerance
SIGNS = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
HADAMARD = torch.kron(torch.kron(SIGNS, SIGNS), torch.kron(SIGNS, SIGNS)) / 4  # of norm 1, its absolute values of 4


@pytest.mark.parametrize("matrix", [torch.eye(1), HADAMARD], ids=["identity", "signs"])
@pytest.mark.parametrize("side", [1, 2, 5])
def test_the_amplification_of_rounding_covers_stages_that_err_in_all_their_products(side, matrix):
    """The layer's products, each of whose terms grows by the share of itself: no rounding of that size does more."""
    matrices, channels = transform(side), len(matrix)
    layer = FrequencyConv(channels, channels, side).double().requires_grad_(False)
    layer.weight[0] = matrix
    parts = layer.weight.flatten(1, 2).numpy()
    chain = frequency_chain(parts[0], parts[1], 1.0, side)

    def erring(matrix: Tensor, x: Tensor) -> Tensor:
        return matrix @ x + SHARE * (matrix.abs() @ x.abs())

    rows, columns, back = (torch.tensor(part) for part in (matrices.rows, matrices.columns, matrices.back))
    x = torch.ones(1, channels, side, side, dtype=torch.float64)
    y = erring(rows, x[0].permute(1, 2, 0).reshape(side, -1))
    y = y.reshape(2, -1, side, channels).transpose(0, 1).reshape(-1, 2 * side, channels)
    y = erring(columns, y).reshape(-1, 2, side, channels).permute(0, 2, 1, 3).reshape(-1, 2 * channels, 1)
    y = erring(real_form(layer.weight), y).reshape(-1, side, 2, channels).permute(0, 2, 1, 3)
    y = erring(columns.T, y.reshape(-1, 2 * side, channels)).reshape(-1, 2, side, channels).transpose(0, 1)
    y = erring(back, y.reshape(len(rows), -1)).reshape(side, side, channels).permute(2, 0, 1)
    off = float((y - layer(x)[0]).norm() / x.norm() / SHARE)
    assert chain.absolute / 3 <= off <= chain.absolute * (1 + 1e-5)


def test_a_chain_adds_up_what_each_of_its_stages_errs_by():
    stages = [Stage(3, 2.0, 5.0), Stage(7, 0.5, 4.0), Stage(2, 3.0, 3.0)]
    chain = chain_rounding(stages)
    truth = 5.0 * 0.5 * 3.0 + 2.0 * 4.0 * 3.0 + 2.0 * 0.5 * 3.0
    assert chain.terms == 8
    assert truth < chain.absolute <= truth * (1 + 1e-9)


@pytest.mark.parametrize("size", [None, 1])
@pytest.mark.parametrize(("inputs", "hidden", "outputs"), [(2, 50, 1), (60, 2, 3)])
def test_a_sandwich_counts_the_terms_of_the_sums_of_both_its_matrices(inputs, hidden, outputs, size):
    layer = Sandwich(inputs, hidden, outputs, size)
    bound = bound_layer(layer, Context("layer", (inputs,) if size is None else (inputs, 1, 1)))
    real = 1 if size is None else 2  # of complex sums
    assert bound.fan_in >= real * (inputs + hidden)


# All else is refused -------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[nn.Module, Shape]] = {
    "a larger map": (FrequencyConv(2, 2, 4), (2, 5, 5)),
    "a smaller map": (FrequencyConv(2, 2, 4), (2, 2, 2)),
    "a map that is no square": (FrequencyConv(2, 2, 4), (2, 4, 5)),
    "other channels": (FrequencyConv(2, 2, 4), (3, 4, 4)),
    "a vector": (FrequencyConv(2, 2, 4), (32,)),
    "a sandwich of maps on vectors": (Sandwich(2, 2, 2, size=1), (2,)),
    "a sandwich of another resolution": (Sandwich(2, 2, 2, size=2), (2, 4, 4)),
    "a sandwich of other channels": (Sandwich(2, 2, 2), (3,)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_input_is_refused(case):
    layer, shape = REFUSED[case]
    with pytest.raises(UncertifiableLayerError, match=r"layer 'suspect' cannot be certified: ."):
        bound_layer(layer, Context("suspect", shape))


@pytest.mark.parametrize(
    ("attribute", "value"), [("out_features", 0), ("out_features", 5), ("padding", -1), ("padding", 1), ("size", 3)]
)
def test_attributes_that_contradict_the_weights_are_refused(attribute, value):
    layer = Sandwich(3, 2, 2) if attribute == "out_features" else FrequencyConv(2, 2, 4)
    setattr(layer, attribute, value)
    with pytest.raises(UncertifiableLayerError, match="cannot be certified"):
        bound_layer(layer, Context("suspect", (3,) if attribute == "out_features" else (2, 4, 4)))
