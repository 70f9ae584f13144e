"""Proved Lipschitz bounds in l2, one rule per layer type.

The table `RULES` is keyed by the *exact* type: a subclass may compute something else, so it inherits no rule. A type
without a rule, and an option that the rule does not prove, raise UncertifiableLayerError; nothing counts as 1 by
default.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

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
from zoo.rounding import OUTWARD

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
    """What a rule may know besides its layer: the input's shape, a tau to start from, a progress bar.

    `advance` is called with the number of matrices that a proof will factor, then with 0 after each of them.
    """

    name: str
    input_shape: Shape
    tau: float = 0.0
    advance: Callable[[int], None] = lambda total: None

    def refuse(self, reason: str) -> UncertifiableLayerError:
        return UncertifiableLayerError(f"layer {self.name!r} cannot be certified: {reason}")

    def map_shape(self) -> tuple[int, int, int]:
        if len(self.input_shape) != 3:
            raise self.refuse(f"it expects maps [C, H, W], its input has the shape {list(self.input_shape)}")
        return self.input_shape  # type: ignore[return-value]

    def exact(self, tensor: Tensor | None, *shape: int) -> Matrix:
        """The stored float32 numbers as float64, of exactly this shape; zeros for a missing bias."""
        if tensor is None:
            return np.zeros(shape)
        if tuple(tensor.shape) != shape:
            raise self.refuse(f"a tensor has the shape {list(tensor.shape)}, expected {list(shape)}")
        if tensor.dtype != torch.float32:
            raise self.refuse(f"its weights are {tensor.dtype}, certificates speak of torch.float32")
        array = tensor.detach().cpu().numpy().astype(np.float64)
        if not np.isfinite(array).all():
            raise self.refuse("a weight is NaN or infinite")
        return array

    def prove(
        self,
        family: Iterable[tuple[Matrix, Matrix | None]],
        count: int = 1,
        perturbation: float = 0.0,
        divisor: float = 1.0,
    ) -> NormProof:
        """The proof for a family of `count` matrices, from this context's tau, with its progress."""
        self.advance(count)
        return spectral_norm_bound(family, self.tau, perturbation, divisor, lambda: self.advance(0))


def bound_layer(layer: nn.Module, context: Context) -> Bound:
    """The proved bound of one layer. Raises UncertifiableLayerError where there is no proof."""
    rule = RULES.get(type(layer))
    if rule is None:
        known = ", ".join(sorted(kind.__name__ for kind in RULES))
        raise context.refuse(f"no rule for {type(layer).__name__}; there are rules for {known}")
    if changed_by_hooks(layer):
        raise context.refuse("a hook or a replaced method changes what it computes")
    return rule(layer, context)


def changed_by_hooks(layer: nn.Module) -> bool:
    """Whether something besides its class decides what the layer computes: a hook, or a method of its own."""
    replaced = any(callable(getattr(type(layer), name, None)) for name in vars(layer))
    return bool(layer._forward_hooks or layer._forward_pre_hooks or replaced)


def _pixels(layer: Pixels, context: Context) -> Bound:
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
    weight = context.exact(layer.weight, layer.out_features, layer.in_features)
    proof = context.prove([(weight, None)])
    return Bound(
        (layer.out_features,),
        proof.bound,
        "gram-cholesky",
        asdict(proof),
        fan_in=layer.in_features,
        absolute_norm=_schur_bound(np.abs(weight)),
        offset_norm=_l2(context.exact(layer.bias, layer.out_features)),
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
    kernel = context.exact(layer.weight, layer.out_channels, layer.in_channels, *layer.kernel_size)
    method, torus = "gram-cholesky", {}
    match geometry(layer, shape):
        case "patches":
            proof = context.prove([(kernel.reshape(len(kernel), -1), None)])
        case "dense":
            proof = context.prove([(dense_matrix(kernel, layer, shape), None)])
        case "torus":
            method, stride, sides = "torus-symbol", (layer.stride[0], layer.stride[1]), torus_sides(layer, shape)
            count, aliases = symbol_count(stride, sides), math.sqrt(stride[0] * stride[1])
            perturbation = symbol_rounding(kernel) * aliases * OUTWARD
            proof = context.prove(torus_symbols(kernel, stride, sides), count, perturbation, aliases)
            torus = {"torus_rows": float(sides[0]), "torus_columns": float(sides[1]), "frequencies": float(count)}
    return Bound(
        outputs,
        proof.bound,
        method,
        {**asdict(proof), **torus},
        fan_in=math.prod(kernel.shape[1:]),
        absolute_norm=_schur_bound(np.abs(kernel).sum(axis=(2, 3))),
        offset_norm=_l2(context.exact(layer.bias, layer.out_channels), outputs[1] * outputs[2]),
    )


# Sums in `_schur_bound` and `_l2` have fewer than 2^22 terms; their results are published this far above them.
RAISED = 1.0 + 2.0**-30


def _schur_bound(matrix: Matrix) -> float:
    """At least the spectral norm of a nonnegative matrix: sqrt(|.|_1 |.|_inf).

    For a convolution the sum of |W_t| over the taps serves: a nonnegative symbol is largest at frequency 0.
    """
    return math.sqrt(float(matrix.sum(axis=0).max()) * float(matrix.sum(axis=1).max())) * RAISED


def _l2(vector: Matrix, copies: int = 1) -> float:
    """At least the l2 norm of `copies` copies of the vector."""
    return math.sqrt(float(np.square(vector).sum()) * copies) * RAISED


RULES: dict[type[nn.Module], Callable[..., Bound]] = {
    Pixels: _pixels,
    MinMax: _nonexpansive,
    nn.ReLU: _nonexpansive,
    nn.Flatten: _flatten,
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
}
