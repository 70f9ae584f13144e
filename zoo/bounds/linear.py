"""Rules in l2 of the trained layers that are one linear map and a bias, and the maps themselves."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.bounds.convolution import convolution_norm, kernel_of, sizes_of
from zoo.bounds.lowered import rounding
from zoo.bounds.rule import Bound, Context, l2, matrix_of, schur_bound
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


def apply_fixed(layer: nn.Module, weight: Tensor | None, x: Tensor) -> Tensor:
    """A linear layer that has neither weight nor bias."""
    return layer(x)
