"""Convolutions orthogonal in the Fourier basis: KWLarge by Cayley, LipConvNets by LOT and BRO.

Trockman, Kolter 2021, arXiv 2104.07167; Xu, Li, Li 2022, arXiv 2210.11620; Lai et al. 2025, arXiv 2505.15174. Hardware
and hours are not in the texts that we have. Command: python -m training NAME --output runs/NAME. None of the papers'
rows has been run by us.

Where every recipe here differs: the loss is in units of the margin constants; Cayley's V is no learned multiple of
V / |V|. BRO's settings on LipConvNets are not known, so it has small recipes alone.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

from training.recipes import liresnet, one_lipschitz
from training.recipes.recipe import Paper, Recipe
from zoo.architectures.fourier import CayleyConvNet, FourierLipConvNet
from zoo.registry import ENTRIES


def recipes() -> Iterable[Recipe]:
    for name, entry in ENTRIES.items():
        match entry.architecture:
            case CayleyConvNet() if entry.reported:
                yield cayley(name)
            case FourierLipConvNet(method="lot") if entry.reported:
                yield lot(name)
    yield liresnet.small("kwsmall-cayley-cifar10-jpeg75", Paper.of("kwlarge-cayley-cifar10"))
    yield liresnet.small("lipconvnet-5w8-lot-cifar10-jpeg75", Paper.of("lipconvnet-40-lot-cifar10"))
    yield liresnet.small("lipconvnet-5w8-bro-cifar10-jpeg75", None)


def cayley(name: str) -> Recipe:
    """Adam with a triangle for 200 epochs, the multi-margin loss with margin sqrt(2) / 2; the batch of 128 is ours."""
    return replace(
        one_lipschitz.cpl(name),
        loss_options={"margin": 0.5 * math.sqrt(2)},
        batch_size=128,
        learning_rate=1e-2,
        paper=Paper.of(name),
    )


def lot(name: str) -> Recipe:
    """As SOC's LipConvNets, in batches of 256, and certificates rewarded with weight 0.5."""
    return replace(one_lipschitz.soc(name), batch_size=256, loss_options={"weight": 0.5})
