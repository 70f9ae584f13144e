"""From the weights of a network to its certificate."""

from __future__ import annotations

import hashlib
import itertools
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from zoo import __version__
from zoo.architectures import Architecture, describe
from zoo.architectures.layers import layers_of
from zoo.bounds.estimates import estimate_l2, estimate_linf
from zoo.bounds.liplt import liplt
from zoo.bounds.margins import margin_tables
from zoo.bounds.rounding import OUTWARD, check_arithmetic, propagate
from zoo.bounds.rule import CHANGED, Context, changed_by_hooks, kind_of, matrix_of
from zoo.bounds.spectral import Matrix
from zoo.bounds.table import bound_layer
from zoo.bounds.written import weights_of
from zoo.errors import CertificateError, InputError, UncertifiableLayerError
from zoo.layers import Pixels
from zoo.records import GRAPH_FORMAT, Certificate, LayerBound

CLAIM = (
    "Let x be the tensor given to input `images`. If the graph outputs label y and radius r > 0 for it, then (R) every "
    "real tensor x' of its shape with |x' - x|_2 <= r has N(x') uniquely maximal at y, N being the network in exact "
    "arithmetic with the weights of model.safetensors; and (D) the same graph, run in IEEE-754 binary64 under the "
    "stated model of arithmetic, answers y for each such representable x'."
)
UNIT = "l2 norm over the whole input tensor, a pixel's channel spanning [0, 1], at the model's own resolution"
LINF_CLAIM = CLAIM.replace("|x' - x|_2", "|x' - x|_inf")
LINF_UNIT = UNIT.replace("l2 norm", "l-infinity norm")
DOMAIN = (
    "Inputs in [0, 1]; one with a value outside, NaN or infinite gets radius 0. Points x' of the ball are clamped to "
    "[0, 1] by the network's first layer, so they need not lie in the box. Decoding, resizing and cropping an image "
    "happen before x and are not covered; nor does the certificate say that y is correct."
)
ARITHMETIC = (
    "IEEE-754 binary64, round to nearest, on the float32 weights as stored; sums of products in any order, with or "
    "without fused multiply-add, but no kernel that computes a product otherwise (Strassen, Winograd, FFT). Where the "
    "graph has Toom-Cook products for a convolution, these are what is bounded, and so are the plain sums over its "
    "taps. Rounding is bounded a priori and subtracted."
)
COMPOSITION = "product of layer bounds, times |h_j - h_i| for the rows of the head (K_ji = |w_j - w_i| K_body)"
COMPOSITION_LIPLT = (
    f"for each pair of classes the smaller of two: {COMPOSITION}; LipLT, `pairwise` (Fazlyab et al. 2023, Theorem 3.3, "
    "its norms proved)"
)
LINF_COMPOSITION = (
    "product of layer bounds in l-infinity, times |h_j - h_i|_1 for rows of the head (K_ji = |w_j - w_i|_1 K_body); "
    "or, where that is more, the largest level at which interval propagation from the box around x, cut to [0, 1], "
    "keeps f_j above f_i"
)
STATEMENTS = {"l2": (CLAIM, UNIT, COMPOSITION), "linf": (LINF_CLAIM, LINF_UNIT, LINF_COMPOSITION)}

MAX_LEVELS = 16

Advance = Callable[[str, int], None]  # a layer's name, and how many matrices its proof factors (0: one is done)


@torch.inference_mode(False)  # the proof takes gradients, whatever the caller has turned off
@torch.enable_grad()
def certify(
    network: nn.Sequential,
    input_shape: Sequence[int],
    norm: str = "l2",
    levels: Sequence[float] = (),
    *,
    name: str = "network",
    architecture: Architecture | None = None,
    weights_sha256: str | None = None,
    advance: Advance = lambda layer, total: None,
    taus: Mapping[str, float] | None = None,
    estimates: bool = True,
) -> Certificate:
    """A certificate for exactly the tensors of `network`, in the norm "l2" or "linf"; `zoo.CertifiedModel.of` takes it.

    The network is an nn.Sequential in evaluation mode: a `zoo.layers.Pixels`, which sets the domain [0, 1], then layers
    that have a rule in the norm (the table `zoo.bounds.table` lists them), then an nn.Linear with a bias.

    input_shape: channels, height and width of an image.
    levels: in l-infinity, the radii that interval propagation tries as well.
    name, architecture, weights_sha256: what the certificate calls the network, its form and its weights; without them
        the form is the list of its layers, and the weights are those of the file that `zoo.publish` writes for it.
    advance: called with a layer's name and how many matrices its proof factors, then with 0 after each.
    taus: where each layer's proof starts, from an earlier certificate; without them they are found.
    estimates: whether each layer's constant is estimated as well, which says how tight its bound is; else they are 0.
    Raises UncertifiableLayerError, which names the layer, for any other network; InputError for an input_shape that is
    none; CertificateError for another norm, for levels that are not positive and rising or not in l-infinity, and in a
    thread that flushes subnormal numbers.

    >>> body = Pixels([0.5], [2.0]), nn.Flatten(), nn.Linear(784, 32), nn.ReLU()
    >>> network = nn.Sequential(*body, nn.Linear(32, 10)).eval()
    >>> [layer.kind for layer in certify(network, (1, 28, 28)).layers]
    ['Pixels', 'Flatten', 'Linear', 'ReLU']
    """
    head_name, head = _checked_head(network, input_shape, norm, levels)
    taus = taus or {}
    layers: list[LayerBound] = []
    shape: tuple[int, ...] = tuple(input_shape)
    for layer_name, layer in list(network._modules.items())[:-1]:  # named_children() skips one that stands twice
        context = Context(layer_name, shape, partial(advance, layer_name), taus, norm)
        bound = bound_layer(layer, context)
        estimate = (estimate_l2 if norm == "l2" else estimate_linf)(layer, shape) if estimates else 0.0
        estimate = estimate if math.isfinite(estimate) else 0.0  # at most the constant, where float32 overflows too
        layers.append(LayerBound(layer_name, type(layer).__name__, shape, lipschitz_estimate=estimate, **vars(bound)))
        shape = bound.output_shape
    # The head gets no layer record: its bound is the table K. The rules still check its type, numbers and shape.
    head_context = Context(head_name, shape)
    if changed_by_hooks(head):
        raise head_context.refuse(CHANGED)
    weight, bias = matrix_of(head, head_context), head_context.exact(head.bias, head.out_features)
    claim, unit, composition = STATEMENTS[norm]
    pairwise = None
    if norm == "l2":
        with suppress(UncertifiableLayerError):  # where LipLT does not apply, the product bound is all
            found = liplt(network, layers)
            composition = COMPOSITION_LIPLT
            pairwise = tuple(found.pairwise[np.tril_indices(len(found.pairwise), -1)].tolist())
    return Certificate(
        name=name,
        claim=claim,
        norm=norm,
        unit=unit,
        domain=DOMAIN,
        arithmetic=ARITHMETIC,
        composition=composition,
        architecture=describe(architecture or layers_of(network, input_shape)),
        weights_sha256=weights_sha256 or hashlib.sha256(save(weights_of(network))).hexdigest(),
        layers=tuple(layers),
        **compose(layers, weight, bias, input_shape, norm, pairwise),
        pairwise=pairwise,
        versions={
            "certified-zoo": __version__,
            "numpy": np.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        levels=tuple(map(float, levels)),
        graph_format=GRAPH_FORMAT,
    )


def _checked_head(
    network: nn.Sequential, input_shape: Sequence[int], norm: str, levels: Sequence[float]
) -> tuple[str, nn.Linear]:
    """The network's last layer and its name; raises what `certify` refuses before it looks at the layers between."""
    check_arithmetic()
    sides = input_shape if isinstance(input_shape, tuple | list) else ()
    if not (len(sides) == 3 and all(isinstance(side, int) and side > 0 for side in sides)):
        raise InputError(f"input_shape is channels, height and width of an image, got {str(input_shape)[:80]}")
    if not isinstance(norm, str) or norm not in STATEMENTS:
        raise CertificateError(f"the norm is one of {', '.join(STATEMENTS)}, got {str(norm)[:40]!r}")
    if norm != "linf" and levels:
        raise CertificateError(f"levels are tried in linf only, the norm is {norm}")
    if len(levels) > MAX_LEVELS or not all(low < high for low, high in itertools.pairwise((0.0, *levels, math.inf))):
        raise CertificateError(f"expected at most {MAX_LEVELS} levels, positive and rising, got {str(levels)[:80]}")
    if type(network) is not nn.Sequential or len(network) < 2 or changed_by_hooks(network):
        raise UncertifiableLayerError(
            f"only a plain nn.Sequential of two layers or more is certified, got {kind_of(network)}"
        )
    first, head, head_name = network[0], network[-1], list(network._modules)[-1]
    if type(first) is not Pixels:
        raise UncertifiableLayerError(
            f"the first layer must be zoo.layers.Pixels, which sets the domain [0, 1], got {type(first).__name__}"
        )
    if type(head) is not nn.Linear or head.bias is None or head.out_features < 2:
        raise UncertifiableLayerError(f"the last layer, {head_name!r}, must be a Linear with a bias and two classes")
    return head_name, head


def compose(
    layers: Sequence[LayerBound],
    weight: Matrix,
    bias: Matrix,
    input_shape: Sequence[int],
    norm: str = "l2",
    pairwise: Sequence[float] | None = None,
) -> dict[str, Any]:
    """The fields of a certificate that follow from its layers, its pairwise constants and the head's weights.

    They have the same bits on every machine.
    """
    body_lipschitz = math.prod(layer.lipschitz_bound * OUTWARD for layer in layers) * OUTWARD
    domain_norm = math.sqrt(math.prod(input_shape)) if norm == "l2" else 1.0
    feature_norm, feature_error = propagate(layers, domain_norm * OUTWARD)
    tables = margin_tables(weight, bias, body_lipschitz, feature_norm, feature_error, norm, pairwise)
    return {
        "body_lipschitz": body_lipschitz,
        "feature_norm": feature_norm,
        "feature_error": feature_error,
        "tables_sha256": tables.sha256(),
    }
