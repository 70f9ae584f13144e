"""One row for each layer type: all that the proof and the graph know of it.

The table is keyed by the *exact* type: a subclass may compute something else, so it inherits no row. A type without a
row, and an option that its rule does not prove, raise UncertifiableLayerError; nothing counts as 1 by default.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from zoo.bounds.attention import self_attention
from zoo.bounds.fixed import (
    first_channels,
    flatten,
    nonexpansive,
    pad_channels,
    patch_pool,
    pixels,
    space_to_depth,
)
from zoo.bounds.linear import (
    apply_convolution,
    apply_fixed,
    apply_linear,
    apply_token_linear,
    convolution,
    linear,
    token_linear,
)
from zoo.bounds.linf import (
    convolution_ends,
    convolution_linf,
    distance_ends,
    distance_linf,
    linear_ends,
    linear_linf,
    monotone,
    pixel_ends,
    pixels_linf,
    residual_ends,
)
from zoo.bounds.orthogonal import conv_exponential, householder
from zoo.bounds.potential import convex_potential
from zoo.bounds.residual import residual
from zoo.bounds.rule import Bound, Context, Row, Rows
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
from zoo.lowering import intervals, layers
from zoo.lowering.values import Value


def _moving(rule: Callable[[Any, Context], Bound], lowering: Callable[..., Value]) -> Row:
    """A layer that only moves its numbers, or adds zeros: the same in either norm."""
    return Row(rule, rule, monotone, apply_fixed, None, "single", lowering, intervals.monotone)


TABLE: Rows = {
    # l2, l-infinity, intervals, linear, slopes, record, lowering, ends
    Pixels: Row(pixels, pixels_linf, pixel_ends, None, None, "single", layers.pixels, intervals.pixel_ends),
    MinMax: Row(nonexpansive, nonexpansive, monotone, None, None, "single", layers.minmax, intervals.monotone),
    nn.ReLU: Row(nonexpansive, nonexpansive, monotone, None, (0.0, 1.0), "single", layers.relu, intervals.monotone),
    nn.Flatten: _moving(flatten, layers.flatten),
    PadChannels: _moving(pad_channels, layers.pad_channels),
    FirstChannels: _moving(first_channels, layers.first_channels),
    nn.PixelUnshuffle: _moving(space_to_depth, layers.pixel_unshuffle),
    PatchPool: Row(patch_pool, None, None, apply_fixed, None, "single", layers.patch_pool, None),
    nn.Linear: Row(
        linear, linear_linf, linear_ends, apply_linear, None, "single", layers.linear, intervals.linear_ends
    ),
    nn.Conv2d: Row(
        convolution,
        convolution_linf,
        convolution_ends,
        apply_convolution,
        None,
        "single",
        layers.conv2d,
        intervals.convolution_ends,
    ),
    TokenLinear: Row(token_linear, None, None, apply_token_linear, None, "single", layers.token_linear, None),
    ConvexPotential: Row(
        convex_potential, None, None, None, None, "composed, at least 1", layers.convex_potential, None
    ),
    ConvExponential: Row(conv_exponential, None, None, None, None, "composed", layers.conv_exponential, None),
    Householder: Row(householder, None, None, None, None, "single", layers.householder, None),
    SelfAttention: Row(self_attention, None, None, None, None, "composed", layers.self_attention, None),
    LInfDistance: Row(
        None, distance_linf, distance_ends, None, None, "single", layers.linf_distance, intervals.distance_ends
    ),
    Residual: Row(residual, residual, residual_ends, None, None, "composed", layers.residual, intervals.residual_ends),
}
LINEAR = {kind: row.linear for kind, row in TABLE.items() if row.linear is not None}
SLOPES = {kind: row.slopes for kind, row in TABLE.items() if row.slopes is not None}


def bound_layer(layer: nn.Module, context: Context) -> Bound:
    """The proved bound of one layer. Raises UncertifiableLayerError where there is no proof."""
    return replace(context, rows=TABLE).bound(layer)
