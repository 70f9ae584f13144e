"""Rules in l-infinity: constants of the layers that have another rule there than in l2, and intervals of all layers.

The norm of a matrix is its largest absolute row sum; that of its entrywise absolute value is the same number.

**Points and intervals.** An interval rule takes the ends l <= u of what a layer's input can be to ends of its output.
In exact arithmetic they contain the output of every point between. The constants cover their rounding, too: as a map of
(l, u), in the larger of their two norms, each layer has its own Lipschitz constant and value at 0, and rounds at most
as the constants say. A product W x + b becomes (W c + b) -+ |W| r with c = (l + u) / 2 and r = (u - l) / 2; an
entry of |c| + |r| is the larger of |l| and |u|. c and r round once, the product n times, the bias and the last sum once
each: gamma_{n+3} (|W| max(|l|, |u|) + |b|), which is why `fan_in` is n + 1 here. So `propagate` bounds the norm and the
error of both ends as it bounds those of a point.

Source of the intervals: Gowal et al. 2018, "On the effectiveness of interval bound propagation", arXiv 1810.12715; for
the distance layer Zhang, Cai, Lu, He, Wang 2021, arXiv 2102.05363.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.bounds.convolution import kernel_of
from zoo.bounds.linear import convolve
from zoo.bounds.rule import RAISED, Bound, Context, Ends, Rows, Shape, intervals_of, l1_of_rows, matrix_of
from zoo.bounds.spectral import Matrix
from zoo.layers import Abs, LInfDistance, Pixels, Residual, SortedDistance
from zoo.layers.trained import few_rows
from zoo.lowering.choice import PLAIN_SUMS

# Constants -----------------------------------------------------------------------------------------------------------


def linear_linf(layer: nn.Linear, context: Context) -> Bound:
    bias = context.exact(layer.bias, layer.out_features)
    return _affine((layer.out_features,), matrix_of(layer, context), bias)


def convolution_linf(layer: nn.Conv2d, context: Context) -> Bound:
    """A row of the operator holds the taps of one output channel, without those that fall on the padding.

    The graph sums over the taps as well: `zoo.lowering.choice` has no other lowering in l-infinity.
    """
    kernel, sizes = kernel_of(layer, context)
    bound = _affine(sizes.output_shape, kernel.reshape(len(kernel), -1), context.exact(layer.bias, layer.out_channels))
    return replace(bound, lowering=str(PLAIN_SUMS))


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


def distance_linf(layer: LInfDistance, context: Context) -> Bound:
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


def sorted_distance_linf(layer: SortedDistance, context: Context) -> Bound:
    """x -> sum over i of c_i |x - w_j|_(i), + b_j: Lipschitz the sum of the c_i, all positive.

    The i-th largest of numbers is 1-Lipschitz in l-infinity: if none of them moves by more than e, those i that are at
    least t stay at least t - e, and as many at most t stay at most t + e. So each |x - w_j|_(i) moves by at most |dx|.

    Rounding: the largest computed differences, in order, are each within u (|x| + |w|) of the true ones, as sorting is
    1-Lipschitz; n products in a sum, and the bias: in all at most gamma_{n+2} (C (|x| + |w|) + |b|), C = sum of c_i.
    """
    if len(context.input_shape) != 1 or layer.weight.ndim != 2:
        raise context.refuse(f"it expects a vector, its input has the shape {list(context.input_shape)}")
    outputs, (inputs,) = len(layer.weight), context.input_shape
    if not (0.0 < layer.keep < 1.0 and 1 <= layer.terms <= inputs):
        raise context.refuse(
            f"keep={layer.keep} and terms={layer.terms} are not proved; instead: a keep between 0 and 1"
        )
    weight = context.exact(layer.weight, outputs, inputs)
    bias = context.exact(layer.bias, outputs)
    whole = float(l1_of_rows(np.array([layer.shares()]))[0])
    offset = float((np.abs(weight).max(axis=1) * whole + np.abs(bias)).max()) * RAISED
    method = f"{layer.terms} shares from {layer.keep!r}"  # a SortNet's config.json has keep alone
    return Bound((outputs,), whole, method, {}, fan_in=layer.terms, absolute_norm=whole, offset_norm=offset)


# Intervals -----------------------------------------------------------------------------------------------------------


def monotone(layer: nn.Module, lower: Tensor, upper: Tensor, rows: Rows) -> Ends:
    """A layer without weights of which no output falls when an input rises: each end becomes an end of the output."""
    return layer(lower), layer(upper)


def pixel_ends(layer: Pixels, lower: Tensor, upper: Tensor, rows: Rows) -> Ends:
    """Both ends are clamped to [0, 1], as the layer clamps every x between them."""
    mean, scale = layer.mean[:, None, None], layer.scale[:, None, None]
    one, other = (lower.clamp(0, 1) - mean) * scale, (upper.clamp(0, 1) - mean) * scale
    return torch.minimum(one, other), torch.maximum(one, other)  # a scale may be negative


def absolute_ends(layer: Abs, lower: Tensor, upper: Tensor, rows: Rows) -> Ends:
    first = lower.shape[1] if layer.channels is None else layer.channels
    (low, *rest_low), (high, *rest_high) = (torch.tensor_split(end, [first], dim=1) for end in (lower, upper))
    nearest, farthest = torch.maximum(low, -high).clamp(min=0), torch.maximum(low.abs(), high.abs())
    return torch.cat([nearest, *rest_low], dim=1), torch.cat([farthest, *rest_high], dim=1)


def batch_norm_ends(layer: nn.BatchNorm2d, lower: Tensor, upper: Tensor, rows: Rows) -> Ends:
    one, other = layer(lower), layer(upper)
    return torch.minimum(one, other), torch.maximum(one, other)  # a scale may be negative


def linear_ends(layer: nn.Linear, lower: Tensor, upper: Tensor, rows: Rows) -> Ends:
    return _affine_ends(F.linear, layer, lower, upper)


def convolution_ends(layer: nn.Conv2d, lower: Tensor, upper: Tensor, rows: Rows) -> Ends:
    return _affine_ends(partial(convolve, layer), layer, lower, upper)


def _affine_ends(product: Callable[..., Tensor], layer: nn.Linear | nn.Conv2d, lower: Tensor, upper: Tensor) -> Ends:
    """W c + b -+ |W| r, of the centre c and the half width r."""
    centre = product((lower + upper) / 2, layer.weight, layer.bias)
    reach = product((upper - lower) / 2, layer.weight.abs())
    return centre - reach, centre + reach


def distance_ends(layer: LInfDistance, lower: Tensor, upper: Tensor, rows: Rows) -> Ends:
    """The least and the largest of max over i of |x_i - w_ji|, from those of each i, since the x_i vary apart."""
    nearest, farthest = [], []
    for weights in few_rows(layer.weight):
        low, high = lower[:, None] - weights, upper[:, None] - weights
        nearest.append(torch.maximum(low.amax(dim=2), -high.amin(dim=2)))
        farthest.append(torch.maximum(high.amax(dim=2), -low.amin(dim=2)))
    return torch.cat(nearest, dim=1).clamp(min=0) + layer.bias, torch.cat(farthest, dim=1) + layer.bias


def sorted_distance_ends(layer: SortedDistance, lower: Tensor, upper: Tensor, rows: Rows) -> Ends:
    """The output rises with each |x_i - w_ji|, whose least and largest values are taken apart."""
    nearest, farthest = [], []
    for weights in few_rows(layer.weight):
        below, above = weights - upper[:, None], lower[:, None] - weights
        nearest.append(layer.weighed(torch.maximum(below, above).clamp(min=0)))
        farthest.append(layer.weighed(torch.maximum(-below, -above)))
    return torch.cat(nearest, dim=1) + layer.bias, torch.cat(farthest, dim=1) + layer.bias


def residual_ends(layer: Residual, lower: Tensor, upper: Tensor, rows: Rows) -> Ends:
    low, high = lower, upper
    for inner in layer.branch:
        low, high = intervals_of(inner, low, high, rows)
    if layer.skip is not None:
        lower, upper = intervals_of(layer.skip, lower, upper, rows)
    return lower + low, upper + high
