"""Proved Lipschitz bounds in l2, one rule per layer type.

The table `RULES` is keyed by the *exact* type: a subclass may compute something else, so it inherits no rule. A type
without a rule, and an option that the rule does not prove, raise UncertifiableLayerError; nothing counts as 1 by
default.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from zoo.bounds.convolution import (
    dense_matrix,
    geometry,
    output_shape,
    symbol_count,
    symbol_rounding,
    torus_sides,
    torus_symbols,
)
from zoo.bounds.spectral import Matrix, NormProof, spectral_norm_bound
from zoo.errors import UncertifiableLayerError
from zoo.layers import MinMax, Pixels
from zoo.records import LayerBound
from zoo.rounding import OUTWARD

# A published bound stands this far above the proved number, so that a proof repeated on another machine, whose sums
# round in another order, still ends below it.
PUBLISHED = 1.0 + 2.0**-32

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Bound:
    """What a rule proves of its layer; the fields are those of `records.LayerBound`."""

    output_shape: Shape
    lipschitz_bound: float
    method: str
    proof: dict[str, float]
    fan_in: int = 0
    absolute_norm: float = 1.0
    offset_norm: float = 0.0
    range_norm: float | None = None


@dataclass(frozen=True)
class Context:
    """What a rule may know besides its layer: the input's shape, a tau to start from, a progress bar to advance."""

    name: str
    input_shape: Shape
    tau: float = 0.0
    advance: Callable[[], None] = lambda: None

    def refuse(self, reason: str) -> UncertifiableLayerError:
        return UncertifiableLayerError(f"layer {self.name!r} cannot be certified: {reason}")

    def map_shape(self) -> tuple[int, int, int]:
        if len(self.input_shape) != 3:
            raise self.refuse(f"it expects maps [C, H, W], its input has the shape {list(self.input_shape)}")
        return self.input_shape  # type: ignore[return-value]

    def exact(self, tensor: Tensor | None, size: int = 0) -> Matrix:
        """The stored float32 numbers as float64; zeros of length `size` for a missing bias."""
        if tensor is None:
            return np.zeros(size)
        if tensor.dtype != torch.float32:
            raise self.refuse(f"its weights are {tensor.dtype}, certificates speak of torch.float32")
        array = tensor.detach().cpu().numpy().astype(np.float64)
        if not np.isfinite(array).all():
            raise self.refuse("a weight is NaN or infinite")
        return array


def bound_layer(layer: nn.Module, context: Context) -> Bound:
    """The proved bound of one layer. Raises UncertifiableLayerError where there is no proof."""
    rule = RULES.get(type(layer))
    if rule is None:
        known = ", ".join(sorted(kind.__name__ for kind in RULES))
        raise context.refuse(f"no rule for {type(layer).__name__}; there are rules for {known}")
    if changed_by_hooks(layer):
        raise context.refuse("a hook or a replaced `forward` changes what it computes")
    return rule(layer, context)


def changed_by_hooks(layer: nn.Module) -> bool:
    """Whether something besides its class decides what the layer computes."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer))


def _pixels(layer: Pixels, context: Context) -> Bound:
    """x -> (clamp(x, 0, 1) - mean) * scale: Lipschitz max |scale|; the clamp is 1-Lipschitz and exact."""
    channels, rows, columns = context.map_shape()
    mean, scale = context.exact(layer.mean), np.abs(context.exact(layer.scale))
    if len(mean) != channels:
        raise context.refuse(f"it has {len(mean)} channels, its input {channels}")
    pixels = rows * columns
    reach = np.maximum(np.abs(mean), np.abs(1.0 - mean)) * scale
    return Bound(
        context.input_shape,
        float(scale.max()),
        "scale",
        {},
        fan_in=1,
        absolute_norm=float(scale.max()),
        offset_norm=_l2(mean * scale, pixels),
        range_norm=_l2(reach, pixels),
    )


def _nonexpansive(layer: nn.Module, context: Context) -> Bound:
    """ReLU and MinMax: 1-Lipschitz, 0 to 0, and exact in floating point, for they only choose among their inputs."""
    if isinstance(layer, MinMax) and layer.pairing == "halves" and context.input_shape[0] % 2:
        raise context.refuse(f"halves of {context.input_shape[0]} channels do not pair")
    return Bound(context.input_shape, 1.0, "nonexpansive", {})


def _flatten(layer: nn.Flatten, context: Context) -> Bound:
    if (layer.start_dim, layer.end_dim) != (1, -1):
        raise context.refuse("only a flattening of all dimensions but the batch is proved")
    return Bound((math.prod(context.input_shape),), 1.0, "nonexpansive", {})


def _linear(layer: nn.Linear, context: Context) -> Bound:
    if context.input_shape != (layer.in_features,):
        raise context.refuse(f"it expects [{layer.in_features}], its input has the shape {list(context.input_shape)}")
    weight = context.exact(layer.weight)
    offset = _l2(context.exact(layer.bias, layer.out_features))
    proof = spectral_norm_bound([(weight, None)], context.tau, advance=context.advance)
    absolute = _schur_bound(np.abs(weight))
    return Bound(
        (layer.out_features,), *_spectral("gram-cholesky", proof), layer.in_features, absolute, offset_norm=offset
    )


def _convolution(layer: nn.Conv2d, context: Context) -> Bound:
    shape = context.map_shape()
    for option, proved in (("groups", 1), ("dilation", (1, 1)), ("padding_mode", "zeros")):
        if getattr(layer, option) != proved:
            raise context.refuse(f"{option}={getattr(layer, option)!r} is not proved, only {proved!r}")
    if isinstance(layer.padding, str):
        raise context.refuse(f"padding={layer.padding!r} is not proved, only numbers")
    if shape[0] != layer.in_channels:
        raise context.refuse(f"it has {layer.in_channels} input channels, its input {shape[0]}")
    outputs = output_shape(layer, shape)
    if min(outputs) < 1:
        raise context.refuse(f"its kernel does not fit a map of {shape[1]} x {shape[2]}")
    kernel = context.exact(layer.weight)
    method, proof, extra = "gram-cholesky", None, {}
    match geometry(layer, shape):
        case "patches":
            flat = kernel.reshape(len(kernel), -1)
            proof = spectral_norm_bound([(flat, None)], context.tau, advance=context.advance)
        case "dense":
            matrix = dense_matrix(kernel, layer, shape)
            proof = spectral_norm_bound([(matrix, None)], context.tau, advance=context.advance)
        case "torus":
            method, stride, sides = "torus-symbol", (layer.stride[0], layer.stride[1]), torus_sides(layer, shape)
            aliases = math.sqrt(stride[0] * stride[1])
            symbol_error = symbol_rounding(kernel)
            symbols = torus_symbols(kernel, stride, sides)
            proof = spectral_norm_bound(symbols, context.tau, symbol_error * aliases * OUTWARD, context.advance)
            proof = NormProof(proof.bound / aliases * OUTWARD, proof.tau, proof.residual, proof.rounding)
            extra = {
                "symbol_rounding": symbol_error,
                "torus_rows": float(sides[0]),
                "torus_columns": float(sides[1]),
                "frequencies": float(symbol_count(stride, sides)),
            }
    return Bound(
        outputs,
        *_spectral(method, proof, extra),
        fan_in=math.prod(kernel.shape[1:]),
        absolute_norm=_schur_bound(np.abs(kernel).sum(axis=(2, 3))),
        offset_norm=_l2(context.exact(layer.bias, layer.out_channels), outputs[1] * outputs[2]),
    )


def _spectral(
    method: str, proof: NormProof, extra: dict[str, float] | None = None
) -> tuple[float, str, dict[str, float]]:
    numbers = {"proved": proof.bound, "tau": proof.tau, "residual": proof.residual, "rounding": proof.rounding}
    return proof.bound * PUBLISHED, method, {**numbers, **(extra or {})}


def _schur_bound(matrix: Matrix) -> float:
    """At least the spectral norm of a nonnegative matrix: sqrt(|.|_1 |.|_inf).

    For a convolution the sum of |W_t| over the taps serves: a nonnegative symbol is largest at frequency 0.
    """
    return math.sqrt(float(matrix.sum(axis=0).max()) * float(matrix.sum(axis=1).max())) * (1.0 + 2.0**-30)


def _l2(vector: Matrix, copies: int = 1) -> float:
    """At least the l2 norm of `copies` copies of the vector."""
    return math.sqrt(float(np.square(vector).sum()) * copies) * (1.0 + 2.0**-30)


RULES: dict[type[nn.Module], Callable[..., Bound]] = {
    Pixels: _pixels,
    MinMax: _nonexpansive,
    nn.ReLU: _nonexpansive,
    nn.Flatten: _flatten,
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
}


def layer_bound(name: str, layer: nn.Module, context: Context, estimate: float) -> LayerBound:
    """The record of a layer's proved bound, with an estimate beside it that says how tight it is."""
    bound = bound_layer(layer, context)
    return LayerBound(name, type(layer).__name__, context.input_shape, lipschitz_estimate=estimate, **vars(bound))
