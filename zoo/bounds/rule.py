"""What a rule is given and what it answers; the scalar bounds that rules share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zoo.bounds.spectral import Matrix, NormProof
from zoo.errors import UncertifiableLayerError

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


def spectral(
    method: str, proof: NormProof, extra: dict[str, float] | None = None
) -> tuple[float, str, dict[str, float]]:
    """The Lipschitz bound, the method and the proof of a layer that is a matrix, as `Bound` takes them."""
    return proof.bound * PUBLISHED, method, {**numbers(proof), **(extra or {})}


def numbers(proof: NormProof) -> dict[str, float]:
    return {"proved": proof.bound, "tau": proof.tau, "residual": proof.residual, "rounding": proof.rounding}


def schur_bound(matrix: Matrix) -> float:
    """At least the spectral norm of a nonnegative matrix: sqrt(|.|_1 |.|_inf).

    For a convolution the sum of |W_t| over the taps serves: a nonnegative symbol is largest at frequency 0.
    """
    return math.sqrt(float(matrix.sum(axis=0).max()) * float(matrix.sum(axis=1).max())) * (1.0 + 2.0**-30)


def l2(vector: Matrix, copies: int = 1) -> float:
    """At least the l2 norm of `copies` copies of the vector."""
    return math.sqrt(float(np.square(vector).sum()) * copies) * (1.0 + 2.0**-30)
