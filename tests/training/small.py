"""Small networks that stand in for the papers' in tests."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

from zoo import registry
from zoo.architectures import Architecture
from zoo.architectures.aol import AOLMLP, AOLPatchwise
from zoo.architectures.bronet import BRONet
from zoo.architectures.convnet import ConvNet
from zoo.architectures.distance import DistanceMLP, DistanceNet
from zoo.architectures.fourier import CayleyConvNet, FourierLipConvNet
from zoo.architectures.lbdn import LBDN
from zoo.architectures.lipconvnet import LipConvNet
from zoo.architectures.lipnext import LipNeXt
from zoo.architectures.liresnet import Backbone, LiResNet, PlainConvNet, ResNet
from zoo.architectures.liresnetpp import LiResNetPP
from zoo.architectures.loop import LoopResNet
from zoo.architectures.mlp import TwoMoonsMLP
from zoo.architectures.orthogonal import OrthogonalConvNet
from zoo.architectures.potential import ConvexPotentialNet
from zoo.architectures.sortnet import SortNet
from zoo.architectures.transformer import OLSA, SpatialMLP

SIZES = {
    "depth": 2,
    "width": 8,
    "features": 16,
    "last": 16,
    "dense_depth": 1,
    "hidden": 16,
    "heads": 2,
    "first_reflector": 2,
}


def weights(run: Path) -> dict[str, Tensor]:
    """What a run has published."""
    return load_file(run / "weights.safetensors")


def small_network(name: str) -> str:
    """The smallest registered model whose network is made and constrained as that of `name`."""
    architecture = registry.find(name).architecture
    match architecture:
        case OrthogonalConvNet():
            return f"2c2f-{architecture.method}-cifar10-jpeg75"
        case AOLPatchwise():
            return "aol-patchwise-xs-cifar10-jpeg75"
        case AOLMLP():
            return "aol-mlp-4x512-cifar10-jpeg75"
        case BRONet():
            return "bronet-l4w32-la-cifar10-jpeg75"
        case LiResNetPP():
            return "liresnetpp-l4w32-cifar10-jpeg75"
        case ConvNet():
            return "2c2f-mnist" if architecture.activation == "minmax" else "2c2f-relu-mnist"
        case ConvexPotentialNet():
            return f"{architecture.method}-xs-cifar10-jpeg75"
        case LipConvNet():
            return "lipconvnet-5w8-cifar10-jpeg75"
        case CayleyConvNet():
            return "kwsmall-cayley-cifar10-jpeg75"
        case FourierLipConvNet():
            return f"lipconvnet-5w8-{architecture.method}-cifar10-jpeg75"
        case LipNeXt():
            return "lipnext-l4w64-cifar10-jpeg75"
        case LBDN():
            return "lbdn-xs-cifar10-jpeg75"
        case SpatialMLP():
            return f"spatialmlp-{architecture.feedforward}-l4w32-cifar10-jpeg75"
        case OLSA():
            return f"olsa-{architecture.feedforward}-l4w32-cifar10-jpeg75"
        case SortNet():
            return "sortnet-5x256-mnist"
        case DistanceMLP():
            return "linfdist-mlp-5x256-mnist"
        case DistanceNet():
            return "linfdist-5x256-mnist"
        case LoopResNet():
            return "loopresnet-d2w8-mnist"
        case TwoMoonsMLP():
            return "mlp-two-moons"
        case Backbone():
            prefix = {LiResNet: "liresnet", PlainConvNet: "convnet", ResNet: "resnet"}[type(architecture)]
            return f"{prefix}-l4w32-cifar10-jpeg75"
    raise AssertionError(f"no small network for {name}")


def narrowed(architecture: Architecture) -> Architecture:
    """The same kind of network on the same images, no wider and no deeper than `SIZES`; a ConvNet's plan stays."""
    sizes = {field.name: getattr(architecture, field.name) for field in fields(architecture)}
    small = {name: min(size, SIZES[name]) for name, size in sizes.items() if name in SIZES}
    if isinstance(architecture, LipConvNet):  # its least depth that has layers of stride 1
        small |= {"depth": 10, "width": 2}
    if isinstance(architecture, AOLPatchwise):
        small |= {"last": 4}
    if isinstance(architecture, AOLMLP):  # no narrower than the classes of its data sets
        small |= {"width": 16}
    return replace(architecture, **small)


def narrow(name: str, patch: pytest.MonkeyPatch) -> None:
    """Make the registered network of this name a narrow one: what is done with it matters, not its size."""
    entry = registry.ENTRIES[name]
    patch.setitem(registry.ENTRIES, name, replace(entry, architecture=narrowed(entry.architecture)))
