"""Interval propagation: what the logits can be while the pixels stay in a box, for PyTorch and for the exported graph.

Each rule takes the ends l <= u of what a layer's input can be to ends of its output. In exact arithmetic they contain
the output of every point between; `zoo.bounds.linf` says how the constants of a certificate bound the rounding. The
rules are keyed by the layer's exact type, as those of `LINF_RULES` are, and none is the default.

Source: Gowal et al. 2018, "On the effectiveness of interval bound propagation", arXiv 1810.12715; for the distance
layer Zhang, Cai, Lu, He, Wang 2021, arXiv 2102.05363.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.layers import FirstChannels, LInfDistance, MinMax, PadChannels, Pixels, Residual, few_rows

Ends = tuple[Tensor, Tensor]


def least_margins(network: nn.Sequential, images: Tensor, label: Tensor, levels: Tensor) -> Tensor:
    """At most f_j - f_i over all x with |x - image|_inf <= level, up to rounding: [L, N, C], j the label of each image.

    images [N, C, H, W] in [0, 1] and levels [L], in the dtype of the weights; levels are a tensor because an exporter
    rounds numbers to float32. The first layer, `Pixels`, cuts the box to [0, 1]. The head is not propagated by itself:
    the margins come from its rows h_j - h_i.

    Rounding: with E and R the bounds of the features' error and norm, which hold for both ends, D = h_j - h_i and d
    features, the margin errs by at most

        |D|_1 E + gamma_{d+4} (|D|_1 R + |b_j| + |b_i|)

    (D, c or r, d products, their difference, the bias). That is at most T_ji, twice the error of a margin at a point in
    `zoo.bounds.margins`; so a margin above 2 T_ji is positive at every point of the box, as computed there too.
    """
    count = len(levels)
    reach = levels[:, None, None, None, None]
    lower, upper = (images - reach).flatten(0, 1), (images + reach).flatten(0, 1)
    *body, head = network
    for layer in body:
        lower, upper = _propagate(layer, lower, upper)
    assert isinstance(head, nn.Linear)
    matrix, bias = head.weight, head.bias
    chosen = label.repeat(count)
    rows = matrix.index_select(0, chosen)[:, None] - matrix  # [L N, C, d]
    centre, reach = (lower + upper) / 2, (upper - lower) / 2
    margins = (rows @ centre[:, :, None] - rows.abs() @ reach[:, :, None])[:, :, 0]
    margins = margins + (bias.index_select(0, chosen)[:, None] - bias)
    return margins.unflatten(0, (count, -1))


def _propagate(layer: nn.Module, lower: Tensor, upper: Tensor) -> Ends:
    return RULES[type(layer)](layer, lower, upper)


def _monotone(layer: nn.Module, lower: Tensor, upper: Tensor) -> Ends:
    """Without weights, and no output falls where an input rises: the ends go to the ends."""
    return layer(lower), layer(upper)


def _pixels(layer: Pixels, lower: Tensor, upper: Tensor) -> Ends:
    """Clamped, as the layer does: x outside of [0, 1] count as the nearest in it, wherever the layer stands."""
    mean, scale = layer.mean[:, None, None], layer.scale[:, None, None]
    one, other = (lower.clamp(0, 1) - mean) * scale, (upper.clamp(0, 1) - mean) * scale
    return torch.minimum(one, other), torch.maximum(one, other)  # a scale may be negative


def _linear(layer: nn.Linear, lower: Tensor, upper: Tensor) -> Ends:
    return _affine(F.linear, layer, lower, upper)


def _convolution(layer: nn.Conv2d, lower: Tensor, upper: Tensor) -> Ends:
    def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(x, weight, bias, layer.stride, layer.padding)

    return _affine(product, layer, lower, upper)


def _affine(product: Callable[..., Tensor], layer: nn.Linear | nn.Conv2d, lower: Tensor, upper: Tensor) -> Ends:
    """W c + b -+ |W| r, of the centre c and the half width r."""
    centre = product((lower + upper) / 2, layer.weight, layer.bias)
    reach = product((upper - lower) / 2, layer.weight.abs())
    return centre - reach, centre + reach


def _distance(layer: LInfDistance, lower: Tensor, upper: Tensor) -> Ends:
    """The least and the largest of max over i of |x_i - w_ji|: for each i alone, for x_i vary apart."""
    nearest, farthest = [], []
    for rows in few_rows(layer.weight):
        low, high = lower[:, None] - rows, upper[:, None] - rows
        nearest.append(torch.maximum(low.amax(dim=2), -high.amin(dim=2)))
        farthest.append(torch.maximum(high.amax(dim=2), -low.amin(dim=2)))
    return torch.cat(nearest, dim=1).clamp(min=0) + layer.bias, torch.cat(farthest, dim=1) + layer.bias


def _residual(layer: Residual, lower: Tensor, upper: Tensor) -> Ends:
    low, high = lower, upper
    for inner in layer.branch:
        low, high = _propagate(inner, low, high)
    if layer.skip is not None:
        lower, upper = _propagate(layer.skip, lower, upper)
    return lower + low, upper + high


RULES: dict[type[nn.Module], Callable[..., Ends]] = {
    Pixels: _pixels,
    MinMax: _monotone,
    nn.ReLU: _monotone,
    nn.Flatten: _monotone,
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
    LInfDistance: _distance,
    Residual: _residual,
    PadChannels: _monotone,
    FirstChannels: _monotone,
    nn.PixelUnshuffle: _monotone,
}
