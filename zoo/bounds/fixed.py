"""Rules of maps without trained weights: normalisation, activations, what only moves, pads or averages numbers."""

from __future__ import annotations

import math

import numpy as np
from torch import nn

from zoo.bounds.rule import Bound, Context, l2
from zoo.layers import FirstChannels, MinMax, PadChannels, PatchPool, Pixels


def pixels(layer: Pixels, context: Context) -> Bound:
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


def nonexpansive(layer: nn.Module, context: Context) -> Bound:
    """ReLU and MinMax: 1-Lipschitz, 0 to 0, and exact in floating point, for they only choose among their inputs."""
    if isinstance(layer, MinMax) and layer.pairing == "halves" and context.input_shape[0] % 2:
        raise context.refuse(f"halves of {context.input_shape[0]} channels do not pair")
    return Bound(context.input_shape, 1.0, "nonexpansive", {})


def flatten(layer: nn.Flatten, context: Context) -> Bound:
    if (layer.start_dim, layer.end_dim) != (1, -1):
        raise context.refuse("only a flattening of all dimensions but the batch is proved")
    return Bound((math.prod(context.input_shape),), 1.0, "nonexpansive", {})


def pad_channels(layer: PadChannels, context: Context) -> Bound:
    if layer.channels < context.input_shape[0]:
        raise context.refuse(f"it cannot pad {context.input_shape[0]} channels to {layer.channels}")
    return Bound((layer.channels, *context.input_shape[1:]), 1.0, "nonexpansive", {})


def first_channels(layer: FirstChannels, context: Context) -> Bound:
    if not 1 <= layer.channels <= context.input_shape[0]:
        raise context.refuse(f"it cannot take {layer.channels} of {context.input_shape[0]} channels")
    return Bound((layer.channels, *context.input_shape[1:]), 1.0, "nonexpansive", {})


def space_to_depth(layer: nn.PixelUnshuffle, context: Context) -> Bound:
    """A permutation of the numbers, where the factor divides the map."""
    channels, rows, columns = context.map_shape()
    factor = layer.downscale_factor
    if factor < 1 or rows % factor or columns % factor:
        raise context.refuse(f"{factor} does not divide a map of {rows} x {columns}")
    return Bound((channels * factor**2, rows // factor, columns // factor), 1.0, "nonexpansive", {})


def patch_pool(layer: PatchPool, context: Context) -> Bound:
    """Disjoint patches, each multiplied by a vector of k^2 entries 1 / k: orthonormal rows, norm 1.

    Rounding: a sum of k^2 numbers and one division, at most gamma_{k^2} of the same map of |x|, whose norm is 1.
    """
    channels, rows, columns = context.map_shape()
    if layer.size < 1 or rows % layer.size or columns % layer.size:
        raise context.refuse(f"patches of {layer.size} do not fill a map of {rows} x {columns}")
    shape = (channels, rows // layer.size, columns // layer.size)
    return Bound(shape, 1.0, "orthonormal", {}, fan_in=layer.size**2)
