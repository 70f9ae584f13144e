"""What a rule is given and what it answers; the scalar bounds that rules share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from zoo.bounds.spectral import Matrix, NormProof, spectral_norm_bound
from zoo.errors import UncertifiableLayerError
from zoo.rounding import gamma

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
    """What a rule may know besides its layer: the norm, the input's shape, taus to start from, a progress bar.

    `advance` is called with the number of matrices that a proof will factor, then with 0 after each of them.
    """

    name: str
    input_shape: Shape
    advance: Callable[[int], None] = lambda total: None
    taus: Mapping[str, float] = field(default_factory=dict)  # by the full name of a layer, or of a part of one
    norm: str = "l2"  # or "linf": of the layer's input and of its output
    gain: float = 1.0  # inside a block: at least what the block's layers before this one multiply its input by

    def refuse(self, reason: str) -> UncertifiableLayerError:
        return UncertifiableLayerError(f"layer {self.name!r} cannot be certified: {reason}")

    def inside(self, name: str, input_shape: Shape) -> Context:
        """The context of a layer inside this one."""
        return replace(self, name=f"{self.name}.{name}", input_shape=input_shape)

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
        """The proof for a family of `count` matrices, from its tau, with its progress."""
        self.advance(count)
        tau = self.taus.get(self.name, 0.0)
        return spectral_norm_bound(family, tau, perturbation, divisor, lambda: self.advance(0))


# Sums in `schur_bound` and `l2` have fewer than 2^22 terms; their results are published this far above them, as is all
# that `zoo.verify` accepts a little below what it finds itself, for another machine's order of summation.
RAISED = 1.0 + 2.0**-30


def schur_bound(matrix: Matrix) -> float:
    """At least the spectral norm of a nonnegative matrix: sqrt(|.|_1 |.|_inf).

    For a convolution the sum of |W_t| over the taps serves: a nonnegative symbol is largest at frequency 0.
    """
    return math.sqrt(float(matrix.sum(axis=0).max()) * float(matrix.sum(axis=1).max())) * RAISED


def l2(vector: Matrix, copies: int = 1) -> float:
    """At least the l2 norm of `copies` copies of the vector."""
    return math.sqrt(float(np.square(vector).sum()) * copies) * RAISED


def l1_of_rows(rows: Matrix) -> Matrix:
    """At least the l1 norm of each row, added column by column, the same bits on every machine; rows known up to u."""
    total = np.zeros(len(rows))
    for column in np.ascontiguousarray(np.abs(rows).T):
        total = total + column
    return total * (1.0 + gamma(rows.shape[1] + 8))


def matrix_of(layer: nn.Linear, context: Context) -> Matrix:
    """The matrix of a Linear that fits its input."""
    if context.input_shape != (layer.in_features,):
        raise context.refuse(f"it expects [{layer.in_features}], its input has the shape {list(context.input_shape)}")
    return context.exact(layer.weight, layer.out_features, layer.in_features)
