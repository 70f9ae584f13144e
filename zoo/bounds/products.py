"""Upper bounds of the norms of products of linear layers, on matrices written out with their rounding error.

The symbols of `zoo.bounds.convolution` are no help here: a torus bounds one zero-padded convolution, but the product of
two circular convolutions is not above the product of the truncated ones, which cut the map off in between.

A product is followed as a batch of vectors, the images of a basis, and one number: X^ is what was computed of X, and
|X^ - X|_F <= error. A layer A with sums of n products gives

    |fl(A X^) - A X|_F <= |A| error + gamma_{n+2} | |A| | |X^|_F,

and the constants |A|, | |A| | and n are those of the layer's own rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo.bounds.rounding import OUTWARD, TINY, gamma
from zoo.bounds.rule import Bound, Shape
from zoo.bounds.spectral import NormProof, spectral_norm_bound
from zoo.records import LayerBound

MAX_NORM = 1e60  # of a product: so that the square of its Gram matrix stays within binary64
# Of a product of norms below 1: so that no product of norms underflows, whatever is multiplied later. What entries of
# matrices lose, which may cancel, the errors that are carried along outweigh: at least gamma times those norms.
LEAST = 1e-200


class Operator:
    """A linear layer without its bias, in binary64, and what bounds it and its rounding.

    `norm` and `absolute` bound |A| and | |A| |; `terms` the products in a sum of A x or of A^T u, 0 where both are
    exact. Both are computed by PyTorch's binary64 CPU kernels, which are matrix products and sums.
    """

    def __init__(
        self,
        layer: nn.Module,
        linear: Callable[[Any, Tensor | None, Tensor], Tensor],
        input_shape: Shape,
        bound: Bound | LayerBound,
    ):
        self.layer, self.linear = layer, linear
        self.input_shape, self.output_shape = input_shape, bound.output_shape
        self.norm, self.absolute = bound.lipschitz_bound, bound.absolute_norm
        weight = getattr(layer, "weight", None)
        self.terms = bound.fan_in
        if weight is not None and weight.ndim > 1:  # the adjoint's sums; a weight [C] scales channels and sums nothing
            self.terms = max(bound.fan_in, weight.numel() // weight.shape[1])
        self.weight = None if weight is None else weight.detach().double()

    def apply(self, vectors: Tensor) -> Tensor:
        """A x for each x of the batch: [N, *input_shape] to [N, *output_shape]."""
        return self.linear(self.layer, self.weight, vectors)

    def adjoint(self, images: Tensor) -> Tensor:
        """A^T u for each u of the batch: [N, *output_shape] to [N, *input_shape]."""
        with torch.enable_grad():
            start = images.new_zeros(len(images), *self.input_shape).requires_grad_(True)
            return torch.autograd.grad(self.apply(start), start, images)[0]


Chain = tuple[Operator, ...]  # one after the other; empty: the identity


def chain_norm(chain: Chain) -> float:
    """At least the norm of the product: the product of the norms."""
    return math.prod(operator.norm * OUTWARD for operator in chain) * OUTWARD


def representable(*chains: Chain) -> bool:
    """Whether no product of layers of these chains can come near the largest or the least number of binary64."""
    norms = [operator.norm for chain in chains for operator in chain]
    largest, least = (math.prod(choose(1.0, norm) for norm in norms) for choose in (max, min))
    return largest <= MAX_NORM and least >= LEAST


@dataclass(frozen=True)
class Vectors:
    """A batch [N, *shape] as computed; its error's Frobenius norm is at most `error`."""

    computed: Tensor
    error: float = 0.0

    @property
    def size(self) -> float:
        """At least the Frobenius norm of what was computed."""
        return math.sqrt(float(self.computed.square().sum()) + TINY) * (1.0 + 2.0**-16)  # squares may underflow

    def through(self, chain: Chain, adjoint: bool = False) -> Vectors:
        """The batch after the chain's layers, first to last; with `adjoint`, after their adjoints, last to first."""
        vectors = self
        for operator in reversed(chain) if adjoint else chain:
            local = gamma(operator.terms + 2) * operator.absolute * vectors.size + TINY if operator.terms else 0.0
            images = operator.adjoint(vectors.computed) if adjoint else operator.apply(vectors.computed)
            vectors = Vectors(images, (operator.norm * vectors.error + local) * OUTWARD)
        return vectors

    def plus(self, other: Vectors, factor: float) -> Vectors:
        """The batch plus a multiple of another one."""
        rounding = gamma(2) * (self.size + factor * other.size)
        total = self.computed + factor * other.computed
        return Vectors(total, (self.error + factor * other.error + rounding) * OUTWARD + TINY)

    def times(self, factor: float) -> Vectors:
        return Vectors(self.computed * factor, (factor * (self.error + gamma(1) * self.size)) * OUTWARD + TINY)

    def norm(self) -> NormProof:
        """A proof of the norm of the matrix whose rows these vectors are."""
        return spectral_norm_bound([(self.computed.flatten(1).numpy(), None)], perturbation=self.error)


def basis(shape: Shape) -> Vectors:
    """The unit vectors of a space: [N, *shape] with N its dimension."""
    return Vectors(torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape))
