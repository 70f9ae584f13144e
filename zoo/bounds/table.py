"""One row for each layer type: all that the proof and the graph know of it.

The table is keyed by the *exact* type: a subclass may compute something else, so it inherits no row. A type without a
row, and an option that its rule does not prove, raise UncertifiableLayerError; nothing counts as 1 by default.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from zoo.bounds import fixed, linear, linf
from zoo.bounds.attention import self_attention
from zoo.bounds.form import (
    AXIS,
    BIAS,
    FLAG,
    LAYER,
    LAYERS,
    MAX_SIDE,
    NUMBER,
    PADDING,
    SIDES,
    SIZE,
    Form,
    one_of,
    several,
    two,
    whole,
)
from zoo.bounds.frequency import frequency_conv, sandwich
from zoo.bounds.orthogonal import MAX_TERMS, conv_exponential, householder
from zoo.bounds.pooling import average_pool, average_pool_linf, max_pool
from zoo.bounds.potential import convex_potential
from zoo.bounds.residual import residual
from zoo.bounds.rule import Bound, Checked, Context, Row, Rows
from zoo.layers import (
    Abs,
    ConvExponential,
    ConvexPotential,
    FirstChannels,
    FrequencyConv,
    GroupSort,
    Householder,
    L2Pool,
    LInfDistance,
    MinMax,
    PadChannels,
    PatchPool,
    Pixels,
    PositionOffset,
    Residual,
    Sandwich,
    SelfAttention,
    SortedDistance,
    SpatialShift,
    TokenLinear,
)
from zoo.layers.frequency import MAX_TORUS
from zoo.lowering import frequency, intervals, layers, taps
from zoo.lowering import pooling as pools
from zoo.lowering.values import Value


def _both(
    rule: Callable[[Any, Context], Bound],
    ends: Callable[..., tuple[Tensor, Tensor]],
    lowering: Callable[..., Value],
    lowered_ends: Callable[..., tuple[Value, Value]],
    form: Form,
    apply: Callable[[Any, Tensor | None, Tensor], Tensor] | None = None,
    checked: Checked = "single",
) -> Row:
    """A layer whose rule holds in both norms."""
    return Row(
        l2=rule,
        linf=rule,
        intervals=ends,
        linear=apply,
        slopes=None,
        checked=checked,
        lowering=lowering,
        ends=lowered_ends,
        form=form,
    )


def _moving(rule: Callable[[Any, Context], Bound], lowering: Callable[..., Value], form: Form) -> Row:
    """A layer that only moves its numbers, drops some or adds zeros; its rule holds in both norms."""
    return _both(rule, linf.monotone, lowering, intervals.monotone, form, linear.apply_fixed)


def _activation(
    slopes: tuple[float, float] | None,
    lowering: Callable[..., Value],
    form: Form,
    rule: Callable[[Any, Context], Bound] = fixed.nonexpansive,
) -> Row:
    """An activation of which no output falls when an input rises; its rule holds in both norms."""
    return Row(
        l2=rule,
        linf=rule,
        intervals=linf.monotone,
        linear=None,
        slopes=slopes,
        checked="single",
        lowering=lowering,
        ends=intervals.monotone,
        form=form,
    )


def _l2(
    rule: Callable[[Any, Context], Bound],
    checked: Checked,
    lowering: Callable[..., Value],
    form: Form,
    apply: Callable[[Any, Tensor | None, Tensor], Tensor] | None = None,
) -> Row:
    """A layer that has a rule in l2 alone."""
    return Row(
        l2=rule,
        linf=None,
        intervals=None,
        linear=apply,
        slopes=None,
        checked=checked,
        lowering=lowering,
        ends=None,
        form=form,
    )


def _average(form: Form) -> Row:
    return Row(
        l2=average_pool,
        linf=average_pool_linf,
        intervals=linf.monotone,
        linear=linear.apply_fixed,
        slopes=None,
        checked="composed",
        lowering=pools.average_pool,
        ends=intervals.monotone,
        form=form,
    )


def _batch_norm(bias: bool, **arguments: Any) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(**arguments)
    if not bias:
        layer.register_parameter("bias", None)
    return layer


def _pixels(channels: int) -> Pixels:
    return Pixels([0.0] * channels, [1.0] * channels)


def _residual(branch: nn.Sequential, skip: nn.Module | None) -> Residual:
    block = Residual(skip=skip)
    block.branch = branch
    return block


SIDE = whole(1, MAX_SIDE)
CHANNELS = SIZE.of(lambda layer: layer.weight.shape[1])  # for layers that keep no sizes but their weight's shape
ROWS = SIZE.of(lambda layer: len(layer.weight))
TORUS = whole(1, MAX_TORUS)

TABLE: Rows = {
    Pixels: _both(
        fixed.pixels,
        linf.pixel_ends,
        layers.pixels,
        intervals.pixel_ends,
        Form(_pixels, channels=SIZE.of(lambda layer: len(layer.mean))),
    ),
    MinMax: _activation(None, layers.minmax, Form(MinMax, pairing=one_of("halves", "neighbours"))),
    nn.ReLU: _activation((0.0, 1.0), layers.relu, Form(nn.ReLU)),
    nn.LeakyReLU: _activation(
        (0.0, 1.0), layers.leaky_relu, Form(nn.LeakyReLU, negative_slope=NUMBER), fixed.leaky_relu
    ),
    nn.Hardtanh: _activation(
        (0.0, 1.0), layers.hardtanh, Form(nn.Hardtanh, min_val=NUMBER, max_val=NUMBER), fixed.hardtanh
    ),
    GroupSort: _activation(None, layers.group_sort, Form(GroupSort, size=SIZE), fixed.group_sort),
    Abs: _both(
        fixed.absolute, linf.absolute_ends, layers.absolute, intervals.absolute_ends, Form(Abs, channels=SIZE.or_null())
    ),
    nn.Identity: _moving(fixed.nonexpansive, layers.identity, Form(nn.Identity)),
    nn.Dropout: _moving(fixed.nonexpansive, layers.identity, Form(nn.Dropout, p=NUMBER)),
    nn.Unflatten: _moving(
        fixed.unflatten, layers.unflatten, Form(nn.Unflatten, dim=AXIS, unflattened_size=several(SIZE))
    ),
    nn.ChannelShuffle: _moving(fixed.channel_shuffle, layers.channel_shuffle, Form(nn.ChannelShuffle, groups=SIZE)),
    SpatialShift: _moving(fixed.spatial_shift, layers.spatial_shift, Form(SpatialShift, group=SIZE)),
    PositionOffset: _l2(
        linear.position_offset,
        "single",
        layers.position_offset,
        Form(
            PositionOffset,
            rows=SIZE.of(lambda layer: layer.weight.shape[0]),
            columns=SIZE.of(lambda layer: layer.weight.shape[1]),
        ),
    ),
    L2Pool: _l2(fixed.l2_pool, "single", layers.l2_pool, Form(L2Pool, size=SIDE)),
    nn.AvgPool2d: _average(
        Form(
            nn.AvgPool2d,
            kernel_size=SIDES,
            stride=SIDES,
            padding=PADDING,
            ceil_mode=FLAG,
            count_include_pad=FLAG,
            divisor_override=SIZE.or_null(),
        )
    ),
    nn.AdaptiveAvgPool2d: _average(Form(nn.AdaptiveAvgPool2d, output_size=two(SIZE.or_null()))),
    nn.MaxPool2d: _both(
        max_pool,
        linf.monotone,
        pools.max_pool,
        intervals.monotone,
        Form(
            nn.MaxPool2d,
            kernel_size=SIDES,
            stride=SIDES,
            padding=PADDING,
            dilation=SIDES,
            return_indices=FLAG,
            ceil_mode=FLAG,
        ),
    ),
    nn.BatchNorm2d: _both(
        linear.batch_norm,
        linf.batch_norm_ends,
        layers.batch_norm,
        intervals.batch_norm_ends,
        Form(
            _batch_norm,
            num_features=SIZE,
            eps=NUMBER,
            momentum=NUMBER.or_null(),
            affine=FLAG,
            bias=BIAS,
            track_running_stats=FLAG,
        ),
        linear.apply_batch_norm,
    ),
    nn.Flatten: _moving(fixed.flatten, layers.flatten, Form(nn.Flatten, start_dim=AXIS, end_dim=AXIS)),
    PadChannels: _moving(fixed.pad_channels, layers.pad_channels, Form(PadChannels, channels=SIZE)),
    FirstChannels: _moving(fixed.first_channels, layers.first_channels, Form(FirstChannels, channels=SIZE)),
    nn.PixelUnshuffle: _moving(
        fixed.space_to_depth, layers.pixel_unshuffle, Form(nn.PixelUnshuffle, downscale_factor=SIDE)
    ),
    PatchPool: _l2(fixed.patch_pool, "single", layers.patch_pool, Form(PatchPool, size=SIDE), linear.apply_fixed),
    nn.Linear: Row(
        l2=linear.linear,
        linf=linf.linear_linf,
        intervals=linf.linear_ends,
        linear=linear.apply_linear,
        slopes=None,
        checked="single",
        lowering=layers.linear,
        ends=intervals.linear_ends,
        form=Form(nn.Linear, in_features=SIZE, out_features=SIZE, bias=BIAS),
    ),
    nn.Conv2d: Row(
        l2=linear.convolution,
        linf=linf.convolution_linf,
        intervals=linf.convolution_ends,
        linear=linear.apply_convolution,
        slopes=None,
        checked="single",
        lowering=layers.conv2d,
        ends=intervals.convolution_ends,
        form=Form(
            nn.Conv2d,
            in_channels=SIZE,
            out_channels=SIZE,
            kernel_size=SIDES,
            stride=SIDES,
            padding=PADDING,
            dilation=SIDES,
            groups=SIZE,
            bias=BIAS,
            padding_mode=one_of("zeros", "circular", "reflect", "replicate"),
        ),
    ),
    nn.ConvTranspose2d: _l2(
        linear.transposed_convolution,
        "single",
        taps.transposed,
        Form(
            nn.ConvTranspose2d,
            in_channels=SIZE,
            out_channels=SIZE,
            kernel_size=SIDES,
            stride=SIDES,
            padding=PADDING,
            output_padding=PADDING,
            groups=SIZE,
            bias=BIAS,
            dilation=SIDES,
            padding_mode=one_of("zeros"),
        ),
    ),
    TokenLinear: _l2(
        linear.token_linear, "single", layers.token_linear, Form(TokenLinear, tokens=ROWS), linear.apply_token_linear
    ),
    ConvexPotential: _l2(
        convex_potential,
        "composed, at least 1",
        layers.convex_potential,
        Form(
            ConvexPotential,
            channels=CHANNELS,
            hidden=ROWS,
            kernel=SIDE.or_null().of(lambda layer: layer.weight.shape[2] if layer.weight.ndim == 4 else None),
        ),
    ),
    ConvExponential: _l2(
        conv_exponential,
        "composed",
        layers.conv_exponential,
        Form(
            ConvExponential,
            channels=CHANNELS,
            kernel=SIDE.of(lambda layer: layer.weight.shape[2]),
            terms=whole(1, MAX_TERMS),
        ),
    ),
    FrequencyConv: _l2(
        frequency_conv,
        "single",
        frequency.frequency_conv,
        Form(
            FrequencyConv,
            in_channels=SIZE.of(lambda layer: layer.weight.shape[4]),
            out_channels=SIZE.of(lambda layer: layer.weight.shape[3]),
            size=TORUS,
            padding=whole(0, MAX_TORUS),
        ),
    ),
    Sandwich: _l2(
        sandwich,
        "composed",
        frequency.sandwich,
        Form(
            Sandwich,
            in_features=SIZE.of(lambda layer: layer.weight.shape[-1] - layer.out_features),
            hidden=SIZE.of(lambda layer: layer.weight.shape[-2]),
            out_features=SIZE,
            size=TORUS.or_null(),
        ),
    ),
    Householder: _l2(
        householder,
        "single",
        layers.householder,
        Form(Householder, channels=SIZE.of(lambda layer: 2 * layer.weight.shape[1])),
    ),
    SelfAttention: _l2(
        self_attention,
        "composed",
        layers.self_attention,
        Form(SelfAttention, channels=SIZE.of(lambda layer: len(layer.query)), heads=SIZE),
    ),
    LInfDistance: Row(
        l2=None,
        linf=linf.distance_linf,
        intervals=linf.distance_ends,
        linear=None,
        slopes=None,
        checked="single",
        lowering=layers.linf_distance,
        ends=intervals.distance_ends,
        form=Form(LInfDistance, in_features=CHANNELS, out_features=ROWS),
    ),
    SortedDistance: Row(
        l2=None,
        linf=linf.sorted_distance_linf,
        intervals=linf.sorted_distance_ends,
        linear=None,
        slopes=None,
        checked="single",
        lowering=layers.sorted_distance,
        ends=intervals.sorted_distance_ends,
        form=Form(SortedDistance, in_features=CHANNELS, out_features=ROWS, keep=NUMBER, terms=whole(1, MAX_TERMS)),
    ),
    Residual: _both(
        residual,
        linf.residual_ends,
        layers.residual,
        intervals.residual_ends,
        Form(_residual, branch=LAYERS, skip=LAYER),
        checked="composed",
    ),
}
LINEAR = {kind: row.linear for kind, row in TABLE.items() if row.linear is not None}
SLOPES = {kind: row.slopes for kind, row in TABLE.items() if row.slopes is not None}


def bound_layer(layer: nn.Module, context: Context) -> Bound:
    """The proved bound of one layer. Raises UncertifiableLayerError where there is no proof."""
    return replace(context, rows=TABLE).bound(layer)
