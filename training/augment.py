"""Random changes of a batch of images that keep their class. Each draws from the generator that it is given."""

import torch
from torch import Generator, Tensor


def crop_with_padding(images: Tensor, padding: int, generator: Generator) -> Tensor:
    """Each image moved by up to `padding` pixels along both axes, black moving in. Shapes: [N, C, H, W] to the same."""
    count, channels, height, width = images.shape
    padded = torch.nn.functional.pad(images, (padding, padding, padding, padding))
    top, left = torch.randint(2 * padding + 1, (2, count, 1), generator=generator).to(images.device)
    rows = (top + torch.arange(height, device=images.device))[:, None, :, None]
    columns = (left + torch.arange(width, device=images.device))[:, None, None, :]
    image = torch.arange(count, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[image, channel, rows, columns]


def flip(images: Tensor, generator: Generator) -> Tensor:
    """Each image mirrored left to right with probability 1/2. Shapes: [N, C, H, W] to the same."""
    mirrored = torch.rand(len(images), generator=generator).to(images.device) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)
