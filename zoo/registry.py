"""Every model of the zoo by name: `architecture-dataset` or `architecture-training-dataset`, published or not.

Loads no torch, so what torch would tell stands in files: `parameters.json` has each model's number of parameters,
`recipes.json` the names that have a recipe in `training/`. `python -m export.parameters` writes both, and a test checks
them. `published.json` has the rates of each published folder and the sha256 of its SHA256SUMS, which pins every byte.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib.resources import files

from zoo.architectures import NETWORKS, PRESETS, Architecture, Reported
from zoo.data.datasets import DATASETS, DatasetInfo
from zoo.epsilon import parse_epsilon
from zoo.errors import InputError, UnknownModelError, near, one_line
from zoo.shelves import is_here


@dataclass(frozen=True)
class Entry:
    """A registered model; where no weights are published, nothing is pinned and nothing was measured."""

    name: str
    network: str  # its name in `zoo.architectures.NETWORKS`
    architecture: Architecture
    dataset: str
    norm: str = "l2"
    reported: Reported | None = None  # where a paper has this very model
    parameters: int | None = None  # None until `python -m export.parameters` writes parameters.json anew
    digest: str | None = None  # sha256 of the published SHA256SUMS
    clean_accuracy: float | None = None
    vra: dict[str, float] = field(default_factory=dict)  # by epsilon as text
    epsilon: str = ""  # the key of `vra` that the model was made for
    has_recipe: bool = False  # whether a checkout can train it: `python -m training NAME`

    @property
    def training(self) -> str:
        """The part of its name between network and data set, such as "cll" or "p0.4"; mostly empty."""
        return self.name.removeprefix(self.network).removesuffix(self.dataset).strip("-")

    def vra_at(self, epsilon: float) -> float | None:
        """The VRA at this epsilon; None where it was not measured there."""
        return next((rate for text, rate in self.vra.items() if parse_epsilon(text) == epsilon), None)


def _entries() -> dict[str, Entry]:
    published, parameters, recipes = (
        json.loads((files("zoo") / f"{name}.json").read_bytes()) for name in ("published", "parameters", "recipes")
    )
    return {
        name: Entry(
            name,
            preset.network,
            _architecture(preset.network, DATASETS[preset.dataset], preset.sizes),
            preset.dataset,
            preset.norm,
            preset.reported,
            parameters.get(name),
            has_recipe=name in recipes,
            **published.get(name, {}),
        )
        for name, preset in sorted(PRESETS.items(), key=lambda item: _natural(item[0]))
    }


def _architecture(name: str, data: DatasetInfo, others: Mapping[str, int]) -> Architecture:
    """The network with the sizes that its data set asks for, and `others`. Raises ValueError where it has none such."""
    network = NETWORKS[name]
    taken = {one.name for one in fields(network)}
    sizes = {"input_size": data.size, "channels": data.channels, "classes": data.classes}
    return replace(network, **{key: size for key, size in sizes.items() if key in taken}, **others)


def own_entry(network: str, data: DatasetInfo, training: str = "") -> Entry:
    """The entry of this network for a data set that somebody brings.

    Raises InputError where the network does not take its images, or a registered model has the same name.
    """
    name = "-".join(part for part in (network, training, data.name) if part)
    try:
        architecture = _architecture(network, data, {})
    except ValueError as error:
        raise InputError(one_line(error)) from error
    if architecture.input_shape != (data.channels, data.size, data.size) or architecture.classes != data.classes:
        raise InputError(f"{network} is for other data than images")
    if name in ENTRIES:
        raise InputError(f"{name} is a registered model: give your data set another --name than {data.name}")
    (norm,) = {entry.norm for entry in ENTRIES.values() if entry.network == network}
    return Entry(name, network, architecture, data.name, norm)


def _natural(name: str) -> list[tuple[float, str]]:
    """A sort key by which l6 comes before l12, and p0.05 before p0.1."""
    return [(float(part), "") if part[0].isdigit() else (0.0, part) for part in re.findall(r"\d+(?:\.\d+)?|\D+", name)]


ENTRIES: dict[str, Entry] = _entries()


def find(name: str) -> Entry:
    """The registered model of this name. Raises UnknownModelError with the nearest names, first those that load."""
    if name in ENTRIES:
        return ENTRIES[name]
    here = near(name, list_models(pretrained=True))
    others = [f"{other} (no weights here)" for other in near(name, ENTRIES) if other not in here]
    hint = f"did you mean {', '.join(here + others)}?" if here or others else "`zoo list` shows all names"
    raise UnknownModelError(f"no model is called {name[:80]!r}: {hint}")


def list_models(pattern: str = "*", pretrained: bool = False) -> list[str]:
    """The names that match a shell pattern, in order; with `pretrained`, those that `zoo.load` loads offline.

    A published model that is not on this machine has an `Entry.digest`; a hub may have it.

    >>> list_models("liresnet-l12w588-*net")
    ['liresnet-l12w588-imagenet', 'liresnet-l12w588-tiny-imagenet']
    """
    return [
        name
        for name, entry in ENTRIES.items()
        if fnmatch.fnmatchcase(name, pattern) and (not pretrained or (entry.digest and is_here(name, entry.digest)))
    ]
