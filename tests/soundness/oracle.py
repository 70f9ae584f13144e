"""What the tests build and certify, and whether a number bounds a matrix's norm, decided with no rounding at all.

`replay.py` has the values of networks in exact arithmetic.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from zoo.bounds.rule import Context
from zoo.bounds.table import bound_layer
from zoo.certificate.certify import certify
from zoo.certificate.model import CertifiedModel
from zoo.layers import LInfDistance, Pixels, SortedDistance
from zoo.records import Certificate

from .replay import SCALE

Shape = tuple[int, ...]


# Networks ------------------------------------------------------------------------------------------------------------


def linear(weight: ArrayLike, bias: ArrayLike | None = None) -> nn.Linear:
    """A linear layer that stores these numbers; without a bias, one of zeros."""
    matrix = torch.tensor(np.asarray(weight), dtype=torch.float32)
    layer = nn.Linear(matrix.shape[1], matrix.shape[0])
    return _store(layer, matrix, bias)


def conv(
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
) -> nn.Conv2d:
    """A convolution that stores this kernel [O, I, rows, columns]; without a bias, one of zeros."""
    taps = torch.tensor(np.asarray(kernel), dtype=torch.float32)
    layer = nn.Conv2d(taps.shape[1], taps.shape[0], tuple(taps.shape[2:]), stride, padding)
    return _store(layer, taps, bias)


Stored = TypeVar("Stored", nn.Linear, nn.Conv2d, LInfDistance, SortedDistance)


def _store(layer: Stored, weight: Tensor, bias: ArrayLike | None) -> Stored:
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(torch.zeros(len(weight)) if bias is None else torch.tensor(np.asarray(bias)))
    return layer


def network(*layers: nn.Module, channels: int = 1) -> nn.Sequential:
    """The layers behind a Pixels that only clamps, unless they bring their own."""
    first = () if type(layers[0]) is Pixels else (Pixels([0.0] * channels, [1.0] * channels),)
    return nn.Sequential(*first, *layers).requires_grad_(False).eval()


def distance(weight: ArrayLike, bias: ArrayLike | None = None) -> LInfDistance:
    """A distance layer that stores these numbers; without a bias, one of zeros."""
    matrix = torch.tensor(np.asarray(weight), dtype=torch.float32)
    return _store(LInfDistance(matrix.shape[1], matrix.shape[0]), matrix, bias)


def sorted_distance(
    weight: ArrayLike, bias: ArrayLike | None = None, keep: float = 0.7, terms: int = 9
) -> SortedDistance:
    """The same, with shares of the largest differences."""
    matrix = torch.tensor(np.asarray(weight), dtype=torch.float32)
    return _store(SortedDistance(matrix.shape[1], matrix.shape[0], keep, terms), matrix, bias)


def lipschitz_bound(layer: nn.Module, shape: Shape, norm: str = "l2") -> float:
    return bound_layer(layer, Context("layer", shape, norm=norm)).lipschitz_bound


def certified(
    net: nn.Sequential, shape: Shape, norm: str = "l2", levels: Sequence[float] = ()
) -> tuple[Certificate, CertifiedModel]:
    """The network's certificate and its certified model, as a reader of the certificate builds it."""
    certificate = certify(net, shape, norm, levels)
    return certificate, CertifiedModel.of(net, certificate)


# Norms ---------------------------------------------------------------------------------------------------------------


def operator(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, shape: Shape) -> NDArray[np.float64]:
    """The layer's linear part as a matrix [outputs, inputs], by PyTorch's own convolution of unit vectors."""
    units = torch.eye(math.prod(shape), dtype=torch.float64).unflatten(1, shape)
    double = copy.deepcopy(layer).double().requires_grad_(False)
    double.bias = None
    return double(units).flatten(1).T.numpy()


def is_above_norm(bound: float, matrix: NDArray[np.float64]) -> bool:
    """Whether bound > |matrix|, decided in integers: bound^2 I - A A^T has only positive leading minors.

    matrix: float32 numbers. Meant for a smaller side of up to about 24.
    """
    entries = _integers(matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T)
    numerator, denominator = Fraction(bound).as_integer_ratio()
    rest = -(denominator**2) * (entries @ entries.T)
    rest[np.diag_indices(len(rest))] += numerator**2 * 4**SCALE
    previous = 1
    for pivot in range(len(rest)):  # Bareiss: the pivots are the leading minors
        if rest[pivot, pivot] <= 0:
            return False
        below = rest[pivot + 1 :, pivot + 1 :] * rest[pivot, pivot]
        below -= np.outer(rest[pivot + 1 :, pivot], rest[pivot, pivot + 1 :])
        rest[pivot + 1 :, pivot + 1 :] = below // previous
        previous = rest[pivot, pivot]
    return True


def stretch(matrix: NDArray[np.float64]) -> Fraction:
    """|A v|^2 / |v|^2, exactly, for a vector v next to the top singular vector: at most |A|^2, and that to 1e-15."""
    size = float(np.abs(matrix).max(initial=0.0))
    if size == 0.0:
        return Fraction(0)
    top = np.linalg.eigh((matrix / size).T @ (matrix / size))[1][:, -1]
    vector = np.array([int(entry * 2**40) for entry in top], dtype=object)
    image = _integers(matrix) @ vector
    return Fraction(int(image @ image), int(vector @ vector) * 4**SCALE)


def _integers(matrix: NDArray[np.float64]) -> NDArray[np.object_]:
    return np.array([[int(math.ldexp(entry, SCALE)) for entry in row] for row in matrix.tolist()], dtype=object)
