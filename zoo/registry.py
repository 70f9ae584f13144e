"""Every model of the zoo by name: `architecture-dataset` or `architecture-training-dataset`, published or not.

Loads no torch. `parameters.json` has the counts that a test counts again. `published.json` pins the sha256 of each
published folder's SHA256SUMS, and so of every byte in it, and has the rates that were measured.
"""

from __future__ import annotations

import difflib
import fnmatch
import json
import re
from dataclasses import dataclass, field, replace
from importlib.resources import files

from zoo.architectures import (
    OLSA,
    Architecture,
    ConvexPotentialNet,
    ConvNet,
    DistanceMLP,
    DistanceNet,
    LipConvNet,
    LiResNet,
    LoopResNet,
    PlainConvNet,
    ResNet,
    SpatialMLP,
    TwoMoonsMLP,
)
from zoo.architectures.convnet import PLANS
from zoo.datasets import DATASETS
from zoo.errors import UnknownModelError


@dataclass(frozen=True)
class Entry:
    """A registered model; where no weights are published, nothing is pinned and nothing was measured."""

    name: str
    architecture: Architecture
    dataset: str
    norm: str = "l2"
    parameters: int | None = None  # None where parameters.json was not written anew: `python -m export.parameters`
    digest: str | None = None  # sha256 of the published SHA256SUMS
    clean_accuracy: float | None = None
    vra: dict[str, float] = field(default_factory=dict)  # by epsilon as text
    epsilon: str = ""  # of these, that which the model was made for


LIRESNETS = {
    # The paper's: its tables name them by depth and width.
    **{f"liresnet-l{depth}w256": LiResNet(depth, 256) for depth in (6, 12, 18, 24, 30, 36)},
    **{f"liresnet-l12w{width}": LiResNet(12, width) for width in (64, 128, 512, 588)},
    "liresnet-l6w128": LiResNet(6, 128),
    # Ours, small enough to train on two CPU cores.
    "liresnet-l6w64": LiResNet(6, 64, features=256),
    "liresnet-l4w32": LiResNet(4, 32, features=256),
}
# What the LiResNet paper compares with, on the data sets of its table 2b.
ABLATIONS = {
    **{f"convnet-l{depth}w256": PlainConvNet(depth, 256) for depth in (6, 12, 18)},
    **{f"resnet-l{depth}w256": ResNet(depth, 256) for depth in (6, 12, 18)},
    "convnet-l4w32": PlainConvNet(4, 32, features=256),
    "resnet-l4w32": ResNet(4, 32, features=256),
}
# Blocks, channels, dense blocks, hidden features; the last is ours, small enough for two CPU cores.
POTENTIAL_SIZES = {
    "s": (20, 45, 7, 2048),
    "m": (30, 60, 10, 2048),
    "l": (50, 90, 10, 2048),
    "xl": (70, 120, 15, 2048),
    "xs": (4, 16, 2, 128),
}
POTENTIALS = {
    f"{method}-{size}": ConvexPotentialNet(method, *sizes)
    for method in ("cpl", "sll")
    for size, sizes in POTENTIAL_SIZES.items()
}
LIPCONVNETS = {
    **{f"lipconvnet-{depth}": LipConvNet(depth) for depth in (5, 10, 15, 20, 40)},
    **{f"lipconvnet-{depth}-minmax": LipConvNet(depth, activation="minmax") for depth in (5, 10, 15, 20, 40)},
    **{f"lipconvnet-{depth}w8": LipConvNet(depth, width=8) for depth in (5, 10)},
}
TRANSFORMERS = {
    **{f"spatialmlp-{kind}-l12w256": SpatialMLP(12, 256, feedforward=kind) for kind in ("liffn", "ffn")},
    **{f"spatialmlp-{kind}-l4w32": SpatialMLP(4, 32, features=256, feedforward=kind) for kind in ("liffn", "ffn")},
    **{f"olsa-{kind}-l12w256": OLSA(12, 256, feedforward=kind) for kind in ("liffn", "ffn")},
    **{f"olsa-{kind}-l4w32": OLSA(4, 32, features=256, feedforward=kind) for kind in ("liffn", "ffn")},
}
# Ours, in CRM's multi-layer structure; the smaller one trains on two CPU cores.
LOOPS = {"loopresnet-d2w8": LoopResNet(2, 8, features=64), "loopresnet-d3w32": LoopResNet(3, 32)}
CONVNETS = {
    **{plan: ConvNet(plan) for plan in PLANS if not plan.endswith("-liplt")},
    **{f"{plan}-relu": ConvNet(plan, "relu") for plan in PLANS if not plan.endswith(("-liplt", "-cll"))},
    # CRM's own, with ReLU: its bound gains nothing from MinMax.
    **{plan: ConvNet(plan, "relu") for plan in PLANS if plan.endswith("-liplt")},
}
PREFIXES: dict[str, Architecture] = {
    **LIRESNETS,
    **ABLATIONS,
    **POTENTIALS,
    **LIPCONVNETS,
    **TRANSFORMERS,
    **LOOPS,
    **CONVNETS,
    "mlp": TwoMoonsMLP(),
}
CIFAR = ("cifar10", "cifar10-jpeg75", "cifar100")
# In l-infinity: the papers' distance nets, small ones for two CPU cores, and the ReLU networks of their tables.
LINF: dict[str, Architecture] = {
    **{f"linfdist-{depth}x{width}": DistanceNet(depth, width) for depth in (5, 6) for width in (256, 5120)},
    **{f"linfdist-mlp-{depth}x{width}": DistanceMLP(depth, width) for depth in (5, 6) for width in (256, 5120)},
    **{f"{plan}-relu-linf": ConvNet(plan, "relu") for plan in ("2c2f", "4c3f")},
}
PAPERS = ("cifar10", "cifar100", "tiny-imagenet")
# Where each network is trained; ConvNet plans were made for one size of image.
PLACES: dict[str, tuple[str, ...]] = {
    "2c2f": ("mnist",),
    "4c3f": ("mnist", *CIFAR),
    "4c3f-cll": CIFAR,
    "6c2f": CIFAR,
    "6c2f-liplt": CIFAR,
    "8c2f": ("tiny-imagenet",),
    "8c2f-w8": ("tiny-imagenet",),
    "8c2f-liplt": ("tiny-imagenet",),
}
# Where one network has several trainings on a data set, each but the first has a word between the two.
TRAININGS: dict[str, tuple[str, ...]] = {
    **{f"{kind}-l12w256-{place}": ("trades",) for kind in ("convnet", "liresnet") for place in PAPERS},
    **{f"liresnet-l12w512-{place}": ("ddpm",) for place in PAPERS},
    "2c2f-mnist": ("cll",),
    "2c2f-relu-mnist": ("crm",),
    "4c3f-relu-mnist": ("crm",),
    "4c3f-cll-cifar10": (
        *(f"p{slack}" for slack in (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)),
        *(f"epsilon{radius}" for radius in (0.25, 0.5, 0.75, 1.0, 1.25)),
    ),
    **{f"6c2f-{place}": ("cll",) for place in ("cifar10", "cifar10-jpeg75")},
    "6c2f-liplt-cifar10": ("epsilon18",),
    "8c2f-tiny-imagenet": ("cll", "cll-epsilon1.0"),
    "8c2f-w8-tiny-imagenet": ("cll",),
    "cpl-xl-cifar10": ("cll",),
    "cpl-xl-cifar100": ("cll",),
    "cpl-xs-cifar10-jpeg75": ("cll",),
    "lipconvnet-5w8-cifar10-jpeg75": ("cll",),
    "lipconvnet-20-cifar10": ("cll",),
    "lipconvnet-20-tiny-imagenet": ("cll",),
    "sll-xl-cifar100": ("cll",),
    "sll-xs-cifar10-jpeg75": ("cll",),
    "linfdist-5x256-mnist": ("epsilon0.1",),
    "linfdist-5x5120-mnist": ("epsilon0.1",),
    "linfdist-6x256-cifar10-jpeg75": ("epsilon2",),
    "linfdist-6x5120-cifar10": ("epsilon2", "epsilon16"),
}


def _places(prefix: str, architecture: Architecture) -> tuple[str, ...]:
    if isinstance(architecture, TwoMoonsMLP):
        return ("two-moons",)
    if isinstance(architecture, DistanceNet):
        return ("mnist",) if architecture.depth == 5 else ("cifar10", "cifar10-jpeg75")
    if isinstance(architecture, ConvNet):
        return PLACES[architecture.plan]
    if prefix in LOOPS:
        return ("mnist", *CIFAR) if architecture == LOOPS["loopresnet-d2w8"] else (*CIFAR, "tiny-imagenet")
    if prefix in LIRESNETS:
        return tuple(name for name, info in DATASETS.items() if not info.made)
    return (*CIFAR, "tiny-imagenet") if prefix in {*POTENTIALS, *LIPCONVNETS, "convnet-l12w256"} else CIFAR


def _entries() -> dict[str, Entry]:
    published, parameters = (
        json.loads(files("zoo").joinpath(name).read_text()) for name in ("published.json", "parameters.json")
    )
    entries = {}
    for prefix, architecture in (PREFIXES | LINF).items():
        for place in _places(prefix, architecture):
            data = DATASETS[place]
            sizes: dict[str, int] = {"input_size": data.size, "channels": data.channels, "classes": data.classes}
            if isinstance(architecture, TwoMoonsMLP):  # made for its data set
                sizes = {}
            if isinstance(architecture, LiResNet) and data.size == 224:
                sizes["features"] = 2048
            norm = "linf" if prefix in LINF else "l2"
            plain = f"{prefix}-{place}"
            for name in (plain, *(f"{prefix}-{training}-{place}" for training in TRAININGS.get(plain, ()))):
                network = replace(architecture, **sizes)
                entries[name] = Entry(name, network, place, norm, parameters.get(name), **published.get(name, {}))
    return {name: entries[name] for name in sorted(entries, key=_natural)}


def _natural(name: str) -> list[tuple[float, str]]:
    """Sorts l6 before l12, and p0.05 before p0.1."""
    return [(float(part), "") if part[0].isdigit() else (0.0, part) for part in re.findall(r"\d+(?:\.\d+)?|\D+", name)]


ENTRIES: dict[str, Entry] = _entries()


def find(name: str) -> Entry:
    """The registered model of this name. Raises UnknownModelError with the nearest names."""
    if name in ENTRIES:
        return ENTRIES[name]
    near = difflib.get_close_matches(name.lower(), ENTRIES, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else "`zoo list` shows all names"
    raise UnknownModelError(f"no model is called {name[:80]!r}: {hint}")


def is_pinned(name: str, digest: str) -> bool:
    """Whether the registry has this name, and this sha256 of its SHA256SUMS."""
    return name in ENTRIES and ENTRIES[name].digest == digest


def list_models(pattern: str = "*", pretrained: bool = False) -> list[str]:
    """The names that match a shell pattern, in order; with `pretrained`, those with published weights only."""
    return [
        name
        for name, entry in ENTRIES.items()
        if fnmatch.fnmatchcase(name, pattern) and (entry.digest or not pretrained)
    ]
