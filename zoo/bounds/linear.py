"""Rules in l2 of the trained layers that are one linear map and a bias, and the maps themselves."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.bounds.convolution import convolution_norm, kernel_of, sizes_of
from zoo.bounds.lowered import rounding
from zoo.bounds.rule import RAISED, Bound, Context, l2, matrix_of, schur_bound
from zoo.layers import TokenLinear


def linear(layer: nn.Linear, context: Context) -> Bound:
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


def convolution(layer: nn.Conv2d, context: Context) -> Bound:
    kernel, outputs = kernel_of(layer, context)
    method, proof, torus = convolution_norm(kernel, layer, context.map_shape(), context)
    rounded = rounding(kernel, sizes_of(layer, context.map_shape()))
    return Bound(
        outputs,
        proof.bound,
        method,
        {**asdict(proof), **torus},
        fan_in=rounded.terms,
        absolute_norm=rounded.absolute,
        offset_norm=l2(context.exact(layer.bias, layer.out_channels), outputs[1] * outputs[2]) + rounded.offset,
        lowering=str(rounded.lowering),
    )


def batch_norm(layer: nn.BatchNorm2d, context: Context) -> Bound:
    """In evaluation mode (x - m) s + b with s = w / sqrt(v + eps): as a matrix diagonal, so Lipschitz max |s|.

    PyTorch computes x (w t) + (b - m (w t)) with t = 1 / sqrt(v + eps), the graph (x - m) s + b: either way at most 8
    roundings stand at any product, so the error is at most gamma_8 (|s| (|x| + |m|) + |b|). In l2 and l-infinity.
    """
    channels, rows, columns = context.map_shape()
    if layer.running_mean is None or layer.running_var is None:
        raise context.refuse("it has no running mean and variance; instead: track_running_stats=True")
    mean, variance = context.exact(layer.running_mean, channels), context.exact(layer.running_var, channels)
    if not (layer.eps >= 0.0 and (variance >= 0.0).all() and (variance + layer.eps > 0.0).all()):
        raise context.refuse("a variance is negative, or it and eps are 0")
    weight = np.ones(channels) if layer.weight is None else np.abs(context.exact(layer.weight, channels))
    scale = weight / np.sqrt(variance + layer.eps) * RAISED  # elementwise, so the same bits on every machine
    offset = scale * np.abs(mean) + np.abs(context.exact(layer.bias, channels))
    norm = l2(offset, rows * columns) if context.norm == "l2" else float(offset.max()) * RAISED
    bound = float(scale.max())
    return Bound(context.input_shape, bound, "scale", {}, fan_in=8, absolute_norm=bound, offset_norm=norm)


def token_linear(layer: TokenLinear, context: Context) -> Bound:
    """A kron I: the norm of the matrix A, once for all channels."""
    channels, rows, columns = context.map_shape()
    tokens = rows * columns
    weight = context.exact(layer.weight, tokens, tokens)
    proof = context.prove([(weight, None)])
    return Bound(
        context.input_shape,
        proof.bound,
        "gram-cholesky",
        asdict(proof),
        fan_in=tokens,
        absolute_norm=schur_bound(np.abs(weight)),
        offset_norm=l2(context.exact(layer.bias, tokens), channels),
    )


def apply_linear(layer: nn.Linear, weight: Tensor | None, x: Tensor) -> Tensor:
    assert weight is not None
    return F.linear(x, weight)


def apply_convolution(layer: nn.Conv2d, weight: Tensor | None, x: Tensor) -> Tensor:
    assert weight is not None
    return F.conv2d(x, weight, None, layer.stride, layer.padding)


def apply_token_linear(layer: TokenLinear, weight: Tensor | None, x: Tensor) -> Tensor:
    assert weight is not None
    return F.linear(x.flatten(2), weight).reshape(x.shape)


def apply_batch_norm(layer: nn.BatchNorm2d, weight: Tensor | None, x: Tensor) -> Tensor:
    assert layer.running_var is not None
    scale = (layer.running_var.to(x.dtype) + layer.eps).rsqrt()
    return x * (scale if weight is None else weight * scale)[:, None, None]


def apply_fixed(layer: nn.Module, weight: Tensor | None, x: Tensor) -> Tensor:
    """A linear layer that has neither weight nor bias."""
    return layer(x)
