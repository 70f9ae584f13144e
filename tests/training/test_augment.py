"""Augmentations against torchvision and by hand; schedules."""

import json

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import RandAugment as Vision
from torchvision.transforms.v2 import functional as vision

from training.augment import Affine, Augmentation, ColorJitter, Crop, Cutout, Draws, Flip, RandAugment, augment
from training.recipes import find

EVERY = [
    Crop(2),
    Crop(2, "edge"),
    Crop(2, "reflect"),
    Flip(),
    Cutout(5),
    ColorJitter(0.25, 0.25, 0.25),
    Affine(10, 0.1, 0.8),
    RandAugment(),
    RandAugment(3, 15, 0.5),
]
KINDS = dict(enumerate(Vision._AUGMENTATION_SPACE))


def draws(count: int, rows: slice = slice(None), seed: int = 0) -> Draws:
    return Draws(torch.Generator().manual_seed(seed), count, rows)


def pictures(count: int, channels: int = 3, height: int = 12, width: int = 14) -> Tensor:
    return torch.randint(1, 256, (count, channels, height, width), dtype=torch.uint8)


@pytest.mark.parametrize("outside", ["black", "edge", "reflect"])
def test_crops_are_the_windows_of_the_padded_image(outside):
    images = pictures(40, 3, 5, 6)
    crops = Crop(2, outside)(images, draws(40))
    padded = vision.pad(images, [2], padding_mode="constant" if outside == "black" else outside)
    places = set()
    for image, crop in zip(padded, crops, strict=True):
        found = [(i, j) for i in range(5) for j in range(5) if torch.equal(image[:, i : i + 5, j : j + 6], crop)]
        assert found
        places.add(found[0])
    assert crops.dtype == torch.uint8
    assert len(places) > 10


def test_flips_are_whole_mirror_images():
    images = pictures(50, 1, 3, 4)
    flipped = Flip()(images, draws(50))
    mirrored = [torch.equal(new, old.flip(2)) for new, old in zip(flipped, images, strict=True)]
    kept = [torch.equal(new, old) for new, old in zip(flipped, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 10 < sum(mirrored) < 40


def test_cutout_blackens_one_square_that_may_stand_out():
    images = pictures(60)
    cut = Cutout(5)(images, draws(60))
    assert torch.equal(cut[cut > 0], images[cut > 0])
    black = (cut == 0).all(dim=1)
    assert black.any(dim=2).sum(dim=1).max() == 5
    assert black.any(dim=1).sum(dim=1).max() == 5
    assert torch.equal(black, black.any(dim=2)[:, :, None] & black.any(dim=1)[:, None, :])
    assert black.sum(dim=(1, 2)).min() < 25


def test_colours_change_by_the_factors_drawn():
    images = pictures(8)
    changed = ColorJitter(0.25, 0.5, 0.3)(images, draws(8))
    factors = 1 + torch.tensor([0.25, 0.5, 0.3]) * (2 * draws(8).uniform(3) - 1)
    for image, new, (brightness, contrast, saturation) in zip(images, changed, factors.tolist(), strict=True):
        expected = vision.adjust_brightness(image, brightness)
        expected = vision.adjust_saturation(vision.adjust_contrast(expected, contrast), saturation)
        assert (expected.int() - new.int()).abs().max() <= 2  # cut to whole grey levels three times
    grey = pictures(8, channels=1)
    assert torch.equal(ColorJitter(saturation=0.5)(grey, draws(8)), grey)


def test_affine_maps_are_those_of_torchvision():
    images = pictures(8)
    moved = Affine(20, 0.2, 0.7)(images, draws(8))
    for image, new, drawn in zip(images, moved, draws(8).uniform(4), strict=True):
        turned, across, down, zoomed = drawn.tolist()
        shift = [round((2 * across - 1) * 0.2 * 14), round((2 * down - 1) * 0.2 * 12)]
        expected = vision.affine(image, (2 * turned - 1) * 20, shift, 1 - zoomed * 0.3, [0.0, 0.0])
        assert (expected != new).float().mean() < 0.01  # a pixel half-way between two


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_each_operation_of_randaugment_is_that_of_torchvision(kind, channels):
    images, reference = pictures(6, channels), Vision()
    images[0] = 7  # a single grey level
    magnitudes, signed = Vision._AUGMENTATION_SPACE[KINDS[kind]]
    strengths = magnitudes(31, 12, 14)
    for sign in (-1.0, 1.0):
        strength = 0.0 if strengths is None else float(strengths[9]) * (sign if signed else 1)
        expected = reference._apply_image_or_video_transform(
            images, KINDS[kind], strength, InterpolationMode.NEAREST, reference._fill
        )
        got = RandAugment().step(images, torch.full((6,), kind), torch.full((6,), sign))
        assert (expected.int() - got.int()).abs().max() <= 1  # of a grey level: a blend, rounded elsewhere
        assert (expected[1:] != got[1:]).float().mean() < 0.02


def test_randaugment_draws_for_every_image_apart_and_leaves_as_many_alone_as_it_says():
    images = pictures(1).expand(400, -1, -1, -1)
    changed = RandAugment(operations=1)(images, draws(400))
    assert len({bytes(image.numpy()) for image in changed}) == 22  # 9 with either sign, 5 without, less the solarised
    same = (RandAugment(probability=0.25)(images, draws(400)) == images).all(dim=(1, 2, 3)).float().mean()
    assert 0.7 < same < 0.85


@pytest.mark.parametrize("augmentation", EVERY, ids=str)
def test_what_happens_to_an_image_depends_on_its_place_in_the_whole_batch_alone(augmentation):
    images = pictures(9)
    before = images.clone()
    whole = augmentation(images, draws(9))
    assert whole.shape == images.shape
    assert whole.dtype == torch.uint8
    assert torch.equal(images, before)
    parts = [augmentation(images[rows], draws(9, rows)) for rows in (slice(0, 4), slice(4, 9))]
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(whole, augmentation(images, draws(9, seed=1)))


def test_augmentations_follow_each_other_and_are_described_exactly():
    images = pictures(9)
    both = augment(images, (Crop(2), Flip()), draws(9))
    generator = draws(9)
    assert torch.equal(both, Flip()(Crop(2)(images, generator), generator))
    for augmentation in EVERY:
        described = json.loads(json.dumps(augmentation.describe()))
        kinds = {kind.__name__: kind for kind in Augmentation.__subclasses__()}
        assert kinds[described.pop("name")](**described) == augmentation
    assert find("liresnet-l4w32-cifar10-jpeg75").describe()["augment"] == [
        {"name": "Crop", "padding": 4, "outside": "black"},
        {"name": "Flip"},
    ]
