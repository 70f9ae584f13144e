"""The table of layers in training: a row for each layer, and the constraints of each family."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from training.centring import CentredConv2d, CentredFrequencyConv
from training.distance import LpDistance, LpSortedDistance
from training.layers import TABLE, constrain
from training.minmax import QuickMinMax
from zoo import registry
from zoo.bounds.table import TABLE as BOUNDS

BLOCKS = {f"block{number}": "LinearResidual" for number in range(1, 5)}
MIXING = {f"mixing{number}": "LinearResidual" for number in range(1, 5)}
ATTENTION = {f"mixing{number}.branch.0": "AlmostOrthogonalRows" for number in range(1, 5)}
HEAD = {"head": "NormalisedRows"}
EXPONENTIALS = {f"conv{number}": "SkewKernel" for number in range(1, 6)}
KERNELS = {"conv1": "BlockOrthogonalKernel", "conv2": "BlockOrthogonalKernel"}
CONSTRAINTS: dict[str, dict[str, str]] = {
    "2c2f-mnist": {},
    "mlp-two-moons": {},
    "loopresnet-d2w8-mnist": {},
    "linfdist-5x256-mnist": {},
    "linfdist-mlp-5x256-mnist": {},
    "liresnet-l4w32-cifar10": BLOCKS | HEAD,
    "liresnetpp-l4w32-cifar10": BLOCKS | HEAD | dict.fromkeys(("neck", "dense", "dense1", "dense2"), "CholeskyRows"),
    "bronet-l4w32-la-cifar10": dict.fromkeys(BLOCKS, "Frequencies")
    | HEAD
    | dict.fromkeys(("neck", "dense", "dense1", "dense2"), "CholeskyRows"),
    "aol-patchwise-xs-cifar10": dict.fromkeys(
        ("stem", "neck", *(f"{kind}{number}" for kind in ("conv", "dense") for number in range(1, 5))),
        "AlmostOrthogonalColumns",
    ),
    "aol-mlp-4x512-mnist": {f"dense{number}": "AlmostOrthogonalColumns" for number in range(1, 5)},
    "2c2f-bcop-mnist": KERNELS | {"dense1": "Bjorck", "head": "Bjorck"},
    "2c2f-aoc-mnist": KERNELS | {"dense1": "Cayley", "head": "Cayley"},
    "convnet-l4w32-cifar10": HEAD,
    "resnet-l4w32-cifar10": HEAD,
    "spatialmlp-liffn-l4w32-cifar10": BLOCKS | MIXING | HEAD,
    "spatialmlp-ffn-l4w32-cifar10": MIXING | HEAD,
    "olsa-liffn-l4w32-cifar10": BLOCKS | ATTENTION | HEAD,
    "olsa-ffn-l4w32-cifar10": ATTENTION | HEAD,
    "lbdn-xs-cifar10": {
        **{f"conv{number}": "Frequencies" for number in (1, 2)},
        **{f"{kind}{number}": "Cayley" for kind in ("down", "dense") for number in (1, 2)},
        **HEAD,
    },
    "kwsmall-cayley-cifar10": {
        **{f"conv{number}": "Frequencies" for number in (1, 2)},
        **{f"down{number}": "AsKernel" for number in (1, 2)},
        **dict.fromkeys(("dense1", "dense2", "head"), "Cayley"),
    },
    "lipconvnet-5w8-lot-cifar10": {
        **{f"conv{number}": "Frequencies" for number in range(1, 6)},
        **{f"activation{number}": "UnitPairs" for number in range(1, 6)},
        **HEAD,
    },
    "lipnext-l4w64-cifar10": {
        "stem": "AsKernel",
        **{f"{kind}{number}": "AsKernel" for kind in ("rotation", "mixing") for number in range(1, 5)},
        **HEAD,
    },
    "lipconvnet-5w8-cifar10": EXPONENTIALS | {f"activation{number}": "UnitPairs" for number in range(1, 6)} | HEAD,
}


def constraints(network: nn.Sequential) -> dict[str, str]:
    """The constraint of each layer that has one; all its weights have the same."""
    return {
        name: type(kind).__name__
        for name, layer in network.named_modules()
        if parametrize.is_parametrized(layer)
        for weight in layer.parametrizations.values()  # type: ignore[union-attr]
        for kind in weight
    }


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_the_constraints_of_each_family(name):
    architecture = registry.find(name).architecture
    assert constraints(constrain(architecture.network(), architecture)) == CONSTRAINTS[name]


@pytest.mark.parametrize(("name", "kind"), [("cpl-xs-cifar10", "UnitNorm"), ("sll-xs-cifar10", "AlmostOrthogonalRows")])
def test_the_constraints_of_potentials(name, kind):
    architecture = registry.find(name).architecture
    network = constrain(architecture.network(), architecture)
    potentials = [layer for layer, _ in network.named_children() if layer.startswith(("block", "dense"))]
    assert constraints(network) == dict.fromkeys(potentials, kind)


@pytest.mark.parametrize("name", ["linfdist-5x256-mnist", "linfdist-mlp-5x256-mnist"])
def test_only_distances_that_are_logits_have_no_mean_shift(name):
    architecture = registry.find(name).architecture
    network = constrain(architecture.network(), architecture)
    distances = [layer for layer in network if isinstance(layer, LpDistance)]
    assert [layer.shift for layer in distances] == [True] * 4 + [False] * (len(distances) - 4)
    assert network.head.weight.requires_grad == (len(distances) == 4)
    if len(distances) == 5:
        assert torch.equal(network.head.weight, -torch.eye(10))


def test_each_layer_of_the_proof_has_a_row_in_training_with_its_constants():
    """A Residual's constants follow from what it holds; what has no rule in a norm needs no constant there."""
    assert set(TABLE) == {*BOUNDS, CentredConv2d, CentredFrequencyConv, LpDistance, LpSortedDistance, QuickMinMax}
    for kind, row in BOUNDS.items():
        if row.checked != "composed" or row.linf is None:
            assert (TABLE[kind].estimate is None) == (row.l2 is None), kind
            assert (TABLE[kind].linf is None) == (row.linf is None), kind
