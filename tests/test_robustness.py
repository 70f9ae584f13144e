"""The attack that a record reports: it takes no more than it may, and a wrong certificate does not survive it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export import robustness
from export.dense import densify
from export.robustness import pgd_accuracy
from training import toomcook
from zoo.errors import CertificateError
from zoo.layers import ConvExponential, MinMax
from zoo.records import Outputs

EPSILONS = ("0.3", "0.1")
MARGINS = torch.tensor([0.05, 0.15, 0.2, 0.4, -0.1])  # of five images: l2 distance to the boundary; the last is wrong


def network() -> nn.Sequential:
    """f_0 - f_1 = x_0 - 1/2 on two pixels."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
        net[1].bias.copy_(torch.tensor([0.0, 0.5]))
    return net


def images() -> Tensor:
    return torch.stack([MARGINS + 0.5, torch.full((5,), 0.5)], dim=1).reshape(5, 1, 1, 2)


def model(factor: float) -> Any:
    """What claims `factor` of the true distance as certified radius; 1 is the truth."""

    def outputs(batch: np.ndarray) -> Outputs:
        logits = network()(torch.from_numpy(batch)).detach().numpy()
        radius = factor * np.abs(logits[:, 0] - logits[:, 1]).astype(np.float64)
        return Outputs(logits, logits.argmax(axis=1), radius, None, None)

    return SimpleNamespace(norm="l2", name="two-pixels", outputs=outputs)


def attack(factor: float) -> dict[str, float]:
    return pgd_accuracy(network(), model(factor), images(), np.zeros(5, dtype=np.int64), EPSILONS)


def test_what_is_left_is_what_lies_beyond_epsilon():
    assert attack(1.0) == attack(0.5) == {"0.3": 1 / 5, "0.1": 3 / 5}
    assert list(attack(1.0)) == list(EPSILONS)


@pytest.mark.parametrize("factor", [1.6, 3.0])
def test_a_radius_beyond_the_boundary_is_an_error(factor: float):
    with pytest.raises(CertificateError, match="the certificate of two-pixels is wrong"):
        attack(factor)


def moved_by(distance: float) -> Any:
    """An attack that goes so far, whatever it may."""

    def attack(network: nn.Module, images: Tensor, *options: object) -> Tensor:
        return images - torch.tensor([distance, 0.0]).reshape(1, 1, 2)

    return attack


def test_a_radius_below_epsilon_is_tested_as_well(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(robustness, "pgd", moved_by(0.06))  # beyond the first image's margin of 0.05
    assert attack(1.0)["0.1"] == 3 / 5
    with pytest.raises(CertificateError, match=r"image 0 has the certified radius 0\.07.* another label at 0\.06"):
        attack(1.4)


def test_what_falls_beyond_epsilon_has_not_fallen_at_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(robustness, "pgd", moved_by(0.1 * (1 + 1e-6)))
    assert attack(1.0) == {"0.3": 3 / 5, "0.1": 4 / 5}


def test_certified_images_have_one_start_and_the_others_all_that_are_said(monkeypatch: pytest.MonkeyPatch):
    tried: list[int] = []

    def harmless(network: nn.Module, images: Tensor, labels: Tensor, *options: object) -> Tensor:
        tried.append(len(images))
        return images

    monkeypatch.setattr(robustness, "pgd", harmless)
    assert attack(0.8) == {"0.3": 4 / 5, "0.1": 4 / 5}
    # Of four right ones 0.15, 0.2 and 0.4 are certified at 0.1, and 0.4 alone at 0.3.
    assert tried == [4, *[1] * 9, 4, *[3] * 9]
    assert "100 steps from each of 10 random starts" in robustness.describe("l2")


def test_the_attacked_network_is_the_given_one_which_stays_as_it_was(monkeypatch: pytest.MonkeyPatch):
    given = nn.Sequential(network(), MinMax())
    seen: dict[str, Tensor] = {}

    def record(name: str) -> Any:
        def harmless(logits: Callable[[Tensor], Tensor], images: Tensor, *options: object) -> Tensor:
            seen.setdefault(name, logits(images))
            return images

        return harmless

    for precision in ("no", "bf16"):
        monkeypatch.setattr(robustness, "pgd", record(precision))
        pgd_accuracy(given, model(0.1), images(), np.zeros(5, dtype=np.int64), ("0.01",), precision=precision)
    assert [type(layer) for layer in given] == [nn.Sequential, MinMax]
    exact = given(images()[:4])
    assert torch.equal(seen["no"], exact)
    assert seen["bf16"].dtype == torch.float32
    assert torch.equal(seen["bf16"], seen["bf16"].bfloat16().float())  # as products of bfloat16 come out
    torch.testing.assert_close(seen["bf16"], exact, rtol=2**-6, atol=2**-8)
    assert "float32 network" in robustness.describe("l2")
    assert "network in bfloat16, as it was trained" in robustness.describe("l2", "bf16")


def test_attacks_use_the_fast_convolutions(monkeypatch: pytest.MonkeyPatch):
    seen: list[torch.Size] = []
    real = toomcook.convolve

    def convolve(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        seen.append(weight.shape)
        return real(images, weight, bias)

    wide, example = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1)), torch.ones(1, 64, 8, 8)
    fast = robustness.differentiable(wide, example, "no")
    monkeypatch.setattr(toomcook, "convolve", convolve)
    fast(example)
    assert seen == [(64, 64, 3, 3)]


def test_a_matrix_is_the_exponential_that_it_stands_for():
    torch.manual_seed(0)
    series = nn.Sequential(ConvExponential(2, 3, terms=2), nn.PixelUnshuffle(2), ConvExponential(8, 3, terms=2))
    with torch.no_grad():
        for parameter in series.parameters():
            parameter.normal_(std=0.2)
    images = torch.rand(3, 2, 6, 6)
    exact = series(images)
    densify(series, images[:1])
    # 36 pixels are more than 2 x 9, the 9 pixels of the second are fewer
    assert [type(layer) for layer in series] == [ConvExponential, nn.PixelUnshuffle, nn.Sequential]
    torch.testing.assert_close(series(images), exact, rtol=1e-5, atol=1e-5)
