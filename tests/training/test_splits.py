"""`zoo.data.splits.load_split`: what it reads, and the one line it says of what it cannot read."""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from training.data import in_memory, load_training_data
from zoo.data.splits import Split, load_split
from zoo.errors import InputError, MissingPackageError


def test_reads_images_labels_names_and_the_hash_of_the_file(write_split):
    path = write_split("cifar10", count=12)
    split = load_split("cifar10", "train")
    assert split.images.shape == (12, 32, 32, 3)
    assert split.images.dtype == np.uint8
    assert split.labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert split.labels.dtype == np.int64
    assert split.label_names[3] == "cat"
    assert split.revision == hashlib.sha256(path.read_bytes()).hexdigest()
    assert np.array_equal(load_split("cifar10", "train", limit=5).images, split.images[:5])
    assert np.array_equal(split.images, np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8))


def test_grey_images_have_one_channel(write_split):
    write_split("mnist", count=3, split="test")
    assert load_split("mnist", "test").images.shape == (3, 28, 28, 1)


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize(
    ("write", "damage", "message"),
    [
        ({"count": 0}, None, "has no images"),
        ({"size": 30}, None, "image 0 is 30 x 30, cifar10 has 32 x 32"),
        ({"label": 10}, None, "image 0 has label 10, cifar10 has the classes 0 to 9"),
        ({"label": -1}, None, "has label -1"),
        ({"split": "test"}, None, "no train-.*parquet in .*: set ZOO_DATA"),
        ({}, damage, "not a readable parquet file"),
        ({}, lambda path: path.write_bytes(b""), "not a readable parquet file"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(write_split, write, damage, message):
    path = write_split("cifar10", **write)
    if damage:
        damage(path)
    with pytest.raises(InputError, match=message) as raised:
        load_split("cifar10", "train")
    assert "\n" not in str(raised.value)


def test_an_empty_setting_counts_as_unset(monkeypatch):
    monkeypatch.setenv("ZOO_DATA", "")
    with pytest.raises(InputError, match=r"^the nothing split of cifar10-jpeg75 is not on this machine: set ZOO_DATA"):
        load_split("cifar10-jpeg75", "nothing")


def test_the_extra_that_brings_pyarrow_is_named(write_split, monkeypatch):
    write_split("mnist", count=3)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError, match=r"needs pyarrow: run pip install -e '.\[data\]'"):
        load_split("mnist", "train")


def test_an_unknown_data_set_is_said_in_one_line():
    with pytest.raises(InputError, match="no data set is called 'cifar'"):
        load_split("cifar", "train")


@pytest.mark.parametrize("place", range(20))
def test_the_only_image_of_a_class_is_trained_on(place):
    """Of twenty images two are for validation: the seed's first two, or one of them and the third."""
    labels = np.zeros(20, np.int64)
    labels[place] = 1
    images = np.arange(20, dtype=np.uint8)[:, None, None, None]
    data = in_memory(Split(images, labels, ("a", "b"), "revision", "name"), torch.device("cpu"))
    assert 1 in data.train.labels
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0)).tolist()
    expected = [number for number in order if number != place][:2]
    assert data.validation.images.flatten().tolist() == expected
    assert sorted([*expected, *data.train.images.flatten().tolist()]) == list(range(20))


def test_of_classes_of_one_image_one_is_for_validation(write_split):
    write_split("cifar10", count=10)
    data = load_training_data("cifar10")
    assert (len(data.train), len(data.validation)) == (9, 1)


def test_validation_images_are_not_trained_on_and_never_change(write_split):
    write_split("mnist", count=50)
    first, second = load_training_data("mnist"), load_training_data("mnist")
    assert len(first.train.labels) == 45
    assert len(first.validation.labels) == 5
    assert first.validation.images.equal(second.validation.images)
    trained = {bytes(image.numpy()) for image in first.train.images}
    assert not trained & {bytes(image.numpy()) for image in first.validation.images}
