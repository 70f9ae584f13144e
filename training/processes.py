"""Means over a batch that several processes share, for layers that subtract one in training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


def mean_over_processes(mean: Tensor, count: int) -> Tensor:
    """The mean over the images of all processes, with its gradient, given the mean over `count` images of this one.

    Every process calls it. The shape stays; with one process so do the numbers.
    """
    if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
        return mean
    together = _Sum.apply(torch.cat([mean * count, mean.new_tensor([count])]))
    assert isinstance(together, Tensor)
    return together[:-1] / together[-1]


class _Sum(torch.autograd.Function):
    """The sum over all processes, whose losses all depend on it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _summed(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _summed(gradients[0])


def _summed(x: Tensor) -> Tensor:
    total = x.clone()
    distributed.all_reduce(total)
    return total
