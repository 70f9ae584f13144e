"""Training from the weights of a published model, which are given to a network through its constraints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from training.constraints import converge_norms
from zoo.architectures import Architecture, describe
from zoo.errors import InputError
from zoo.hub.client import LOCAL, fetch
from zoo.publication.folder import Folder
from zoo.publication.network import load_network


class Start(NamedTuple):
    """A model to start from, and the name by which a card may show it."""

    name: str
    folder: Folder

    def describe(self) -> dict[str, Any]:
        """What a run records of it: name, weights, and the epochs and hours that these took; None if not recorded."""
        return {
            "init": self.name,
            "init_weights": self.folder.certificate.weights_sha256,
            "init_epochs": self.folder.config.took("epochs"),
            "init_hours": self.folder.config.took("hours"),
        }

    def weights(self, architecture: Architecture, labels: tuple[str, ...]) -> dict[str, Tensor]:
        """The model's plain weights for a network of this architecture.

        All of them if the classes are the same ones in the same order, else without those, such as the head's, whose
        shape depends on the number of classes.
        Raises InputError if the network is another one.
        """
        own, wanted = self.folder.architecture, architecture
        if type(own) is not type(wanted) or _sizes(own) != _sizes(wanted):
            theirs = ", ".join(f"{key} {value}" for key, value in describe(own).items() if key != "classes")
            raise InputError(f"{self.name} is another network, {theirs}: start from one of the same sizes")
        state = load_network(self.folder.weights(), self.folder.certificate).state_dict()
        if self.folder.config.labels == labels:
            return state
        return {name: weight for name, weight in state.items() if name not in _of_classes(wanted)}


def find_start(source: str) -> Start:
    """The published model of a name or source to start from. Raises ZooError."""
    folder = fetch(source)
    return Start(folder.config.name if source.startswith(LOCAL) else source, folder)


@torch.no_grad()
def start_from(network: nn.Sequential, weights: Mapping[str, Tensor]) -> None:
    """Give a constrained network these plain weights, each by the right inverse of its constraint."""
    for name, weight in weights.items():
        path, _, key = name.rpartition(".")
        layer = network.get_submodule(path)
        if parametrize.is_parametrized(layer, key):
            setattr(layer, key, weight)
        else:
            getattr(layer, key).copy_(weight)
    converge_norms(network)


def _sizes(architecture: Architecture) -> dict[str, object]:
    return {key: value for key, value in describe(architecture).items() if key != "classes"}


def _of_classes(architecture: Architecture) -> set[str]:
    """The names of the weights that have a part for each class."""
    with torch.device("meta"):
        more = replace(architecture, classes=architecture.classes + 1).network().state_dict()  # type: ignore[type-var]
        return {
            name for name, weight in architecture.network().state_dict().items() if weight.shape != more[name].shape
        }
