"""Matrices in the Fourier basis: those of the kernel, and each way of making them orthogonal."""

import pytest
import torch
from torch import Tensor, nn

from training import frequency
from training.constraints import folded_state
from training.frequency import Frequencies, lot, reflectors, symbols
from training.layers import constrain
from training.orthogonal import cayley
from zoo.architectures.lbdn import LBDN
from zoo.bounds.rule import Context
from zoo.bounds.table import bound_layer
from zoo.errors import InputError
from zoo.layers import FrequencyConv, Sandwich

SHAPES = [(4, 4), (6, 3), (3, 6), (1, 5)]


def random(*shape: int, dtype: torch.dtype = torch.complex128) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


def norms(matrices: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(matrices, ord=2)


@pytest.mark.parametrize("torus", [3, 6, 7])
def test_a_layer_by_the_symbols_of_a_kernel_is_its_circular_convolution(torus):
    kernel = random(2, 3, 3, 3, dtype=torch.float64)
    layer = FrequencyConv(3, 2, torus).double()
    matrices = symbols(kernel, torus)
    layer.weight.data.copy_(torch.stack([matrices.real, matrices.imag]))
    x = random(2, 3, torus, torus, dtype=torch.float64)
    truth = nn.functional.conv2d(nn.functional.pad(x, (1, 1, 1, 1), mode="circular"), kernel)
    assert torch.allclose(layer(x), truth, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_complex_cayley_has_orthonormal_rows_or_columns(shape):
    value = cayley(3 * random(5, *shape))
    gram = value.mH @ value if shape[0] >= shape[1] else value @ value.mH
    assert torch.allclose(gram, torch.eye(min(shape)).to(gram).expand_as(gram), atol=1e-10)


@pytest.mark.parametrize("steps", [0, 1, 2, 10])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_lot_has_norm_at_most_1_after_any_number_of_steps(size, steps, monkeypatch):
    monkeypatch.setattr(frequency, "LOT_STEPS", steps)
    for shape in SHAPES:
        assert norms(lot(size * random(20, *shape))).max() <= 1 + 1e-12
    if steps == 10 and size == 1.0:
        well_conditioned = torch.eye(4).to(random(1)) + 0.1 * random(4, 4)
        assert torch.allclose(lot(well_conditioned).mH @ lot(well_conditioned), torch.eye(4).to(random(1)), atol=1e-3)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_reflectors_have_norm_at_most_1_and_are_orthogonal_where_square(size):
    vectors = size * random(20, 6, 3)
    assert norms(reflectors(4, 6)(vectors)).max() <= 1 + 1e-12
    square = reflectors(6, 6)(vectors)
    assert torch.allclose(square.mH @ square, torch.eye(6).to(square), atol=1e-3)
    assert torch.allclose(square, square.mH)


@pytest.mark.parametrize("map_of", [cayley, lot, reflectors(4, 4)])
def test_layers_that_are_trained_so_are_proved_to_have_norm_1(map_of):
    layer = FrequencyConv(4, 4, 4, padding=1)
    kernel = random(4, 2 if map_of not in (cayley, lot) else 4, 3, 3, dtype=torch.float32)
    nn.utils.parametrize.register_parametrization(layer, "weight", Frequencies(kernel, 6, map_of))
    plain = FrequencyConv(4, 4, 4, padding=1)
    plain.load_state_dict({"weight": layer.weight.detach(), "bias": layer.bias.detach()})
    assert 0.9 < bound_layer(plain, Context("layer", (4, 4, 4))).lipschitz_bound < 1 + 1e-5
    with pytest.raises(InputError, match="cannot start from given weights"):
        layer.weight = plain.weight.detach()


def test_every_sandwich_of_an_lbdn_is_proved_1_lipschitz_and_passes_half_of_its_input_on():
    architecture = LBDN(1, 4, 2, 16, 16, input_size=8)
    network = constrain(architecture.network(), architecture)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    plain = architecture.network()
    plain.load_state_dict(folded_state(network))
    shape, x = architecture.input_shape, torch.randn(50, *architecture.input_shape)
    for name, layer in list(plain.named_children())[:-1]:
        bound = bound_layer(layer, Context(name, shape))
        shape = bound.output_shape
        assert bound.lipschitz_bound < 1 + 1e-5
        y = layer(x)
        if isinstance(layer, Sandwich):
            assert y.norm() > 0.1 * x.norm()
        x = y
