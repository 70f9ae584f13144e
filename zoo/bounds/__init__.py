"""Proved Lipschitz bounds in l2 or in l-infinity, one rule per layer type and norm.

The tables `RULES` (l2) and `LINF_RULES` are keyed by the *exact* type: a subclass may compute something else, so it
inherits no rule. A type without a rule, and an option that the rule does not prove, raise UncertifiableLayerError;
nothing counts as 1 by default.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from torch import nn
from torch.nn.modules import module

from zoo.bounds import linf
from zoo.bounds.attention import self_attention
from zoo.bounds.convolution import convolution_norm, kernel_of
from zoo.bounds.nonlinear import (
    conv_exponential,
    convex_potential,
    first_channels,
    householder,
    pad_channels,
    patch_pool,
    space_to_depth,
    token_linear,
)
from zoo.bounds.residual import residual
from zoo.bounds.rule import Bound, Context, l2, matrix_of, schur_bound
from zoo.layers import (
    ConvExponential,
    ConvexPotential,
    FirstChannels,
    Householder,
    LInfDistance,
    MinMax,
    PadChannels,
    PatchPool,
    Pixels,
    Residual,
    SelfAttention,
    TokenLinear,
)

__all__ = ["LINF_RULES", "RULES", "Bound", "Context", "bound_layer", "changed_by_hooks"]


def bound_layer(layer: nn.Module, context: Context) -> Bound:
    """The proved bound of one layer. Raises UncertifiableLayerError where there is no proof."""
    rules = TABLES[context.norm]
    rule = rules.get(type(layer))
    if rule is None:
        known = ", ".join(sorted(kind.__name__ for kind in rules))
        raise context.refuse(f"no rule for {type(layer).__name__} in {context.norm}; there are rules for {known}")
    if changed_by_hooks(layer):
        raise context.refuse("a hook or a replaced method changes what it computes")
    return rule(layer, context)


def changed_by_hooks(layer: nn.Module) -> bool:
    """Whether something besides its class decides what the layer computes: a hook, also of all, or its own method."""
    replaced = any(callable(getattr(type(layer), name, None)) for name in vars(layer))
    of_all = module._global_forward_hooks or module._global_forward_pre_hooks
    return bool(layer._forward_hooks or layer._forward_pre_hooks or of_all or replaced)


def _pixels(layer: Pixels, context: Context) -> Bound:
    """x -> (clamp(x, 0, 1) - mean) * scale: Lipschitz max |scale|; the clamp is 1-Lipschitz and exact."""
    channels, rows, columns = context.map_shape()
    mean, scale = context.exact(layer.mean, channels), np.abs(context.exact(layer.scale, channels))
    pixels = rows * columns
    reach = np.maximum(np.abs(mean), np.abs(1.0 - mean)) * scale
    return Bound(
        context.input_shape,
        float(scale.max()),
        "scale",
        {},
        fan_in=1,
        absolute_norm=float(scale.max()),
        offset_norm=l2(mean * scale, pixels),
        range_norm=l2(reach, pixels),
    )


def _nonexpansive(layer: nn.Module, context: Context) -> Bound:
    """ReLU and MinMax: 1-Lipschitz, 0 to 0, and exact in floating point, for they only choose among their inputs."""
    if isinstance(layer, MinMax) and layer.pairing == "halves" and context.input_shape[0] % 2:
        raise context.refuse(f"halves of {context.input_shape[0]} channels do not pair")
    return Bound(context.input_shape, 1.0, "nonexpansive", {})


def _flatten(layer: nn.Flatten, context: Context) -> Bound:
    if (layer.start_dim, layer.end_dim) != (1, -1):
        raise context.refuse("only a flattening of all dimensions but the batch is proved")
    return Bound((math.prod(context.input_shape),), 1.0, "nonexpansive", {})


def _linear(layer: nn.Linear, context: Context) -> Bound:
    weight = matrix_of(layer, context)
    proof = context.prove([(weight, None)])
    return Bound(
        (layer.out_features,),
        proof.bound,
        "gram-cholesky",
        asdict(proof),
        fan_in=layer.in_features,
        absolute_norm=schur_bound(np.abs(weight)),
        offset_norm=l2(context.exact(layer.bias, layer.out_features)),
    )


def _convolution(layer: nn.Conv2d, context: Context) -> Bound:
    kernel, outputs = kernel_of(layer, context)
    method, proof, torus = convolution_norm(kernel, layer, context.map_shape(), context)
    return Bound(
        outputs,
        proof.bound,
        method,
        {**asdict(proof), **torus},
        fan_in=math.prod(kernel.shape[1:]),
        absolute_norm=schur_bound(np.abs(kernel).sum(axis=(2, 3))),
        offset_norm=l2(context.exact(layer.bias, layer.out_channels), outputs[1] * outputs[2]),
    )


def _residual(layer: Residual, context: Context) -> Bound:
    if type(layer.branch) is not nn.Sequential or changed_by_hooks(layer.branch):
        raise context.refuse("its branch is not a plain nn.Sequential")
    return residual(layer, context, bound_layer)


RULES: dict[type[nn.Module], Callable[..., Bound]] = {
    Pixels: _pixels,
    MinMax: _nonexpansive,
    nn.ReLU: _nonexpansive,
    nn.Flatten: _flatten,
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
    Residual: _residual,
    PadChannels: pad_channels,
    FirstChannels: first_channels,
    nn.PixelUnshuffle: space_to_depth,
    PatchPool: patch_pool,
    ConvexPotential: convex_potential,
    ConvExponential: conv_exponential,
    Householder: householder,
    TokenLinear: token_linear,
    SelfAttention: self_attention,
}

LINF_RULES: dict[type[nn.Module], Callable[..., Bound]] = {
    Pixels: linf.pixels,
    MinMax: _nonexpansive,
    nn.ReLU: _nonexpansive,
    nn.Flatten: _flatten,
    nn.Linear: linf.linear,
    nn.Conv2d: linf.convolution,
    LInfDistance: linf.distance,
    Residual: _residual,
    PadChannels: pad_channels,
    FirstChannels: first_channels,
    nn.PixelUnshuffle: space_to_depth,
}

TABLES = {"l2": RULES, "linf": LINF_RULES}
