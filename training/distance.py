"""Distance layers in training: l_p distances with p rising to infinity, less their mean over the batch.

Source: Zhang, Cai, Lu, He, Wang 2021, arXiv 2102.05363; Zhang, Jiang, He, Wang 2022, arXiv 2110.06850, and, for those
that sort, arXiv 2210.01787.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from training.processes import mean_over_processes
from zoo.layers import LInfDistance, SortedDistance

IDENTITY = -10.0  # a weight so far from the others that its input decides the distance, so that the layer passes it on
MAX_DIFFERENCES = 2**17  # the most differences that are held at a time
DRAWN = 32  # images that keep the same inputs
PART = 250  # images that pass a plain layer at a time
NEGLIGIBLE = -100.0  # log2 of the least power that counts; smaller ones would be subnormal, and slow


class LpDistance(LInfDistance):
    """u_j = (sum over i of |x_i - w_ji|^p)^(1/p) with p = `exponent` in training, and the plain layer in evaluation.

    With `shift`, the mean over the batch is subtracted in training, and the bias is not trained: `settle_means` sets
    it. Without, the bias is learned. Shapes: [N, in_features] to [N, out_features].

    The weights start as N(0, 1), but those at [i, i mod in_features] at -10 if there are no fewer outputs than inputs.
    """

    def __init__(self, in_features: int, out_features: int, shift: bool):
        super().__init__(in_features, out_features)
        self.exponent = math.inf
        self.shift = shift
        if in_features <= out_features:
            rows = torch.arange(out_features)
            with torch.no_grad():
                self.weight[rows, rows % in_features] = IDENTITY
        if shift:
            del self.bias
            self.register_buffer("bias", torch.zeros(out_features))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        distances = self.trained_distances(x)
        if not self.shift:
            return distances + self.bias
        return distances - mean_over_processes(distances.mean(dim=0), len(distances))

    def trained_distances(self, x: Tensor) -> Tensor:
        """What is trained in the place of the plain layer's distances."""
        return lp_distance(x, self.weight, self.exponent)


class LpSortedDistance(SortedDistance, LpDistance):
    """A SortedDistance trained by sampling: an LpDistance of some inputs, each of them kept with probability `keep`.

    With p = infinity its mean over the samples is what the plain layer computes, up to the terms that that leaves out.
    All neurons keep the same inputs, which are drawn anew for every 32 images.

    All weights start as N(0, 1), none at -10: a neuron that passes an input on would jump whenever that is not kept.
    """

    def __init__(self, in_features: int, out_features: int, shift: bool, keep: float, terms: int):
        LpDistance.__init__(self, in_features, out_features, shift)
        nn.init.normal_(self.weight)
        self.keep, self.terms = keep, terms

    def forward(self, x: Tensor) -> Tensor:
        return (LpDistance if self.training else SortedDistance).forward(self, x)

    def trained_distances(self, x: Tensor) -> Tensor:
        return torch.cat([self._drawn(part) for part in x.split(DRAWN)])

    def _drawn(self, x: Tensor) -> Tensor:
        kept = torch.rand(x.shape[1], device=x.device) < self.keep
        if not kept.any():
            kept[0] = True
        return lp_distance(x[:, kept], self.weight[:, kept], self.exponent)


@torch.no_grad()
def settle_means(network: nn.Sequential, x: Tensor) -> None:
    """Set each bias that stands for a mean shift: the plain layer's outputs get the mean 0 over these images.

    x: [N, ...], the network's inputs. The network is in evaluation mode afterwards.
    """
    network.eval()
    for layer in network:
        negative = layer.bias if isinstance(layer, LpDistance) and layer.shift else None
        if negative is not None:
            negative.zero_()
        x = torch.cat([layer(part) for part in x.split(PART)])
        if negative is not None:
            negative.copy_(-x.mean(dim=0))
            x = x + negative


def set_exponent(network: nn.Module, exponent: float) -> None:
    """Give every distance layer of the network this exponent p, infinity included."""
    for layer in network.modules():
        if isinstance(layer, LpDistance):
            layer.exponent = exponent


def lp_distance(x: Tensor, weight: Tensor, exponent: float) -> Tensor:
    """|x_n - w_j|_p for each n and j, for 1 < p <= infinity, with gradients. [N, I], [O, I] to [N, O].

    No power overflows, since the differences of a pair n, j are first divided by the largest. A power below 2^-100
    counts as 2^-100.
    """
    if exponent == math.inf:
        return torch.cdist(x, weight, p=math.inf)
    distances = _LpDistance.apply(x, weight, exponent)
    assert isinstance(distances, Tensor)
    return distances


class _LpDistance(torch.autograd.Function):
    """Works piece by piece, so that differences stay in the cache, and computes them again for the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, exponent: float) -> Tensor:
        distances = torch.cdist(x, weight, p=math.inf)
        for part, rows in _pieces(x, weight):
            near = distances[part, rows].T[:, :, None]
            sums = _powers(weight[rows, None] - x[part], near, exponent).sum(dim=2)
            distances[part, rows] *= sums.T.pow(1 / exponent)
        ctx.save_for_backward(x, weight, distances)
        ctx.exponent = exponent
        return distances

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """du_j / dx_i = sign(x_i - w_ji) (|x_i - w_ji| / u_j)^(p - 1), and its negative for w."""
        x, weight, distances = ctx.saved_tensors
        of_x, of_weight = torch.zeros_like(x), torch.zeros_like(weight)
        for part, rows in _pieces(x, weight):
            near, gradient = (values[part, rows].T[:, :, None] for values in (distances, gradients[0]))
            differences = weight[rows, None] - x[part]
            slopes = _powers(differences, near, ctx.exponent - 1).copysign_(differences).mul_(gradient)
            of_x[part] -= slopes.sum(dim=0)
            of_weight[rows] += slopes.sum(dim=1)
        return of_x, of_weight, None


def _pieces(x: Tensor, weight: Tensor) -> Iterator[tuple[slice, slice]]:
    """All pairs of a part of the batch and a part of the weight's rows."""
    images = max(1, min(len(x), MAX_DIFFERENCES // x.shape[1]))
    rows = max(1, MAX_DIFFERENCES // (images * x.shape[1]))
    for first, row in itertools.product(range(0, len(x), images), range(0, len(weight), rows)):
        yield slice(first, first + images), slice(row, row + rows)


def _powers(differences: Tensor, distances: Tensor, exponent: float) -> Tensor:
    """(|difference| / distance)^exponent to about five digits, by logarithms, which are four times as quick."""
    ratios = differences.abs().div_(distances.clamp(min=torch.finfo(distances.dtype).tiny))
    return ratios.clamp_(min=2 ** (NEGLIGIBLE / exponent)).log_().mul_(exponent).exp_()
