"""The moving average of weights: of what is trained, and with norms of its own."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from tests.training.small import narrow
from training.constraints import folded_state
from training.data import InMemory
from training.estimate import LipschitzEstimate
from training.layers import constrain
from training.learner import Learner
from training.recipes import find
from zoo.registry import ENTRIES


def learned(name: str, ema: float | None) -> tuple[Learner, list[dict[str, Tensor]]]:
    """A learner after three large steps, and the trained parameters after each."""
    recipe = dataclasses.replace(find(name), ema=ema, optimizer="sgd", learning_rate=1.0, clip_norm=1.0)
    torch.manual_seed(0)
    learner = Learner(Accelerator(), recipe, 0, ENTRIES[recipe.name])
    images, labels = torch.rand(8, 3, 32, 32), torch.arange(8)
    states = []
    for _ in range(3):
        learner.step([(images, labels)], 8, 0.5, 0.5)
        states.append({key: value.detach().clone() for key, value in learner.network.named_parameters()})
    return learner, states


def test_the_published_weights_fold_the_average_of_the_trained_parameters():
    learner, (first, second, third) = learned("liresnet-l4w32-cifar10-jpeg75", 0.5)
    network = constrain(learner.entry.architecture.network(), learner.entry.architecture)
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            parameter.copy_(0.25 * first[key] + 0.25 * second[key] + 0.5 * third[key])
    expected, published = folded_state(network), learner.weights()
    assert all(torch.allclose(expected[key], published[key], rtol=1e-5, atol=1e-6) for key in expected | published)
    assert not torch.allclose(folded_state(learner.network)["head.weight"], published["head.weight"], rtol=1e-3)


def test_the_average_is_validated_with_its_own_constant(monkeypatch: pytest.MonkeyPatch):
    narrow("liresnet-l4w32-cifar10-jpeg75", monkeypatch)
    learner, _ = learned("liresnet-l4w32-cifar10-jpeg75", 0.5)
    images = InMemory(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.arange(4))
    validated = learner.validate(images)["lipschitz_estimate"]
    plain = learner.entry.architecture.network()
    plain.load_state_dict(learner.weights())
    truth = LipschitzEstimate(plain, learner.entry.architecture.input_shape, seed=1, iterations=0).converge().item()
    assert validated == pytest.approx(truth, rel=1e-3)
    assert learner.estimate.converge().item() != pytest.approx(truth, rel=1e-2)  # the constant of what is not published


def test_norms_that_weights_are_divided_by_are_those_of_the_average():
    learner, _ = learned("cpl-xs-cifar10-jpeg75", 0.5)
    published = learner.weights()
    dense = [key for key, value in published.items() if value.ndim == 2 and not key.startswith("head")]
    assert dense
    for key in dense:
        assert torch.linalg.matrix_norm(published[key], ord=2).item() == pytest.approx(1, abs=1e-3)
