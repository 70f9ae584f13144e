"""The layers that PyTorch lacks. Each is named in the rule table of `zoo.bounds` by its exact type."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Pairing = Literal["halves", "neighbours"]


class Pixels(nn.Module):
    """Pixels clamped to [0, 1], then centred and scaled per channel: (clamp(x, 0, 1) - mean) * scale.

    The first layer of every network: normalisation is part of the model, so its factor is part of the
    Lipschitz bound, and the clamp makes [0, 1]^d the domain by construction (also for points of a
    certified ball that lie outside the box).

    Shapes: [N, C, H, W] to [N, C, H, W], with C = len(mean) = len(scale).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Sequence[float], scale: Sequence[float]):
        super().__init__()
        if len(mean) != len(scale):
            raise ValueError(f"one mean and one scale a channel, got {len(mean)} and {len(scale)}")
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        mean, scale = self.mean[:, None, None], self.scale[:, None, None]
        return (images.clamp(0, 1) - mean) * scale


class MinMax(nn.Module):
    """Each pair of channels replaced by its maximum and its minimum: a permutation, hence an isometry.

    `halves` pairs channel c with c + C/2 and gives all maxima, then all minima (SOC, LiResNet; C even).
    `neighbours` pairs 2c with 2c + 1 and keeps them in place, maximum first; with odd C the last channel
    passes unchanged (AOL, 1-Lipschitz Layers Compared). The two differ by a permutation of channels, so
    weights trained with one are not weights for the other.

    Shapes: [N, C, ...] to [N, C, ...].
    Source: Anil, Lucas, Grosse 2019, "Sorting out Lipschitz function approximation", arXiv 1811.05381.
    """

    def __init__(self, pairing: Pairing = "halves"):
        super().__init__()
        if pairing not in ("halves", "neighbours"):
            raise ValueError(f"pairing is 'halves' or 'neighbours', got {pairing!r}")
        self.pairing = pairing

    def forward(self, x: Tensor) -> Tensor:
        if self.pairing == "halves":
            first, second = x.chunk(2, dim=1)
            return torch.cat([torch.maximum(first, second), torch.minimum(first, second)], dim=1)
        channels = x.shape[1]
        paired = x[:, : channels - channels % 2].unflatten(1, (channels // 2, 2))
        first, second = paired[:, :, 0], paired[:, :, 1]
        sorted_pairs = torch.stack([torch.maximum(first, second), torch.minimum(first, second)], dim=2)
        return torch.cat([sorted_pairs.flatten(1, 2), x[:, channels - channels % 2 :]], dim=1)

    def extra_repr(self) -> str:
        return self.pairing


class Residual(nn.Module):
    """x + branch(x): the conventional residual block, whose branch may be any layers one after the other.

    Shapes: [N, ...] to the same; the branch keeps the shape of its input.
    """

    def __init__(self, *branch: nn.Module):
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)
