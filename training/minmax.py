"""MinMax with a backward pass that takes a fraction of PyTorch's time, for training and attacks."""

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
        return layer.join(torch.maximum(first, second), torch.minimum(first, second), x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:  # type: ignore[override]
        (swapped,) = ctx.saved_tensors
        largest, least = ctx.layer.split(gradient)
        return None, ctx.layer.join(torch.lerp(largest, least, swapped), torch.lerp(least, largest, swapped), gradient)
