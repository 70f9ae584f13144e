"""Fast convolutions: the numbers and gradients of PyTorch's, and only where they are the faster way."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training import toomcook
from training.loop import train
from training.toomcook import FastConvolutions, convolve

CASES = {"whole chunks": ((8, 64, 16, 16), 64), "a rest, oblong": ((11, 64, 8, 12), 96), "odd": ((3, 65, 4, 4), 67)}


def tensors(shape: tuple[int, ...], outputs: int, layout: torch.memory_format) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(shape, generator=generator).contiguous(memory_format=layout)
    weight = torch.randn(outputs, shape[1], 3, 3, generator=generator)
    return images, weight, torch.randn(outputs, generator=generator)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_results_and_gradients_are_those_of_the_convolution(case: str, layout: torch.memory_format):
    given = tensors(*CASES[case], layout)
    fast = [value.clone(memory_format=torch.preserve_format).requires_grad_() for value in given]
    exact = [value.double().requires_grad_() for value in given]
    result, expected = convolve(*fast), F.conv2d(exact[0], exact[1], exact[2], padding=1)
    weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(1))
    (result * weights).sum().backward()
    (expected * weights).sum().backward()
    pairs = [(result, expected), *((one.grad, other.grad) for one, other in zip(fast, exact, strict=True))]
    for got, wanted in pairs:
        assert got is not None
        assert wanted is not None
        assert (got - wanted).abs().max() < 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_each_gradient_comes_without_the_others(wanted: tuple[bool, bool, bool]):
    """An attack moves the images alone, fine-tuning perhaps the biases alone."""
    given = tensors((9, 64, 8, 8), 64, torch.contiguous_format)
    fast, exact = (
        [value.clone().requires_grad_(each) for value, each in zip(given, wanted, strict=True)] for _ in range(2)
    )
    convolve(*fast).square().sum().backward()
    F.conv2d(exact[0], exact[1], exact[2], padding=1).square().sum().backward()
    for one, other in zip(fast, exact, strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None:
            assert (one.grad - other.grad).abs().max() < 1e-4 * other.grad.abs().max()


@pytest.mark.parametrize(("channels", "biases"), [(65, 64), (64, 1)])
def test_sizes_that_do_not_fit_are_told_by_pytorch(channels: int, biases: int):
    with FastConvolutions(), pytest.raises(RuntimeError, match="expected"):
        F.conv2d(torch.ones(1, channels, 8, 8), torch.ones(64, 64, 3, 3), torch.ones(biases), 1, 1)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The sizes of the kernels that go through `convolve`."""
    seen: list[torch.Size] = []

    def spy(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        seen.append(weight.shape)
        return convolve(images, weight, bias)

    monkeypatch.setattr(toomcook, "convolve", spy)
    return seen


def test_a_wide_convolution_is_a_fast_one_only_inside_the_block(calls):
    layer, images = nn.Conv2d(64, 64, 3, padding=1), torch.ones(1, 64, 8, 8)
    layer(images)
    assert not calls
    with FastConvolutions():
        layer(images)
    assert calls == [(64, 64, 3, 3)]


OTHERS = {
    "narrow": nn.Conv2d(64, 32, 3, padding=1),
    "of 5 x 5": nn.Conv2d(64, 64, 5, padding=1),
    "with a stride": nn.Conv2d(64, 64, 3, 2, padding=1),
    "dilated": nn.Conv2d(64, 64, 3, padding=1, dilation=2),
    "in groups": nn.Conv2d(128, 128, 3, padding=1, groups=2),
    "without padding": nn.Conv2d(64, 64, 3),
    "with padding by name": nn.Conv2d(64, 64, 3, padding="same"),
    "around a circle": nn.Conv2d(64, 64, 3, padding=1, padding_mode="circular"),
    "without bias": nn.Conv2d(64, 64, 3, padding=1, bias=False),
    "in float64": nn.Conv2d(64, 64, 3, padding=1).double(),
}


@pytest.mark.parametrize("layer", OTHERS.values(), ids=OTHERS)
def test_others_are_left_as_they_are(layer: nn.Conv2d, calls):
    images = torch.ones(1, layer.in_channels, 8, 8, dtype=layer.weight.dtype)
    with FastConvolutions():
        result = layer(images)
    assert not calls
    assert torch.equal(result, layer(images))


@pytest.mark.parametrize("side", [7, 10])
def test_maps_that_tiles_do_not_fill_are_left_as_they_are(side: int, calls):
    with FastConvolutions():
        nn.Conv2d(64, 64, 3, padding=1)(torch.ones(1, 64, side, side))
    assert not calls


def test_bfloat16_is_left_as_it_is(calls):
    with FastConvolutions(), torch.autocast("cpu", torch.bfloat16):
        assert nn.Conv2d(64, 64, 3, padding=1)(torch.ones(1, 64, 8, 8)).dtype == torch.bfloat16
    assert not calls


def test_training_uses_them_and_validation_does_not(small, tmp_path, calls, monkeypatch):
    monkeypatch.setattr(toomcook, "WIDE", 8)
    train(dataclasses.replace(small, epochs=1, validate_every=1), tmp_path / "run")
    assert calls == [(8, 8, 3, 3)] * 2 * 2  # the blocks of two steps
