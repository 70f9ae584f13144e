"""Layers without trained weights: normalisation, activations, and layers that move, pad or average numbers."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Pairing = Literal["halves", "neighbours"]

DIRECTIONS = ((2, 1), (2, -1), (3, 1), (3, -1))  # of SpatialShift: an axis of [N, C, H, W], and the step along it


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
        self.pairing: Pairing = pairing

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.split(x)
        return self.join(torch.maximum(first, second), torch.minimum(first, second), x)

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """The first and the second channels of the pairs: [N, C // 2, ...] each."""
        if self.pairing == "halves":
            return x.chunk(2, dim=1)
        channels = x.shape[1]
        paired = x[:, : channels - channels % 2].unflatten(1, (channels // 2, 2))
        return paired[:, :, 0], paired[:, :, 1]

    def join(self, first: Tensor, second: Tensor, x: Tensor) -> Tensor:
        """The reverse of `split`: both put where `split` takes them from in `x`, beside the channel that it omits."""
        if self.pairing == "halves":
            return torch.cat([first, second], dim=1)
        paired = 2 * first.shape[1]
        return torch.cat([torch.stack([first, second], dim=2).flatten(1, 2), x[:, paired:]], dim=1)

    def extra_repr(self) -> str:
        return self.pairing


class GroupSort(nn.Module):
    """Each group of `size` neighbouring channels sorted, the largest first: a permutation, hence an isometry.

    Of size 2 it is MinMax("neighbours").

    Shapes: [N, C, ...] to the same, `size` divides C.
    Source: Anil, Lucas, Grosse 2019, "Sorting out Lipschitz function approximation", arXiv 1811.05381.
    """

    def __init__(self, size: int):
        super().__init__()
        if size < 1:
            raise ValueError(f"a group has at least one channel, got {size}")
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        groups = x.unflatten(1, (x.shape[1] // self.size, self.size))
        return groups.sort(dim=2, descending=True).values.flatten(1, 2)

    def extra_repr(self) -> str:
        return str(self.size)


class Abs(nn.Module):
    """The absolute value of each number, or of those in the first `channels` alone: 1-Lipschitz.

    Shapes: [N, C, ...] to the same.
    """

    def __init__(self, channels: int | None = None):
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        if self.channels is None:
            return x.abs()
        return torch.cat([x[:, : self.channels].abs(), x[:, self.channels :]], dim=1)

    def extra_repr(self) -> str:
        return "" if self.channels is None else str(self.channels)


class SpatialShift(nn.Module):
    """Four groups of `group` channels, each a step further along the map, in four directions: an isometry.

    The first goes down, the second up, the third right, the fourth left, and what leaves the map comes in at the other
    side. The other channels stay. Shapes: [N, C, H, W] to the same, C at least 4 group.
    Source: Hu, Hu, Fredrikson 2026 (LipNeXt), arXiv 2601.18513.
    """

    def __init__(self, group: int):
        super().__init__()
        if group < 1:
            raise ValueError(f"a group has at least one channel, got {group}")
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        *groups, rest = x.split([self.group] * 4 + [x.shape[1] - 4 * self.group], dim=1)
        moved = [part.roll(step, axis) for part, (axis, step) in zip(groups, DIRECTIONS, strict=True)]
        return torch.cat([*moved, rest], dim=1)

    def extra_repr(self) -> str:
        return str(self.group)


class PadChannels(nn.Module):
    """Channels of zeros appended, up to `channels`: an isometry. Shapes: [N, C, ...] to [N, channels, ...]."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 0) * (x.ndim - 2) + (0, self.channels - x.shape[1]))

    def extra_repr(self) -> str:
        return str(self.channels)


class FirstChannels(nn.Module):
    """The first `channels` channels: 1-Lipschitz. Shapes: [N, C, ...] to [N, channels, ...]."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return x[:, : self.channels]

    def extra_repr(self) -> str:
        return str(self.channels)


class PatchPool(nn.Module):
    """Each size x size patch summed and divided by `size`, not by its square: its Lipschitz constant is exactly 1.

    CPL and SLL write it AvgPool2d(4, divisor_override=4). Shapes: [N, C, H, W] to [N, C, H / size, W / size].
    """

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        channels, rows, columns = x.shape[1:]
        patches = x.reshape(-1, channels, rows // self.size, self.size, columns // self.size, self.size)
        return patches.sum(dim=(3, 5)) / self.size

    def extra_repr(self) -> str:
        return str(self.size)


class L2Pool(nn.Module):
    """The l2 norm of each size x size patch, channel by channel: 1-Lipschitz. `size` divides both sides of the map.

    Shapes: [N, C, H, W] to [N, C, H / size, W / size]; the gradient at a patch of zeros is 0.
    """

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        channels, rows, columns = x.shape[1:]
        patches = x.reshape(-1, channels, rows // self.size, self.size, columns // self.size, self.size)
        return torch.linalg.vector_norm(patches, dim=(3, 5))

    def extra_repr(self) -> str:
        return str(self.size)
