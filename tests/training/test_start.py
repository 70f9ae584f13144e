"""Weights to start from: what a constraint makes of its right inverse is the folded weight, and heads are new ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.training.small import narrowed
from training.constraints import AlmostOrthogonalRows, converge_norms, folded_state
from training.layers import constrain
from training.start import Start, find_start, start_from
from zoo.architectures import NETWORKS, Architecture
from zoo.errors import InputError

ARCHITECTURES: dict[str, Any] = {
    name: replace(narrowed(NETWORKS[network]), classes=3)  # type: ignore[type-var]
    for name, network in {
        "linear residual": "liresnet-l4w32",
        "residual": "resnet-l4w32",
        "cpl": "cpl-xs",
        "sll": "sll-xs",
        "soc": "lipconvnet-5w8",
        "attention": "olsa-liffn-l4w32",
        "distance": "linfdist-5x256",
    }.items()
}


def trained(architecture: Architecture) -> torch.nn.Sequential:
    """A network with weights as after some training, the parameters beneath the constraints anywhere."""
    torch.manual_seed(1)
    network = constrain(architecture.network(), architecture)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.requires_grad:
                weight += 0.05 * torch.randn_like(weight)
    converge_norms(network)
    return network


@pytest.mark.parametrize(
    "architecture",
    [pytest.param(one, id=name, marks=[pytest.mark.slow] * (name == "soc")) for name, one in ARCHITECTURES.items()],
)
def test_a_network_starts_as_the_function_that_was_published(architecture: Architecture):
    before = folded_state(trained(architecture))
    torch.manual_seed(2)
    network = constrain(architecture.network(), architecture)
    start_from(network, before)
    after = folded_state(network)
    assert before.keys() == after.keys()
    for name, weight in before.items():
        assert (after[name] - weight).norm() <= 1e-2 * weight.norm(), name  # what two power iterations leave


def test_the_inverse_of_almost_orthogonal_rows_leaves_other_weights():
    """So that training from scratch begins where it began: a fresh weight is no value of the constraint."""
    fresh = torch.randn(8, 5, 3, 3)
    assert torch.equal(AlmostOrthogonalRows(8).right_inverse(fresh), fresh)


def test_the_head_is_a_new_one_where_the_classes_are_others():
    start = find_start("liresnet-l4w32-cifar10-jpeg75")
    architecture = start.folder.architecture
    everything = start.weights(architecture, start.folder.config.labels)
    others = start.weights(architecture, tuple("abcdefghij"))
    assert everything.keys() - others.keys() == {"head.weight", "head.bias"}
    fewer = start.weights(replace(architecture, classes=3), tuple("abc"))  # type: ignore[type-var]
    assert fewer.keys() == others.keys()
    with pytest.raises(InputError, match="is another network, family LiResNet, depth 4") as raised:
        start.weights(replace(architecture, input_size=64), tuple("abc"))  # type: ignore[type-var]
    assert "\n" not in str(raised.value)


def test_a_folder_of_this_machine_is_named_by_its_model():
    folder = find_start("2c2f-mnist").folder
    assert find_start(f"local-dir:{folder.path}") == Start("2c2f-mnist", folder)
