"""Rules of layers without trained weights: pixels, activations, and layers that move, pad or average numbers.

Each holds in l2 and in l-infinity, but for `patch_pool` and `l2_pool`, which hold in l2.
"""

from __future__ import annotations

import math

import numpy as np
from torch import nn

from zoo.bounds.rounding import MAX_BOUND
from zoo.bounds.rule import RAISED, Bound, Context, left_out
from zoo.layers import (
    Abs,
    FirstChannels,
    GroupSort,
    L2Pool,
    MinMax,
    PadChannels,
    PatchPool,
    Pixels,
    SpatialShift,
)

MAX_GAIN = 1e50  # of a block's layers before this one, on numbers of at most 1e100: squares stay within binary64
SQUARES_UNDERFLOW = 1e-140  # gamma times this outweighs the root of what a square can lose


def pixels(layer: Pixels, context: Context) -> Bound:
    """x -> (clamp(x, 0, 1) - mean) * scale: Lipschitz max |scale|; the clamp is 1-Lipschitz and exact.

    It rounds twice; an end of an interval, x -+ epsilon, rounds once more. Both are at most gamma_3.
    """
    channels, rows, columns = context.map_shape()
    mean, scale = context.exact(layer.mean, channels), np.abs(context.exact(layer.scale, channels))
    count = rows * columns
    reach = np.maximum(np.abs(mean), np.abs(1.0 - mean)) * scale
    return Bound(
        context.input_shape,
        float(scale.max()),
        "scale",
        {},
        fan_in=1,
        absolute_norm=float(scale.max()),
        offset_norm=context.size(mean * scale, count),
        range_norm=context.size(reach, count),
    )


def nonexpansive(layer: nn.Module, context: Context) -> Bound:
    """ReLU, MinMax and the identity: 1-Lipschitz, with 0 at 0, exact in floating point."""
    if isinstance(layer, MinMax) and layer.pairing == "halves" and context.input_shape[0] % 2:
        raise context.refuse(f"it pairs two halves of its channels, and {context.input_shape[0]} is an odd number")
    return Bound(context.input_shape, 1.0, "nonexpansive", {})


def absolute(layer: Abs, context: Context) -> Bound:
    """| |x| - |y| | <= |x - y|, number by number; exact."""
    if layer.channels is not None and not 0 < layer.channels <= context.input_shape[0]:
        raise context.refuse(f"it cannot take {layer.channels} of {context.input_shape[0]} channels")
    return Bound(context.input_shape, 1.0, "nonexpansive", {})


def spatial_shift(layer: SpatialShift, context: Context) -> Bound:
    """A permutation of the numbers of each channel."""
    channels, *_ = context.map_shape()
    if not 0 < 4 * layer.group <= channels:
        raise context.refuse(f"four groups of {layer.group} are more than {channels} channels")
    return Bound(context.input_shape, 1.0, "nonexpansive", {})


def group_sort(layer: GroupSort, context: Context) -> Bound:
    """Sorting is 1-Lipschitz: of all orders of two groups, sorting both brings them closest. It is exact."""
    if context.input_shape[0] % layer.size:
        raise context.refuse(f"groups of {layer.size} do not divide {context.input_shape[0]} channels")
    return Bound(context.input_shape, 1.0, "nonexpansive", {})


def leaky_relu(layer: nn.LeakyReLU, context: Context) -> Bound:
    """max(x, a x) for 0 <= a <= 1: slopes in [a, 1]. The product rounds once."""
    if not 0.0 <= layer.negative_slope <= 1.0:
        raise context.refuse(f"negative_slope={layer.negative_slope} is not proved; instead: a number from 0 to 1")
    if left_out(layer.negative_slope, 1.0):
        told = "which ONNX Runtime takes for 1; instead: 1 or a number up to 0.9999998"
        raise context.refuse(f"negative_slope={layer.negative_slope} is not proved, {told}")
    return Bound(context.input_shape, 1.0, "slopes", {}, fan_in=1)


def hardtanh(layer: nn.Hardtanh, context: Context) -> Bound:
    """Cut to an interval [a, b]: 1-Lipschitz and exact. 0 becomes the number of the interval that is nearest to it."""
    low, high = layer.min_val, layer.max_val
    if not -MAX_BOUND <= low <= high <= MAX_BOUND:
        raise context.refuse(f"[{low}, {high}] is no interval of numbers up to {MAX_BOUND}")
    ends = (min(max(0.0, low), high), max(-low, high))
    offset, reach = (context.size(np.array([value]), math.prod(context.input_shape)) for value in ends)
    return Bound(context.input_shape, 1.0, "clamp", {}, offset_norm=offset, range_norm=reach)


def unflatten(layer: nn.Unflatten, context: Context) -> Bound:
    """The same numbers, of a vector, as a map."""
    shape = layer.unflattened_size
    if layer.dim not in (1, -1) or len(context.input_shape) != 1 or len(shape) != 3:
        raise context.refuse("only a vector is made a map: nn.Unflatten(1, (channels, rows, columns))")
    if not all(type(side) is int and side > 0 for side in shape) or math.prod(shape) != context.input_shape[0]:
        raise context.refuse(f"{context.input_shape[0]} numbers do not make a map of {tuple(shape)}, written out")
    return Bound(tuple(shape), 1.0, "nonexpansive", {})  # type: ignore[arg-type]


def channel_shuffle(layer: nn.ChannelShuffle, context: Context) -> Bound:
    """A permutation of the channels."""
    channels, *_ = context.map_shape()
    if layer.groups < 1 or channels % layer.groups:
        raise context.refuse(f"{layer.groups} groups do not divide {channels} channels")
    return Bound(context.input_shape, 1.0, "nonexpansive", {})


def flatten(layer: nn.Flatten, context: Context) -> Bound:
    """The same numbers as one vector."""
    if (layer.start_dim, layer.end_dim) != (1, -1):
        raise context.refuse("only a flattening of all dimensions but the batch is proved")
    return Bound((math.prod(context.input_shape),), 1.0, "nonexpansive", {})


def pad_channels(layer: PadChannels, context: Context) -> Bound:
    """The same numbers, and channels of zeros: distances stay as they are."""
    if layer.channels < context.input_shape[0]:
        raise context.refuse(f"it cannot pad {context.input_shape[0]} channels to {layer.channels}")
    return Bound((layer.channels, *context.input_shape[1:]), 1.0, "nonexpansive", {})


def first_channels(layer: FirstChannels, context: Context) -> Bound:
    """Some of the numbers: no distance grows."""
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


def l2_pool(layer: L2Pool, context: Context) -> Bound:
    """The norms of disjoint patches: | |a| - |b| | <= |a - b| for each, and the squares add up.

    Rounding: a sum of k = size^2 squares, all of one sign, is off by at most gamma_k of itself, its root by half of
    that, and the root rounds once: at most gamma_{k+1} of each output, and the outputs have the norm of the input. A
    square that underflows loses at most 2^-1075; as a root of a + d is at most that of a plus that of d, all outputs
    together lose less than sqrt(n) 2^-537 for n numbers, and gamma_k sqrt(n) 10^-140 is more.
    """
    channels, rows, columns = context.map_shape()
    size = layer.size
    if size < 1 or rows % size or columns % size:
        raise context.refuse(f"patches of {size} do not fill a map of {rows} x {columns}")
    if context.gain > MAX_GAIN:
        raise context.refuse("the layers before it in its block enlarge numbers too much: their squares may overflow")
    shape = (channels, rows // size, columns // size)
    lost = SQUARES_UNDERFLOW * math.sqrt(math.prod(context.input_shape)) * RAISED
    return Bound(shape, 1.0, "norms", {}, fan_in=size**2, offset_norm=lost)
