"""Rules in l-infinity of the layers that have another constant there than in l2, or no rule in l2.

The norm of a matrix is its largest absolute row sum; that of its entrywise absolute value is the same number.

**Points and intervals.** The constants also cover `zoo.bounds.interval`, which carries a pair of ends l <= u through
the network. As a map of (l, u), in the larger of their two norms, each layer there has the layer's own Lipschitz
constant and its own value at 0, and rounds at most as the constants say. A product W x + b becomes (W c + b) -+ |W| r
with c = (l + u) / 2 and r = (u - l) / 2; an entry of |c| + |r| is the larger of |l| and |u|. c and r round once, the
product n times, the bias and the last sum once each: gamma_{n+3} (|W| max(|l|, |u|) + |b|), which is why `fan_in` is
n + 1 here. So `propagate` bounds the norm and the error of both ends as it bounds those of a point.
"""

from __future__ import annotations

import math

import numpy as np
from torch import nn

from zoo.bounds.convolution import kernel_of
from zoo.bounds.rule import RAISED, Bound, Context, Shape, l1_of_rows, matrix_of
from zoo.bounds.spectral import Matrix
from zoo.layers import LInfDistance, Pixels


def pixels(layer: Pixels, context: Context) -> Bound:
    """x -> (clamp(x, 0, 1) - mean) * scale: max |scale|. An end of a box, x -+ epsilon, rounds once more: gamma_3."""
    channels, *_ = context.map_shape()
    mean, scale = context.exact(layer.mean, channels), np.abs(context.exact(layer.scale, channels))
    reach = np.maximum(np.abs(mean), np.abs(1.0 - mean)) * scale * RAISED
    return Bound(
        context.input_shape,
        float(scale.max()),
        "scale",
        {},
        fan_in=1,
        absolute_norm=float(scale.max()),
        offset_norm=float((np.abs(mean) * scale).max()) * RAISED,
        range_norm=float(reach.max()),
    )


def linear(layer: nn.Linear, context: Context) -> Bound:
    bias = context.exact(layer.bias, layer.out_features)
    return _affine((layer.out_features,), matrix_of(layer, context), bias)


def convolution(layer: nn.Conv2d, context: Context) -> Bound:
    """A row of the operator holds the taps of one output channel, without those that fall on the padding."""
    kernel, outputs = kernel_of(layer, context)
    return _affine(outputs, kernel.reshape(len(kernel), -1), context.exact(layer.bias, layer.out_channels))


def _affine(output_shape: Shape, rows: Matrix, bias: Matrix) -> Bound:
    norm = float(l1_of_rows(rows).max())
    return Bound(
        output_shape,
        norm,
        "row-sums",
        {},
        fan_in=rows.shape[1] + 1,
        absolute_norm=norm,
        offset_norm=float(np.abs(bias).max()) * RAISED,
    )


def distance(layer: LInfDistance, context: Context) -> Bound:
    """x -> max over i of |x_i - w_ji|, + b_j: 1-Lipschitz, as each |x_i - w_ji| and their maximum are.

    Rounding: one difference and one sum, for the maximum chooses; in all at most gamma_2 (|x| + |w| + |b|).
    """
    if len(context.input_shape) != 1 or layer.weight.ndim != 2:
        raise context.refuse(f"it expects a vector, its input has the shape {list(context.input_shape)}")
    outputs = len(layer.weight)
    weight = context.exact(layer.weight, outputs, math.prod(context.input_shape))
    bias = context.exact(layer.bias, outputs)
    offset = float((np.abs(weight).max(axis=1) + np.abs(bias)).max()) * RAISED
    return Bound((outputs,), 1.0, "distance", {}, fan_in=1, absolute_norm=1.0, offset_norm=offset)
