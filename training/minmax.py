"""MinMax that takes a fraction of PyTorch's time, above all backwards, for training and attacks.

It writes to where the numbers belong, in the order of memory that the input has: a copy would be as dear as all else.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from zoo.layers import MinMax


class QuickMinMax(MinMax):
    """The numbers of `MinMax`. Of two equal ones the first gets the gradient, where PyTorch gives each a half."""

    def forward(self, x: Tensor) -> Tensor:
        return _Sorted.apply(self, x)  # type: ignore[return-value]


def quicken(network: nn.Module) -> None:
    """Put a `QuickMinMax` in the place of every MinMax of the network."""
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if type(layer) is MinMax:
                setattr(parent, name, QuickMinMax(layer.pairing))


class _Sorted(torch.autograd.Function):
    """Its gradient is the incoming one, permuted as the numbers were."""

    @staticmethod
    def forward(ctx: Any, layer: MinMax, x: Tensor) -> Tensor:
        first, second = layer.split(x)
        swapped = torch.empty_like(first)  # 0 or 1 in the numbers' own type: `lerp` between them is exact, and quick
        ctx.layer = layer
        ctx.save_for_backward(torch.lt(first, second, out=swapped))
        result, (largest, least) = _like(x, layer)
        torch.maximum(first, second, out=largest)
        torch.minimum(first, second, out=least)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:  # type: ignore[override]
        (swapped,) = ctx.saved_tensors
        largest, least = ctx.layer.split(gradient)
        result, (first, second) = _like(gradient, ctx.layer)
        torch.lerp(largest, least, swapped, out=first)
        torch.lerp(least, largest, swapped, out=second)
        return None, result


def _like(x: Tensor, layer: MinMax) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A new tensor with the channel of `x` that has no partner, if any, and the places of the pairs in it."""
    result = torch.empty_like(x)
    places = layer.split(result)
    paired = 2 * places[0].shape[1]
    result[:, paired:] = x[:, paired:]
    return result, places
