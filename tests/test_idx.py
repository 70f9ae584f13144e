"""The MNIST format: what is read of it, and the one line about what cannot be."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.data import load_training_data
from zoo.data.datasets import DATASETS, PACKAGES
from zoo.data.splits import load_split, stream_split
from zoo.errors import InputError
from zoo.files import sha256

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
LABELS = np.array([row % 10 for row in range(12)], dtype=np.uint8)
IMAGES, NUMBERS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ZOO_DATA's folder of Fashion-MNIST, without Debian's package."""
    monkeypatch.setenv("ZOO_DATA", str(tmp_path))
    monkeypatch.setattr("zoo.data.splits.PACKAGES", tmp_path / "packages")
    (tmp_path / "fashion-mnist").mkdir()
    return tmp_path / "fashion-mnist"


def write(folder: Path, images: bytes = idx(PIXELS), labels: bytes = idx(LABELS)) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / f"{IMAGES}.gz").write_bytes(gzip.compress(images, mtime=0))
    (folder / NUMBERS).write_bytes(labels)


def test_images_labels_and_the_hash_are_those_of_the_files(folder: Path):
    write(folder)
    split = load_split("fashion-mnist", "test")
    assert np.array_equal(split.images[..., 0], PIXELS)
    assert split.labels.tolist() == LABELS.tolist()
    assert split.labels.dtype == np.int64
    assert split.label_names[0] == "T-shirt/top"
    assert split.name == "test"
    assert split.revision == sha256(folder / f"{IMAGES}.gz", folder / NUMBERS)
    ((images, labels),) = stream_split("fashion-mnist", "test", limit=11).read({1}, 8)
    assert np.array_equal(images[..., 0], PIXELS[8:11])
    assert labels.tolist() == [8, 9, 0]


def test_debian_s_package_is_read_where_the_folder_has_none(folder: Path):
    write(folder.parent / "packages" / "fashion-mnist", idx(255 - PIXELS))
    assert np.array_equal(load_split("fashion-mnist", "test").images[..., 0], 255 - PIXELS)
    write(folder)
    assert np.array_equal(load_split("fashion-mnist", "test").images[..., 0], PIXELS)
    with pytest.raises(InputError, match=r"set ZOO_DATA .*, or install Debian's dataset-fashion-mnist"):
        load_split("fashion-mnist", "train")


def test_mnist_itself_may_be_in_its_own_format(folder: Path):
    write(folder.parent / "mnist")
    assert np.array_equal(load_split("mnist", "test").images[..., 0], PIXELS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: write(folder, labels=idx(LABELS[:11])), "has 12 images, .* 11 labels"),
        (lambda folder: write(folder, labels=idx(LABELS + 1)), "image 9 has label 10"),
        (lambda folder: write(folder, idx(PIXELS[:, :27])), "has images of 27 x 28, expected 28 x 28"),
        (lambda folder: write(folder, idx(PIXELS)[:-1]), "does not have the 9,408 bytes"),
        (lambda folder: write(folder, idx(PIXELS) + b"0"), "does not have the 9,408 bytes"),
        (lambda folder: write(folder, idx(PIXELS)[:5]), "is not a readable file of images"),
        (lambda folder: write(folder, b""), "is not a readable file of images"),
        (lambda folder: write(folder, idx(PIXELS, kind=9)), "is not a readable file of images"),
        (lambda folder: write(folder, labels=idx(LABELS[:, None])), "is not a readable file of labels"),
        (lambda folder: write(folder, labels=idx(LABELS[:0])), "is not a readable file of labels"),
        (lambda folder: write(folder, labels=struct.pack(">HBBI", 0, 8, 1, 2**32 - 1)), "readable file of labels"),
        (lambda folder: (folder / f"{IMAGES}.gz").write_bytes(b"no gzip"), "is not a readable file of images"),
        (lambda folder: (folder / NUMBERS).unlink(), "no test-"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(folder: Path, change: Callable[[Path], object], message: str):
    write(folder)
    change(folder)
    with pytest.raises(InputError, match=message) as raised:
        load_split("fashion-mnist", "test")
    assert "\n" not in str(raised.value)


def test_the_hub_s_spelling_and_a_folder_s_are_the_same_class():
    numbers = DATASETS["fashion-mnist"].numbers
    assert [numbers[name] for name in ("T-shirt/top", "T - shirt / top", "T-shirt", "Shirt")] == [0, 0, 0, 6]


@pytest.mark.skipif(not (PACKAGES / "fashion-mnist").is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_the_package_is_the_whole_data_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("ZOO_DATA", str(tmp_path))
    for split, count in (("train", 60_000), ("test", 10_000)):
        found = load_split("fashion-mnist", split)
        assert np.bincount(found.labels).tolist() == [count // 10] * 10
        assert found.images.shape == (count, 28, 28, 1)
    data = load_training_data("fashion-mnist", limit=100)
    assert (len(data.train), len(data.validation)) == (90, 10)
