"""Weight parametrisations, and the plain weights that they fold to."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from tests.training.small import narrowed
from training.constraints import (
    AlmostOrthogonalRows,
    LinearResidual,
    NormalisedRows,
    SkewKernel,
    UnitPairs,
    converge_norms,
    folded_state,
)
from training.layers import constrain
from zoo import registry
from zoo.bounds.rule import Context
from zoo.bounds.table import bound_layer

FOLDED = [
    "liresnet-l4w32-cifar10",
    "2c2f-mnist",
    "4c3f-relu-mnist",
    "resnet-l4w32-cifar10",
    "cpl-xs-cifar10",
    "sll-xs-cifar10",
    "lipconvnet-5w8-cifar10",
    "spatialmlp-liffn-l4w32-cifar10",
    "spatialmlp-ffn-l4w32-cifar10",
    "olsa-liffn-l4w32-cifar10",
    "olsa-ffn-l4w32-cifar10",
    "lbdn-xs-cifar10",
    "kwsmall-cayley-cifar10",
    "lipconvnet-5w8-lot-cifar10",
    "lipconvnet-5w8-bro-cifar10",
    "lipnext-l4w64-cifar10",
    "liresnetpp-l4w32-cifar10",
    "bronet-l4w32-la-cifar10",
    "aol-patchwise-xs-cifar10",
    "2c2f-bcop-mnist",
    "2c2f-aoc-mnist",
    "linfdist-5x256-mnist",
    "sortnet-5x256-mnist",
    "linfdist-mlp-5x256-mnist",
]


@pytest.mark.parametrize("name", FOLDED)
def test_the_folded_network_is_the_constrained_one(name):
    architecture = registry.find(name).architecture
    network = constrain(architecture.network(), architecture)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter) * parameter.requires_grad)
    network.eval()  # power iteration stands still
    plain = architecture.network()
    plain.load_state_dict(folded_state(network))  # strict: the keys are the plain network's
    images = torch.rand(4, *architecture.input_shape)
    assert torch.equal(plain(images), network(images))


def test_a_linear_residual_is_the_block_of_the_paper():
    residual = LinearResidual(torch.empty(4, 4, 3, 3), depth=9)
    with torch.no_grad():
        residual.beta.copy_(torch.tensor([1.0, 2.0, -1.0, 0.5]))
    weight, maps = torch.randn(4, 4, 3, 3), torch.randn(2, 4, 6, 6)
    block = nn.functional.conv2d(maps, residual(weight), padding=1)
    branch = nn.functional.conv2d(maps, weight, padding=1)
    assert torch.allclose(block, maps + residual.beta[:, None, None] * branch / 3, atol=1e-5)


@pytest.mark.parametrize("constraint", [LinearResidual(torch.empty(4, 4, 3, 3), 6), NormalisedRows()])
def test_assigning_a_constrained_weight_gives_it_back(constraint):
    layer = nn.Conv2d(4, 4, 3) if isinstance(constraint, LinearResidual) else nn.Linear(5, 4)
    weight = constraint(torch.randn_like(layer.weight))
    parametrize.register_parametrization(layer, "weight", constraint)
    layer.weight = weight
    assert torch.allclose(layer.weight, weight, atol=1e-6)


def test_blocks_start_near_the_identity_and_head_rows_have_norm_1():
    architecture = registry.find("liresnet-l4w32-cifar10").architecture
    network = constrain(architecture.network(), architecture)
    assert torch.linalg.matrix_norm(network.block1.weight[:, :, 1, 1] - torch.eye(32), ord=2) < 0.1
    assert torch.allclose(network.head.weight.norm(dim=1), torch.ones(10))


@pytest.mark.parametrize(("name", "block"), [("resnet-l4w32-cifar10", "block1"), ("olsa-ffn-l4w32-cifar10", "mixing1")])
def test_a_conventional_residual_block_starts_as_the_identity(name, block):
    architecture = registry.find(name).architecture
    network = constrain(architecture.network(), architecture)
    maps = torch.randn(2, 32, 16, 16)
    assert torch.equal(network.get_submodule(block)(maps), maps)


def test_self_attention_is_proved_1_lipschitz_whatever_its_weights_became():
    architecture = registry.find("olsa-ffn-l4w32-cifar10").architecture
    network = constrain(architecture.network(), architecture)
    with torch.no_grad():
        for parameter in network.mixing1.parameters():
            parameter.add_(torch.randn_like(parameter))
    plain = architecture.network()
    plain.load_state_dict(folded_state(network))
    attention = plain.mixing1.branch[0]
    bound = bound_layer(attention, Context("attention", (32, 16, 16))).lipschitz_bound
    assert 0.05 < bound <= 1 + 1e-6
    assert not torch.equal(attention.query, attention.key)


@pytest.mark.parametrize(
    "name",
    [
        "cpl-xs-cifar10",
        "sll-xs-cifar10",
        "lipconvnet-5w8-cifar10",
        "aol-patchwise-xs-cifar10",
        "2c2f-bcop-mnist",
    ],
)
def test_constrained_layers_are_proved_nearly_1_lipschitz(name, monkeypatch):
    monkeypatch.setattr("zoo.bounds.convolution.DENSE_COST", 1e8)
    architecture = narrowed(registry.find(name).architecture)
    network = constrain(architecture.network(), architecture)
    converge_norms(network)
    plain = architecture.network()
    plain.load_state_dict(folded_state(network))
    shape = architecture.input_shape
    for name, layer in list(plain.named_children())[:-1]:
        bound = bound_layer(layer, Context(name, shape))
        assert bound.lipschitz_bound <= 1.05, name
        shape = bound.output_shape


def test_almost_orthogonal_rows_have_norm_at_most_1():
    matrix = AlmostOrthogonalRows(7)
    nn.init.normal_(matrix.log_q, mean=-2.0)  # a common factor changes nothing
    assert torch.linalg.matrix_norm(matrix(torch.randn(7, 5)), ord=2) <= 1 + 1e-5
    kernel = matrix(torch.randn(7, 3, 3, 3))
    spectrum = torch.linalg.matrix_norm(torch.fft.fft2(kernel, (8, 8)).permute(2, 3, 0, 1), ord=2)
    assert spectrum.max() <= 1 + 1e-5


def test_skew_kernels_are_exactly_skew_and_reflections_no_longer_than_the_root_of_2():
    kernel = SkewKernel(6, 3)(torch.randn(6, 6, 3, 3))
    assert torch.equal(kernel, -kernel.flip(2, 3).transpose(0, 1))
    pairs = UnitPairs()(torch.randn(2, 5000)).double()
    assert pairs.square().sum(dim=0).max() <= 2
    assert pairs.square().sum(dim=0).min() >= 2 - 1e-5
