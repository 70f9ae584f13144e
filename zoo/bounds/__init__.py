"""Proved Lipschitz bounds in l2, one rule per layer type.

The table `RULES` is keyed by the *exact* type: a subclass may compute something else, so it inherits no rule. A type
without a rule, and an option that the rule does not prove, raise UncertifiableLayerError; nothing counts as 1 by
default.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from torch import nn

from zoo.bounds.attention import self_attention
from zoo.bounds.convolution import convolution_norm, output_shape
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
from zoo.bounds.rule import Bound, Context, l2, schur_bound
from zoo.layers import (
    ConvExponential,
    ConvexPotential,
    FirstChannels,
    Householder,
    MinMax,
    PadChannels,
    PatchPool,
    Pixels,
    Residual,
    SelfAttention,
    TokenLinear,
)

__all__ = ["RULES", "Bound", "Context", "bound_layer", "changed_by_hooks"]


def bound_layer(layer: nn.Module, context: Context) -> Bound:
    """The proved bound of one layer. Raises UncertifiableLayerError where there is no proof."""
    rule = RULES.get(type(layer))
    if rule is None:
        known = ", ".join(sorted(kind.__name__ for kind in RULES))
        raise context.refuse(f"no rule for {type(layer).__name__}; there are rules for {known}")
    if changed_by_hooks(layer):
        raise context.refuse("a hook or a replaced method changes what it computes")
    return rule(layer, context)


def changed_by_hooks(layer: nn.Module) -> bool:
    """Whether something besides its class decides what the layer computes: a hook, or a method of its own."""
    replaced = any(callable(getattr(type(layer), name, None)) for name in vars(layer))
    return bool(layer._forward_hooks or layer._forward_pre_hooks or replaced)


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
    if context.input_shape != (layer.in_features,):
        raise context.refuse(f"it expects [{layer.in_features}], its input has the shape {list(context.input_shape)}")
    weight = context.exact(layer.weight, layer.out_features, layer.in_features)
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
    shape = context.map_shape()
    for option, proved in (("groups", 1), ("dilation", (1, 1)), ("padding_mode", "zeros")):
        if getattr(layer, option) != proved:
            raise context.refuse(f"{option}={getattr(layer, option)!r} is not proved, only {proved!r}")
    if isinstance(layer.padding, str):
        raise context.refuse(f"padding={layer.padding!r} is not proved, only numbers")
    if shape[0] != layer.in_channels:
        raise context.refuse(f"it has {layer.in_channels} input channels, its input {shape[0]}")
    outputs = output_shape(layer, shape)
    if min(outputs) < 1:
        raise context.refuse(f"its kernel does not fit a map of {shape[1]} x {shape[2]}")
    kernel = context.exact(layer.weight, layer.out_channels, layer.in_channels, *layer.kernel_size)
    method, proof, torus = convolution_norm(kernel, layer, shape, context)
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
