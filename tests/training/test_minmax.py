"""The MinMax of training: the plain layer's numbers to the bit, its gradients wherever those are unique."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from training.minmax import QuickMinMax, quicken
from zoo.layers import MinMax, Residual

PAIRINGS = {"halves": 6, "neighbours": 7}  # and channels; the last of seven passes unchanged


def distinct(channels: int, dtype: torch.dtype) -> Tensor:
    """Whole numbers of both signs, no two the same, which even bfloat16 holds."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randperm(channels * 2 * 3 * 3, generator=generator) - channels * 9
    return numbers.reshape(2, channels, 3, 3).to(dtype)


def answers(layer: nn.Module, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The output and the gradient of its weighted sum."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_(True)
    output = layer(x)
    (gradient,) = torch.autograd.grad((output * weight).sum(), x)
    return output.detach(), gradient


@pytest.mark.parametrize("pairing", PAIRINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_quick_minmax_is_the_plain_layer_and_has_its_gradient(
    pairing: str, dtype: torch.dtype, layout: torch.memory_format
):
    x = distinct(PAIRINGS[pairing], dtype).contiguous(memory_format=layout)
    weight = distinct(PAIRINGS[pairing], dtype).flip(0)
    quick, plain = (answers(layer, x, weight) for layer in (QuickMinMax(pairing), MinMax(pairing)))
    assert torch.equal(quick[0], plain[0])
    assert torch.equal(quick[1], plain[1])


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_the_order_of_memory_stays(pairing: str):
    """Or the next convolution copies, and so does its gradient."""
    x = distinct(PAIRINGS[pairing], torch.float32).contiguous(memory_format=torch.channels_last)
    output, gradient = answers(QuickMinMax(pairing), x, x)
    assert output.is_contiguous(memory_format=torch.channels_last)
    assert gradient.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_the_gradient_is_permuted_as_the_numbers_were(pairing: str):
    """Also of equal numbers: the first is the maximum, and nothing of the gradient is lost."""
    x = torch.zeros(2, PAIRINGS[pairing], 3, 3)
    weight = distinct(PAIRINGS[pairing], torch.float32)
    assert torch.equal(answers(QuickMinMax(pairing), x, weight)[1], weight)


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_numbers_that_are_none_stay_so(pairing: str):
    x = distinct(PAIRINGS[pairing], torch.float32)
    x[0, 1], x[1, 2] = torch.nan, torch.inf
    assert torch.equal(QuickMinMax(pairing)(x).isnan(), MinMax(pairing)(x).isnan())


def test_every_minmax_is_replaced_wherever_it_stands():
    class Other(MinMax):
        """A layer of another kind."""

    branch = [nn.Conv2d(4, 4, 1), MinMax("neighbours"), nn.Conv2d(4, 4, 1)]
    network = nn.Sequential(MinMax("halves"), nn.ReLU(), Residual(*branch), Other())
    x, names = torch.randn(2, 4, 3, 3), list(network.state_dict())
    before = network(x)
    quicken(network)
    kinds = [type(layer) for layer in network.modules() if isinstance(layer, MinMax)]
    assert kinds == [QuickMinMax, QuickMinMax, Other]
    assert list(network.state_dict()) == names
    assert torch.equal(network(x), before)
