"""The two moons: points that are the same everywhere, with the margin that the paper states."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from training.data import load_training_data, pixels
from zoo.architectures.mlp import CORNER, SIDE
from zoo.data.datasets import DATASETS
from zoo.data.splits import load_split
from zoo.epsilon import parse_epsilon
from zoo.errors import InputError
from zoo.inference.images import as_batch
from zoo.registry import find


def plane(split: str) -> tuple[np.ndarray, np.ndarray]:
    """The points [N, 2] where the moons are drawn, and their classes."""
    data = load_split("two-moons", split)
    return data.images.reshape(-1, 2).astype(np.float64) * SIDE + CORNER, data.labels


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_point_is_on_its_half_circle_but_for_the_noise(split):
    points, labels = plane(split)
    assert points.shape == (2000, 2)
    assert 900 < labels.sum() < 1100
    for label, centre, side in ((0, (0, 0), 1), (1, (1, 0.5), -1)):
        moon = points[labels == label] - centre
        distance = np.abs(np.hypot(*moon.T) - 1)
        assert 0.09 < distance.max() <= 0.1 + 1e-6
        assert (side * moon[:, 1]).min() >= -0.1 - 1e-6
        assert (side * moon[:, 1]).max() > 1.05


def test_the_moons_are_as_far_apart_as_the_epsilon_needs():
    points = {split: plane(split) for split in ("train", "test")}
    upper, lower = (np.concatenate([p[labels == label] for p, labels in points.values()]) for label in (0, 1))
    gap = np.linalg.norm(upper[:, None] - lower[None], axis=2).min()
    (epsilon,) = DATASETS["two-moons"].epsilons["l2"]
    assert parse_epsilon(epsilon) * SIDE == pytest.approx(0.15)
    assert 0.3 - 1e-6 <= gap < 0.33
    assert not {tuple(point) for point in points["train"][0]} & {tuple(point) for point in points["test"][0]}


def test_splits_never_change_and_are_what_training_and_the_model_take():
    split, again = load_split("two-moons", "test", 50), load_split("two-moons", "test", 50)
    assert split.revision == again.revision != load_split("two-moons", "train", 50).revision
    assert (split.name, split.images.shape) == ("test[:50]", (50, 1, 1, 2))
    assert 0 <= split.images.min() < split.images.max() <= 1
    batch, single = as_batch(split.images, find("mlp-two-moons").architecture.input_shape)
    assert not single
    np.testing.assert_array_equal(batch[:, :, 0, 0], split.images[:, 0, 0])
    assert split.label_names == ("upper", "lower")
    data = load_training_data("two-moons")
    assert pixels(data.train.images).equal(data.train.images)


def test_mistakes_are_one_line():
    with pytest.raises(InputError, match="two-moons has the splits train and test, got 'valid'"):
        load_split("two-moons", "valid")
    with pytest.raises(InputError, match=r"expected an image of shape \(2, 1, 1\)"):
        as_batch(Image.new("RGB", (8, 8)), find("mlp-two-moons").architecture.input_shape)
