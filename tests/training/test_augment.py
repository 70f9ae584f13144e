"""Augmentation and schedules."""

import pytest
import torch

from training.augment import crop_with_padding, flip
from training.schedules import cosine_with_warmup, epsilon_ramp


def test_crops_are_the_windows_of_the_padded_image():
    images = torch.randint(1, 256, (40, 3, 5, 6), dtype=torch.uint8)
    crops = crop_with_padding(images, 2, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    places = set()
    for image, crop in zip(padded, crops, strict=True):
        found = [(i, j) for i in range(5) for j in range(5) if torch.equal(image[:, i : i + 5, j : j + 6], crop)]
        assert len(found) == 1
        places.add(found[0])
    assert crops.dtype == torch.uint8
    assert len(places) > 10


def test_flips_are_whole_mirror_images():
    images = torch.rand(50, 1, 3, 4)
    flipped = flip(images, torch.Generator().manual_seed(0))
    mirrored = [torch.equal(new, old.flip(2)) for new, old in zip(flipped, images, strict=True)]
    kept = [torch.equal(new, old) for new, old in zip(flipped, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 10 < sum(mirrored) < 40


def test_the_generator_determines_the_batch():
    images = torch.rand(8, 3, 8, 8)
    first, second = (crop_with_padding(images, 2, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)


def test_epsilon_rises_to_its_ratio_at_half_way():
    assert [epsilon_ramp(t, 1.0, 2.0) for t in (0.0, 0.25, 0.5, 1.0)] == pytest.approx([0.1, 1.05, 2.0, 2.0])


def test_the_rate_rises_and_falls():
    assert [cosine_with_warmup(t, 0.1) for t in (0.0, 0.05, 0.1, 0.55, 1.0)] == pytest.approx([0.0, 0.5, 1.0, 0.5, 0.0])
