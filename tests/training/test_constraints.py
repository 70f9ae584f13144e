"""Weight parametrisations, and the plain weights that they fold to."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from training.constraints import LinearResidual, NormalisedRows, constrain, folded_state
from zoo import registry


@pytest.mark.parametrize("name", ["liresnet-l4w32-cifar10", "2c2f-mnist", "4c3f-relu-mnist", "resnet-l4w32-cifar10"])
def test_the_folded_network_is_the_constrained_one(name):
    architecture = registry.find(name).architecture
    network = constrain(architecture.network(), architecture)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    plain = architecture.network()
    plain.load_state_dict(folded_state(network))  # strict: the keys are the plain network's
    images = torch.rand(4, *architecture.input_shape)
    assert torch.equal(plain(images), network(images))


def test_a_linear_residual_is_the_block_of_the_paper():
    residual = LinearResidual(4, 3, depth=9)
    with torch.no_grad():
        residual.beta.copy_(torch.tensor([1.0, 2.0, -1.0, 0.5]))
    weight, maps = torch.randn(4, 4, 3, 3), torch.randn(2, 4, 6, 6)
    block = nn.functional.conv2d(maps, residual(weight), padding=1)
    branch = nn.functional.conv2d(maps, weight, padding=1)
    assert torch.allclose(block, maps + residual.beta[:, None, None] * branch / 3, atol=1e-5)


@pytest.mark.parametrize("constraint", [LinearResidual(4, 3, 6), NormalisedRows()])
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


def test_a_conventional_residual_block_starts_as_the_identity():
    architecture = registry.find("resnet-l4w32-cifar10").architecture
    network = constrain(architecture.network(), architecture)
    maps = torch.randn(2, 32, 16, 16)
    assert torch.equal(network.block1(maps), maps)
