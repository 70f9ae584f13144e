"""Random changes of images that keep their class, as frozen settings that recipes hold.

An augmentation maps uint8 [N, C, H, W] on any device to the same shape, with other random numbers for each image. They
depend on the image's place in the whole batch of a step, not on the process or the device that holds it, so that two
processes train as one does. Pixels that move in from outside are black unless an augmentation says otherwise.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

LUMA = (0.2989, 0.587, 0.114)  # grey from red, green and blue, as torchvision has it


class Draws:
    """Uniform random numbers for some images of a batch: their rows of the numbers for the whole batch."""

    def __init__(self, generator: Generator, count: int, rows: slice):
        self.generator = generator
        self.count = count
        self.rows = rows

    def uniform(self, *shape: int) -> Tensor:
        """Numbers in [0, 1), on the CPU. Shape: [N, *shape]."""
        return torch.rand(self.count, *shape, generator=self.generator)[self.rows]


class Augmentation(ABC):
    """A frozen dataclass of its settings."""

    @abstractmethod
    def __call__(self, images: Tensor, draws: Draws) -> Tensor: ...

    def describe(self) -> dict[str, Any]:
        """Its name and settings, exactly."""
        return {"name": type(self).__name__, **asdict(self)}  # type: ignore[call-overload]


def augment(images: Tensor, augmentations: Sequence[Augmentation], draws: Draws) -> Tensor:
    """The images after each augmentation in turn."""
    for augmentation in augmentations:
        images = augmentation(images, draws)
    return images


@dataclass(frozen=True)
class Crop(Augmentation):
    """Each image moved by up to `padding` whole pixels along both axes."""

    padding: int
    outside: Literal["black", "edge", "reflect"] = "black"

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        height, width = images.shape[2:]
        moved = (draws.uniform(2, 1) * (2 * self.padding + 1)).long() - self.padding
        rows, rows_inside = self._places(moved[:, 0] + torch.arange(height), height)
        columns, columns_inside = self._places(moved[:, 1] + torch.arange(width), width)
        index = _to(rows[:, :, None] * width + columns[:, None, :], images)  # (N, H, W)
        crops = images.flatten(2).gather(2, index.flatten(1)[:, None].expand(-1, images.shape[1], -1))
        if self.outside == "black":
            inside = _to(rows_inside[:, :, None] & columns_inside[:, None, :], images)
            crops = crops * inside.flatten(1)[:, None]
        return crops.unflatten(2, (height, width))

    def _places(self, places: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """The pixel that each place shows, and whether it is a place of the image at all."""
        inside = (places >= 0) & (places < side)
        if self.outside == "reflect":
            places = (side - 1) - ((side - 1) - places.abs()).abs()
        return places.clamp(0, side - 1), inside


@dataclass(frozen=True)
class Flip(Augmentation):
    """Each image mirrored left to right with probability 1/2."""

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        mirrored = _to(draws.uniform(1, 1, 1) < 0.5, images)
        return torch.where(mirrored, images.flip(3), images)


@dataclass(frozen=True)
class Cutout(Augmentation):
    """A black square of `side` pixels around a random pixel of each image, as much of it as is inside.

    Source: DeVries, Taylor 2017, arXiv 1708.04552.
    """

    side: int

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        height, width = images.shape[2:]
        centre = draws.uniform(2, 1)
        rows = self._cut((centre[:, 0] * height).long(), height)
        columns = self._cut((centre[:, 1] * width).long(), width)
        return images * _to(~(rows[:, None, :, None] & columns[:, None, None, :]), images)

    def _cut(self, centres: Tensor, side: int) -> Tensor:
        """Whether each place along an axis is in the square. [N, 1] to [N, side]."""
        start = centres - self.side // 2
        places = torch.arange(side)
        return (places >= start) & (places < start + self.side)


@dataclass(frozen=True)
class ColorJitter(Augmentation):
    """Brightness, contrast and saturation of each image times a factor between 1 - value and 1 + value, in this order.

    As torchvision's, which also shuffles the three.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        spread = torch.tensor([self.brightness, self.contrast, self.saturation])
        factors = _to(1 + spread * (2 * draws.uniform(3) - 1), images)
        for enhance, factor in zip((_brightness, _contrast, _saturation), factors.unbind(1), strict=True):
            images = enhance(images, factor)
        return images


@dataclass(frozen=True)
class Affine(Augmentation):
    """Each image turned by up to `degrees`, moved by up to `shift` of its side, and shrunk down to `zoom` at most.

    Every pixel shows the nearest one, as torchvision does by default.
    """

    degrees: float
    shift: float = 0.0
    zoom: float = 1.0

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        height, width = images.shape[2:]
        turned, across, down, zoomed = draws.uniform(4).unbind(1)
        angle = (2 * turned - 1) * math.radians(self.degrees)
        size = 1 - zoomed * (1 - self.zoom)
        across = torch.round((2 * across - 1) * self.shift * width)
        down = torch.round((2 * down - 1) * self.shift * height)
        cosine, sine = angle.cos() / size, angle.sin() / size
        rows = (cosine, sine, -cosine * across - sine * down, -sine, cosine, sine * across - cosine * down)
        return _warp(images, torch.stack(rows, dim=1).unflatten(1, (2, 3)))


@dataclass(frozen=True)
class RandAugment(Augmentation):
    """Each image is changed with `probability`: by `operations` random ones of 14, at a `magnitude` from 0 to 30.

    The operations and their strengths are torchvision's; the images of a batch with the same operation are changed
    together.
    Source: Cubuk et al. 2020, arXiv 1909.13719.
    """

    operations: int = 2
    magnitude: int = 9
    probability: float = 1.0

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        chosen = draws.uniform() < self.probability
        for _ in range(self.operations):
            kinds, signs = draws.uniform(2).unbind(1)
            images = self.step(images, (kinds * 14).long() * chosen, torch.where(signs < 0.5, -1.0, 1.0))
        return images

    def step(self, images: Tensor, kinds: Tensor, signs: Tensor) -> Tensor:
        """Each image after the operation that its kind names: 0 none, 1 to 5 move, 6 to 9 enhance, 10 to 13 recolour.

        `signs` -1 or 1 says which way. Shapes: [N, C, H, W] uint8, [N] and [N] on the CPU, to that of the images.
        """
        level = self.magnitude / 30
        bits = 8 - round(4 * level)
        recolour = (
            lambda chosen: chosen & (256 - 2 ** (8 - bits)),  # posterise
            lambda chosen: torch.where(chosen >= 255 * (1 - level), 255 - chosen, chosen),  # solarise
            _autocontrast,
            _equalize,
        )
        result = images.clone()

        def apply(chosen: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> None:
            rows = chosen.nonzero()[:, 0]
            if len(rows):
                places = _to(rows, images)
                result[places] = change(images[places], rows)

        apply((kinds >= 1) & (kinds <= 5), lambda some, rows: _warp(some, self._moves(kinds, signs, some.shape)[rows]))
        for kind, enhance in enumerate((_brightness, _saturation, _contrast, _sharpness), start=6):
            apply(kinds == kind, lambda some, rows, e=enhance: e(some, _to(1 + 0.9 * level * signs[rows], some)))
        for kind, change in enumerate(recolour, start=10):
            apply(kinds == kind, lambda some, _, change=change: change(some))
        return result

    def _moves(self, kinds: Tensor, signs: Tensor, shape: Sequence[int]) -> Tensor:
        """The map from each pixel's offset to the offset of the pixel that it shows, see `_warp`: [N, 2, 3]."""
        level, (height, width) = self.magnitude / 30, shape[2:]
        moves = torch.eye(2, 3).repeat(len(kinds), 1, 1)
        shear, angle = 0.3 * level * signs, math.radians(30 * level) * signs
        # Images are sheared about their first pixel's corner, not their centre.
        moves[:, 0, 1] = torch.where(kinds == 1, shear, moves[:, 0, 1])
        moves[:, 0, 2] = torch.where(kinds == 1, shear * height / 2, moves[:, 0, 2])
        moves[:, 1, 0] = torch.where(kinds == 2, shear, moves[:, 1, 0])
        moves[:, 1, 2] = torch.where(kinds == 2, shear * width / 2, moves[:, 1, 2])
        moves[:, 0, 2] = torch.where(kinds == 3, -signs * int(150 / 331 * width * level), moves[:, 0, 2])
        moves[:, 1, 2] = torch.where(kinds == 4, -signs * int(150 / 331 * height * level), moves[:, 1, 2])
        turns = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), dim=1).unflatten(1, (2, 2))
        moves[:, :, :2] = torch.where((kinds == 5)[:, None, None], turns, moves[:, :, :2])
        return moves


def _warp(images: Tensor, moves: Tensor) -> Tensor:
    """Each pixel at offset (x, y) from the centre shows the one nearest to its move M (x, y, 1), black outside.

    Shapes: images [N, C, H, W], moves [N, 2, 3] in pixels.
    """
    height, width = images.shape[2:]
    aspect = torch.tensor([[1.0, height / width, 2 / width], [width / height, 1.0, 2 / height]])
    grid = F.affine_grid(_to(moves * aspect, images), list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, mode="nearest", align_corners=False).to(images.dtype)


def _blend(images: Tensor, others: Tensor | float, factors: Tensor) -> Tensor:
    """others + factor (images - others) for each image, cut to whole grey levels. Factors: [N]."""
    factors = factors[:, None, None, None]
    return (others + factors * (images.float() - others)).clamp(0, 255).to(images.dtype)


def _brightness(images: Tensor, factors: Tensor) -> Tensor:
    return _blend(images, 0.0, factors)


def _contrast(images: Tensor, factors: Tensor) -> Tensor:
    return _blend(images, _grey(images).mean(dim=(1, 2, 3), keepdim=True), factors)


def _saturation(images: Tensor, factors: Tensor) -> Tensor:
    return _blend(images, _grey(images), factors)


def _sharpness(images: Tensor, factors: Tensor) -> Tensor:
    """Blended with a 3 x 3 average in which the centre weighs 5 of 13; the border keeps its pixels."""
    blurred = images.float()
    inner = (9 * F.avg_pool2d(blurred, 3, 1) + 4 * blurred[:, :, 1:-1, 1:-1]) / 13
    blurred[:, :, 1:-1, 1:-1] = inner.round()
    return _blend(images, blurred, factors)


def _grey(images: Tensor) -> Tensor:
    """[N, 1, H, W] float, whole grey levels."""
    if images.shape[1] == 1:
        return images.float()
    red, green, blue = images.split(1, dim=1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue).floor()


def _autocontrast(images: Tensor) -> Tensor:
    """Each channel stretched to reach from 0 to 255; one of a single grey level stays."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    stretched = (images - low) / ((high - low) / 255).clamp_min(1 / 255)
    return torch.where(high > low, stretched.clamp(0, 255).to(images.dtype), images)


def _equalize(images: Tensor) -> Tensor:
    """Each channel's grey levels spread so that they are about equally frequent, as Pillow does it in integers."""
    levels = images.flatten(2).long()  # (N, C, H W)
    counts = levels.new_zeros(*levels.shape[:2], 256).scatter_add_(2, levels, torch.ones_like(levels))
    highest = counts.gather(2, levels.amax(dim=2, keepdim=True))
    step = (levels.shape[2] - highest) // 255
    spread = (counts.cumsum(2) - counts + step // 2) // step.clamp_min(1)
    equalized = spread.clamp(0, 255).gather(2, levels).to(images.dtype).unflatten(2, images.shape[2:])
    return torch.where((step > 0)[..., None], equalized, images)


def _to(tensor: Tensor, images: Tensor) -> Tensor:
    """The tensor on the images' device, without waiting for the device."""
    return tensor.to(images.device, non_blocking=True)
