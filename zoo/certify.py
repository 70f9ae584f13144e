"""From the weights of a network to its certificate."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo import __version__
from zoo.architectures import Architecture, describe
from zoo.bounds import Context, changed_by_hooks, layer_bound
from zoo.bounds.convolution import Convolution, geometry, same_map, symbol_count, torus_sides
from zoo.bounds.margins import margin_tables
from zoo.bounds.spectral import Matrix
from zoo.errors import UncertifiableLayerError
from zoo.layers import ConvExponential, ConvexPotential, Pixels, Residual
from zoo.records import Certificate, LayerBound
from zoo.rounding import OUTWARD, propagate

CLAIM = (
    "Let x be the tensor given to input `images`. If the graph outputs label y and radius r > 0 for it, then (R) every "
    "real tensor x' of its shape with |x' - x|_2 <= r has N(x') uniquely maximal at y, N being the network in exact "
    "arithmetic with the weights of model.safetensors; and (D) the same graph, run in IEEE-754 binary64 under the "
    "stated model of arithmetic, answers y for each such representable x'."
)
UNIT = "l2 norm over the whole input tensor, a pixel's channel spanning [0, 1], at the model's own resolution"
DOMAIN = (
    "Inputs in [0, 1]; one with a value outside, NaN or infinite gets radius 0. Points x' of the ball are clamped to "
    "[0, 1] by the network's first layer, so they need not lie in the box. Decoding, resizing and cropping an image "
    "happen before x and are not covered; nor does the certificate say that y is correct."
)
ARITHMETIC = (
    "IEEE-754 binary64, round to nearest, on the float32 weights as stored; sums of products in any order, with or "
    "without fused multiply-add; no Strassen, Winograd or FFT kernels. Rounding is bounded a priori and subtracted."
)
COMPOSITION = "product of layer bounds, times |h_j - h_i| for the rows of the head (K_ji = |w_j - w_i| K_body)"

Advance = Callable[[str, int], None]  # the layer's name, and how many matrices are still to be factored (0: done one)


def certify(
    network: nn.Sequential,
    name: str,
    architecture: Architecture,
    weights_sha256: str,
    advance: Advance = lambda layer, total: None,
    taus: dict[str, float] | None = None,
) -> Certificate:
    """A certificate for exactly the tensors of `network`.

    taus: where each layer's proof starts, from an earlier certificate; without them they are found.
    Raises UncertifiableLayerError where the network is not a `Pixels`, then layers that have a rule, then a `Linear`.
    """
    if type(network) is not nn.Sequential or len(network) < 2 or changed_by_hooks(network):
        raise UncertifiableLayerError(f"only a plain nn.Sequential is certified, got {type(network).__name__}")
    children = list(network._modules.items())  # named_children() would skip a layer that stands twice
    (head_name, head), first = children[-1], network[0]
    if type(first) is not Pixels:
        raise UncertifiableLayerError(
            f"the first layer must be Pixels, which sets the domain, got {type(first).__name__}"
        )
    if type(head) is not nn.Linear or head.bias is None:
        raise UncertifiableLayerError(f"the last layer, {head_name!r}, must be a Linear with a bias")
    layers: list[LayerBound] = []
    shape: tuple[int, ...] = architecture.input_shape
    for layer_name, layer in children[:-1]:
        advance(layer_name, matrices_to_factor(layer, shape))
        context = Context(layer_name, shape, (taus or {}).get(layer_name, 0.0), lambda n=layer_name: advance(n, 0))
        layers.append(layer_bound(layer_name, layer, context, estimate_norm(layer, shape)))
        shape = layers[-1].output_shape
    # The head gets no layer record: its bound is the table K. The rules still check its type, numbers and shape.
    head_context = Context(head_name, shape)
    if shape != (head.in_features,):
        raise head_context.refuse(f"it expects [{head.in_features}], its input has the shape {list(shape)}")
    weight, bias = head_context.exact(head.weight), head_context.exact(head.bias)
    return Certificate(
        name=name,
        claim=CLAIM,
        norm="l2",
        unit=UNIT,
        domain=DOMAIN,
        arithmetic=ARITHMETIC,
        composition=COMPOSITION,
        architecture=describe(architecture),
        weights_sha256=weights_sha256,
        layers=tuple(layers),
        **compose(layers, weight, bias, architecture),
        versions={
            "certified-zoo": __version__,
            "numpy": np.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    )


def compose(layers: Sequence[LayerBound], weight: Matrix, bias: Matrix, architecture: Architecture) -> dict[str, Any]:
    """What a certificate says that follows from its layers and the head's weights: the same bits on every machine."""
    body_lipschitz = math.prod(layer.lipschitz_bound * OUTWARD for layer in layers) * OUTWARD
    norm, error = propagate(layers, math.sqrt(math.prod(architecture.input_shape)) * OUTWARD)
    return {
        "body_lipschitz": body_lipschitz,
        "feature_norm": norm,
        "feature_error": error,
        "tables_sha256": margin_tables(weight, bias, body_lipschitz, norm, error).sha256(),
    }


def matrices_to_factor(layer: nn.Module | Convolution, shape: tuple[int, ...]) -> int:
    """How many Cholesky factorisations the layer's proof takes, for a progress bar."""
    if isinstance(layer, Residual):
        return sum(matrices_to_factor(inner, shape) for inner in layer.branch)
    if isinstance(layer, ConvExponential) and len(shape) == 3:
        return symbol_count((1, 1), torus_sides(same_map(layer.weight.shape), shape))
    if isinstance(layer, ConvexPotential) and layer.weight.ndim == 4 and len(shape) == 3:
        layer = same_map(layer.weight.shape)
    if isinstance(layer, nn.Conv2d | Convolution) and len(shape) == 3 and geometry(layer, shape) == "torus":
        return symbol_count((layer.stride[0], layer.stride[1]), torus_sides(layer, shape))
    return 1


def estimate_norm(layer: nn.Module, shape: tuple[int, ...], iterations: int = 100) -> float:
    """At most the layer's Lipschitz constant, up to rounding: power iteration on its Jacobian at one random point.

    A linear layer's Jacobian is the true zero-padded operator.
    """
    if isinstance(layer, Pixels):
        return float(layer.scale.abs().max())
    if next(layer.parameters(), None) is None:
        return 1.0
    generator = torch.Generator().manual_seed(0)
    vector, point = (torch.randn(1, *shape, generator=generator) for _ in range(2))
    jacobian, transposed = _linearised(layer, point)
    norm = 0.0
    for _ in range(iterations):
        image = jacobian(vector)
        norm = float(image.norm() / vector.norm())
        vector = transposed(image)
        length = float(vector.norm())
        if length == 0.0:
            return norm
        vector = vector / length
    return norm


def _linearised(layer: nn.Module, point: Tensor) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """v -> J v and u -> J^T u for the layer's Jacobian J at the point."""
    point = point.requires_grad_(True)
    output = layer(point)
    if isinstance(layer, nn.Linear | nn.Conv2d):

        def jacobian(vector: Tensor) -> Tensor:
            if isinstance(layer, nn.Linear):
                return F.linear(vector, layer.weight).detach()
            return (layer(vector) - layer(torch.zeros_like(point))).detach()
    else:
        cotangent = torch.zeros_like(output, requires_grad=True)
        (pulled,) = torch.autograd.grad(output, point, cotangent, create_graph=True)

        def jacobian(vector: Tensor) -> Tensor:
            return torch.autograd.grad(pulled, cotangent, vector, retain_graph=True)[0]

    def transposed(image: Tensor) -> Tensor:
        return torch.autograd.grad(output, point, image, retain_graph=True)[0]

    return jacobian, transposed
