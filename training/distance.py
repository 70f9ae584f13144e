"""The l-infinity distance layer while it is trained: l_p distances, p rising to infinity, their batch mean subtracted.

Source: Zhang, Cai, Lu, He, Wang 2021, arXiv 2102.05363; Zhang, Jiang, He, Wang 2022, arXiv 2110.06850.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from zoo.layers import LInfDistance

MOMENTUM = 0.1  # of the running mean
IDENTITY = -10.0  # a weight so far from the others that its input decides the distance: the layer passes it on
CHUNK = 2**17  # differences that are held at a time
NEGLIGIBLE = -100.0  # log2 of what a power counts for nothing below; smaller ones would be subnormal, and slow


class LpDistance(LInfDistance):
    """u_j = (sum over i of |x_i - w_ji|^p)^(1/p), p = `exponent`; at p = infinity what the plain layer computes.

    With `shift` the mean over the batch is subtracted in training, and folds into the bias as a running mean: it is the
    bias that the plain layer adds. Without, the bias is learned. Shapes: [N, in_features] to [N, out_features].

    The weights start as N(0, 1), those at [i, i mod in_features] at -10 where the layer does not reduce its input.
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
        distances = lp_distance(x, self.weight, self.exponent)
        if not (self.shift and self.training):
            return distances + self.bias
        mean = distances.mean(dim=0)
        with torch.no_grad():
            self.bias.lerp_(-mean.to(self.bias), MOMENTUM)
        return distances - mean


def set_exponent(network: nn.Module, exponent: float) -> None:
    """Give every distance layer of the network this exponent p, infinity included."""
    for layer in network.modules():
        if isinstance(layer, LpDistance):
            layer.exponent = exponent


def lp_distance(x: Tensor, weight: Tensor, exponent: float) -> Tensor:
    """|x_n - w_j|_p for each n and j, for 1 < p <= infinity, with gradients. [N, I], [O, I] to [N, O].

    No power overflows: differences are divided by the largest of their pair first. Powers below 2^-100 of the largest
    count 2^-100.
    """
    if exponent == math.inf:
        return torch.cdist(x, weight, p=math.inf)
    distances = _LpDistance.apply(x, weight, exponent)
    assert isinstance(distances, Tensor)
    return distances


class _LpDistance(torch.autograd.Function):
    """Row by row, so that differences stay in the cache and are computed again for the gradient, not kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, exponent: float) -> Tensor:
        largest = torch.cdist(x, weight, p=math.inf)
        sums = [
            _powers(rows[:, None] - x, near.T[:, :, None], exponent).sum(dim=2).T
            for rows, near in _pieces(x, weight, largest)
        ]
        distances = largest * torch.cat(sums, dim=1).pow_(1 / exponent)
        ctx.save_for_backward(x, weight, distances)
        ctx.exponent = exponent
        return distances

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """du_j / dx_i = sign(x_i - w_ji) (|x_i - w_ji| / u_j)^(p - 1), and its negative for w."""
        x, weight, distances = ctx.saved_tensors
        of_x, of_weight = torch.zeros_like(x), []
        for rows, pair in _pieces(x, weight, torch.stack([distances, gradients[0]])):
            near, gradient = (part.T[:, :, None] for part in pair)
            differences = rows[:, None] - x
            slopes = _powers(differences, near, ctx.exponent - 1).copysign_(differences).mul_(gradient)
            of_x -= slopes.sum(dim=0)
            of_weight.append(slopes.sum(dim=1))
        return of_x, torch.cat(of_weight), None


def _pieces(x: Tensor, weight: Tensor, outputs: Tensor) -> zip:  # type: ignore[type-arg]
    """The weight's rows, a few at a time, each with its part of the outputs [..., O]."""
    rows = max(1, CHUNK // x.numel())
    return zip(weight.split(rows), outputs.split(rows, dim=-1), strict=True)


def _powers(differences: Tensor, distances: Tensor, exponent: float) -> Tensor:
    """(|difference| / distance)^exponent, a fresh tensor, to about five digits: by logarithms, four times as quick."""
    ratios = differences.abs().div_(distances.clamp(min=torch.finfo(distances.dtype).tiny))
    return ratios.clamp_(min=2 ** (NEGLIGIBLE / exponent)).log_().mul_(exponent).exp_()
