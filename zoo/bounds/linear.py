"""Rules of the trained layers that are one linear map and a bias, and the maps themselves."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.bounds.convolution import convolution_norm, groups_of, kernel_of
from zoo.bounds.lowered import Rounding, convolution_rounding, rounding_of_sums
from zoo.bounds.rule import RAISED, Bound, Context, Shape, l2, left_out, matrix_of, schur_bound
from zoo.bounds.spectral import Matrix
from zoo.layers import PositionOffset, TokenLinear
from zoo.lowering.sizes import Sizes, adjoint_sizes
from zoo.lowering.taps import is_plain


def linear(layer: nn.Linear, context: Context) -> Bound:
    """x -> W x + b: the norm of the matrix W."""
    return _matrix((layer.out_features,), matrix_of(layer, context), layer.bias, 1, context)


def token_linear(layer: TokenLinear, context: Context) -> Bound:
    """A kron I: the norm of the matrix A, once for all channels."""
    channels, rows, columns = context.map_shape()
    tokens = rows * columns
    return _matrix(context.input_shape, context.exact(layer.weight, tokens, tokens), layer.bias, channels, context)


def _matrix(shape: Shape, weight: Matrix, bias: Tensor | None, copies: int, context: Context) -> Bound:
    """The bound of x -> A x + b, applied to `copies` vectors by themselves."""
    proof = context.prove([(weight, None)])
    return Bound(
        shape,
        proof.bound,
        "gram-cholesky",
        asdict(proof),
        fan_in=weight.shape[1],
        absolute_norm=schur_bound(np.abs(weight)),
        offset_norm=l2(context.exact(bias, len(weight)), copies),
    )


def convolution(layer: nn.Conv2d, context: Context) -> Bound:
    """x -> W x + b, W the convolution as a matrix on maps of this size: at least the norm of W."""
    kernel, sizes = kernel_of(layer, context)
    kernels, of_group = groups_of(kernel, layer, sizes)
    rounded = convolution_rounding(kernel, sizes) if is_plain(layer) else rounding_of_sums(kernels, kernel[0].size)
    return _convolution(kernels, of_group, rounded, sizes.output_shape, layer.bias, context)


def transposed_convolution(layer: nn.ConvTranspose2d, context: Context) -> Bound:
    """The adjoint of the convolution by the same kernel from its outputs to its inputs: of the same norm.

    Each output is a sum of at most I k k products. The adjoint's entrywise absolute value has the same norm, too.
    """
    channels, rows, columns = context.map_shape()
    for option, proved in (("groups", 1), ("dilation", (1, 1))):
        if getattr(layer, option) != proved:
            raise context.refuse(f"{option}={getattr(layer, option)!r} is not proved; instead: {proved}")
    if channels != layer.in_channels:
        raise context.refuse(f"it has {layer.in_channels} input channels, its input {channels}")
    adjoint = adjoint_sizes(layer, context.input_shape)
    if min(adjoint.map) < 1 or adjoint.outputs != (rows, columns):
        down, across = adjoint.map
        raise context.refuse(f"no convolution of {down} x {across} cells is its adjoint; instead: less padding")
    weight = context.exact(layer.weight, channels, layer.out_channels, *adjoint.kernel)
    rounded = rounding_of_sums([weight], weight[:, 0].size)
    return _convolution([weight], adjoint, rounded, (layer.out_channels, *adjoint.map), layer.bias, context)


def _convolution(
    kernels: list[Matrix],
    sizes: Sizes,
    rounded: Rounding,
    outputs: Shape,
    bias: Tensor | None,
    context: Context,
) -> Bound:
    """The bound of a layer whose linear map has the norm of these convolutions, one for each group of channels."""
    method, proof, torus = convolution_norm(kernels, sizes, context)
    return Bound(
        outputs,
        proof.bound,
        method,
        {**asdict(proof), **torus},
        fan_in=rounded.terms,
        absolute_norm=rounded.absolute,
        offset_norm=l2(context.exact(bias, outputs[0]), outputs[1] * outputs[2]) + rounded.offset,
        lowering=str(rounded.lowering),
    )


def batch_norm(layer: nn.BatchNorm2d, context: Context) -> Bound:
    """In evaluation mode (x - m) s + b with s = w / sqrt(v + eps): a diagonal matrix, so Lipschitz max |s|.

    PyTorch computes x (w t) + (b - m (w t)) with t = 1 / sqrt(v + eps), the graph (x - m) s + b: in both at most 8
    roundings act on any product, so the error is at most gamma_8 (|s| (|x| + |m|) + |b|). In l2 and l-infinity. ONNX
    Runtime must leave out no operation of the graph's: `left_out`.
    """
    channels, rows, columns = context.map_shape()
    if layer.running_mean is None or layer.running_var is None:
        raise context.refuse("it has no running mean and variance; instead: track_running_stats=True")
    mean, variance = context.exact(layer.running_mean, channels), context.exact(layer.running_var, channels)
    if not (layer.eps >= 0.0 and (variance >= 0.0).all() and (variance + layer.eps > 0.0).all()):
        raise context.refuse("a variance is negative, or it and eps are 0")
    weight = np.ones(channels) if layer.weight is None else np.abs(context.exact(layer.weight, channels))
    if left_out(layer.eps, 0.0):
        raise context.refuse(f"eps={layer.eps} is not proved, which ONNX Runtime takes for 0; instead: 0 or 1e-40")
    if channels == 1 and left_out(float(weight[0] / np.sqrt(variance[0] + layer.eps)), 1.0):
        raise context.refuse(
            "ONNX Runtime takes the scale of its one channel for 1, which it is not; instead: another eps"
        )
    scale = weight / np.sqrt(variance + layer.eps) * RAISED  # elementwise, so the same bits on every machine
    offset = scale * np.abs(mean) + np.abs(context.exact(layer.bias, channels))
    norm, bound = context.size(offset, rows * columns), float(scale.max())
    return Bound(context.input_shape, bound, "scale", {}, fan_in=8, absolute_norm=bound, offset_norm=norm)


def apply_linear(layer: nn.Linear, weight: Tensor | None, x: Tensor) -> Tensor:
    assert weight is not None
    return F.linear(x, weight)


def apply_convolution(layer: nn.Conv2d, weight: Tensor | None, x: Tensor) -> Tensor:
    assert weight is not None
    return convolve(layer, x, weight)


def convolve(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The layer's convolution of x by another kernel and bias."""
    padding = (int(layer.padding[0]), int(layer.padding[1]))
    if layer.padding_mode == "circular":
        x, padding = F.pad(x, (padding[1], padding[1], padding[0], padding[0]), mode="circular"), (0, 0)
    return F.conv2d(x, weight, bias, layer.stride, padding, layer.dilation, layer.groups)


def apply_token_linear(layer: TokenLinear, weight: Tensor | None, x: Tensor) -> Tensor:
    assert weight is not None
    return F.linear(x.flatten(2), weight).reshape(x.shape)


def apply_batch_norm(layer: nn.BatchNorm2d, weight: Tensor | None, x: Tensor) -> Tensor:
    """Each channel times w / sqrt(v + eps), w = 1 without a weight; the mean and the bias are no part of it."""
    assert layer.running_var is not None
    scale = (layer.running_var.to(x.dtype) + layer.eps).rsqrt()
    return x * (scale if weight is None else weight * scale)[:, None, None]


def apply_fixed(layer: nn.Module, weight: Tensor | None, x: Tensor) -> Tensor:
    """A linear layer that has neither weight nor bias is its own linear map."""
    return layer(x)


def position_offset(layer: PositionOffset, context: Context) -> Bound:
    """x + p: an isometry, not 0 at 0. One addition rounds."""
    channels, rows, columns = context.map_shape()
    offset = l2(context.exact(layer.weight, rows, columns), channels)
    return Bound(context.input_shape, 1.0, "offset", {}, fan_in=1, offset_norm=offset)
