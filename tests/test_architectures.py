"""Every registered model: its network has the shape that its data set needs, and only layers that have a rule."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.training.small import small_network
from zoo.architectures import FAMILIES, Architecture, describe, from_description, layer_shapes
from zoo.architectures.aol import AOLMLP, AOLPatchwise
from zoo.architectures.bronet import BRONet
from zoo.architectures.convnet import ConvNet
from zoo.architectures.distance import DistanceMLP, DistanceNet
from zoo.architectures.lipconvnet import LipConvNet
from zoo.architectures.liresnet import LiResNet
from zoo.architectures.loop import LoopResNet
from zoo.architectures.mlp import TwoMoonsMLP
from zoo.architectures.orthogonal import OrthogonalConvNet
from zoo.architectures.potential import ConvexPotentialNet
from zoo.architectures.sortnet import SortNet
from zoo.architectures.transformer import OLSA, SpatialMLP
from zoo.bounds.table import TABLE
from zoo.data.datasets import DATASETS
from zoo.errors import CertificateError, UnknownModelError
from zoo.layers import MinMax, Pixels
from zoo.registry import ENTRIES, Entry, find, list_models

MODELS: dict[Architecture, list[Entry]] = {}  # of each distinct network
for entry in ENTRIES.values():
    MODELS.setdefault(entry.architecture, []).append(entry)
# One of each kind, for the first tier.
FIRST = {small_network(entries[0].name): architecture for architecture, entries in MODELS.items()}.values()


@pytest.mark.parametrize(
    "architecture",
    [
        pytest.param(architecture, id=entries[0].name, marks=() if architecture in FIRST else pytest.mark.slow)
        for architecture, entries in MODELS.items()
    ],
)
def test_a_network_is_plain_fits_its_data_sets_and_has_the_parameters_of_the_list(architecture: Architecture):
    """At its full size. `python -m export.parameters` writes the list's numbers anew."""
    with torch.device("meta"):
        network = architecture.network()
        images = torch.empty(2, *architecture.input_shape)
    assert network(images).shape == (2, architecture.classes)
    assert type(network[0]) is Pixels
    assert [name for name, _ in network.named_children()][-1] == "head"
    assert type(network[-1]) is nn.Linear
    parameters = sum(weight.numel() for weight in network.parameters())
    for entry in MODELS[architecture]:
        data = DATASETS[entry.dataset]
        assert (architecture.input_shape, architecture.classes) == ((data.channels, data.size, data.size), data.classes)
        assert all(getattr(TABLE[type(layer)], entry.norm) for layer in network)
        assert entry.parameters == parameters
    assert from_description(describe(architecture)) == architecture


@pytest.mark.parametrize("family", FAMILIES)
def test_the_layers_that_are_listed_are_those_of_the_network(family: str):
    architecture = next(architecture for architecture in MODELS if type(architecture).__name__ == family)
    layers = layer_shapes(architecture)
    assert sum(layer.parameters for layer in layers) == MODELS[architecture][0].parameters
    assert layers[0].input_shape == architecture.input_shape
    assert layers[-1].output_shape == (architecture.classes,)


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"family": "Sequential"},
        {"family": "LiResNet"},
        {"family": "LiResNet", "depth": 1, "width": 3},
        {"family": []},
        {"family": "LiResNet", "depth": 1, "width": 2, "na\nme": 1},
        {"family": "ConvNet", "plan": ["4c3f"]},
        *(
            {"family": family, **sizes, name: size}
            for family, sizes, name in (
                ("LiResNet", {"width": 8}, "depth"),
                ("LiResNet", {"depth": 1}, "width"),
                ("ConvNet", {"plan": "4c3f"}, "classes"),
                ("ConvNet", {"plan": "4c3f"}, "input_size"),
            )
            for size in ("x", 2.5, 2.0, -4, 0, 10**12, True, None, [1], "y" * 10_000)
        ),
        {"family": "LiResNet", "depth": 1_001, "width": 8},
        {"family": "LiResNet", "depth": 1, "width": 8, "classes": 10_001},
    ],
)
def test_another_description_is_refused(description: dict):
    with pytest.raises(CertificateError) as refusal:
        from_description(description)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 250


@pytest.mark.parametrize(
    "make",
    [
        lambda: LiResNet(6, 128, input_size=48),
        lambda: LiResNet(6, 127),
        lambda: BRONet(2, 8, dense="cayley"),  # type: ignore[arg-type]
        lambda: BRONet(2, 8, neck="dense"),  # type: ignore[arg-type]
        lambda: ConvNet("9c9f"),
        lambda: ConvNet("4c3f", "tanh"),  # type: ignore[arg-type]
        lambda: ConvNet("8c2f", input_size=16),
        lambda: ConvexPotentialNet("aol", 1, 8, 1, 8),  # type: ignore[arg-type]
        lambda: ConvexPotentialNet("cpl", 1, 8, 1, 8, input_size=30),
        lambda: ConvexPotentialNet("cpl", 1, 2, 1, 8),
        lambda: AOLPatchwise(1, 8, 4, 1, input_size=30),
        lambda: AOLPatchwise(1, 8, 16, 1),
        lambda: AOLMLP(1, 8).network(),
        lambda: OrthogonalConvNet("4c3f-cll"),
        lambda: OrthogonalConvNet("4c3f", method="cayley"),  # type: ignore[arg-type]
        lambda: LipConvNet(7),
        lambda: LipConvNet(0),
        lambda: LipConvNet(5, input_size=28),
        lambda: LipConvNet(5, activation="relu"),  # type: ignore[arg-type]
        lambda: LoopResNet(3, 8, input_size=28),
        lambda: SpatialMLP(4, 32, feedforward="attention"),  # type: ignore[arg-type]
        lambda: OLSA(4, 32, feedforward="mlp"),  # type: ignore[arg-type]
        lambda: OLSA(4, 32, heads=5),
        lambda: OLSA(4, 32, heads=0),
        lambda: DistanceNet(1, 8),
        lambda: SortNet(3, 8, keep=1.0),
        lambda: SortNet(3, 8, keep="x"),  # type: ignore[arg-type]
        lambda: DistanceMLP(3, 8, channels=2),
    ],
)
def test_sizes_that_do_not_fit_are_refused(make):
    with pytest.raises(ValueError, match=r"\w") as refusal:
        make()
    assert "\n" not in str(refusal.value)


def test_minmax_pairs_as_it_says():
    x = torch.tensor([[1.0, 5.0, 4.0, 2.0]])
    assert MinMax("halves")(x).tolist() == [[4.0, 5.0, 1.0, 2.0]]
    assert MinMax("neighbours")(x).tolist() == [[5.0, 1.0, 4.0, 2.0]]
    assert MinMax("neighbours")(torch.tensor([[1.0, 5.0, 9.0]])).tolist() == [[5.0, 1.0, 9.0]]


def test_pixels_clamps_centres_and_scales():
    layer = Pixels([0.5, 0.0], [2.0, 1.0])
    images = torch.tensor([-1.0, 0.25]).reshape(1, 2, 1, 1)
    assert layer(images).flatten().tolist() == [-1.0, 0.25]


def test_unknown_names_get_near_ones():
    with pytest.raises(UnknownModelError, match="liresnet-l6w128-cifar10"):
        find("liresnet-l6w128-cifar")
    assert list_models("liresnet-l12w588-*", pretrained=True) == []
    assert "liresnet-l12w588-imagenet" in list_models("liresnet*")


def test_the_logits_of_a_distance_net_are_minus_its_distances():
    network = DistanceNet(3, 8, input_size=2, channels=1).network()
    features = network[:-1](torch.rand(4, 1, 2, 2))
    assert torch.equal(network.head(features), -features)


def test_linf_models_say_so():
    assert {name for name in ENTRIES if ENTRIES[name].norm == "linf"} == {
        name for name in ENTRIES if name.startswith(("linfdist-", "sortnet-")) or "-linf-" in name
    }
    assert {ENTRIES[name].norm for name in list_models("liresnet*")} == {"l2"}


def test_the_two_moons_network_sees_the_plane():
    architecture = TwoMoonsMLP()
    network = architecture.network()
    assert from_description(describe(architecture)) == architecture
    assert [layer.out_features for layer in network if type(layer) is nn.Linear] == [10, 20, 40, 40, 20, 10, 2]
    corners = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).reshape(2, 2, 1, 1)
    assert network.pixels(corners).flatten(1).tolist() == [[-1.5, -1.75], [2.5, 2.25]]
    assert network(corners).shape == (2, 2)
