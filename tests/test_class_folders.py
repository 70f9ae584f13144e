"""Folders of class folders, with what people and operating systems leave in them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import zoo
from zoo.data.class_folders import class_files
from zoo.data.datasets import DATASETS
from zoo.errors import InputError
from zoo.inference.evaluate import folder_images

NUMBERS = {"cat": 0, "dog": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("dog/a.png", "dog/b.JPG", "cat/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def found(folder: Path) -> list[tuple[str, int]]:
    files = class_files(folder, NUMBERS, "pets", "cat, dog")
    return [(path.relative_to(folder).as_posix(), number) for path, number in files]


def test_classes_take_turns_and_leftovers_are_left_out(folder: Path):
    for name in (".DS_Store", "Thumbs.db", "__MACOSX/cat/._c.png", ".cache/x.png", "notes.txt", "desktop.ini"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for name in ("._c.png", ".DS_Store", "Thumbs.db", "Desktop.ini", "@eaDir/c.png", ".hidden/c.png"):
        (folder / "cat" / name).parent.mkdir(exist_ok=True)
        (folder / "cat" / name).touch()
    assert found(folder) == [("cat/c.png", 0), ("dog/a.png", 1), ("dog/b.JPG", 1)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("zebra/a.png", "zebra is not named after a class of pets: cat, dog"),
        ("cat/notes.txt", "notes.txt is no image"),
        ("cat/images/a.png", "images: a folder, expected images alone"),
        ("a.png", "a.png is in no class folder"),
    ],
)
def test_what_has_no_place_is_refused_in_one_line(folder: Path, name: str, message: str):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()
    with pytest.raises(InputError, match=message) as raised:
        found(folder)
    assert "\n" not in str(raised.value)


def test_empty_classes_are_named(folder: Path):
    (folder / "cat" / "c.png").rename(folder / "cat" / ".c.png")
    with pytest.raises(InputError, match="has no images in cat: expected some"):
        found(folder)
    for path in folder.glob("*/*"):
        path.unlink()
    with pytest.raises(InputError, match="has no images in cat, dog: expected some"):
        found(folder)


def test_a_fifo_or_a_link_to_nowhere_is_refused(folder: Path):
    (folder / "cat" / "a.png").symlink_to(folder / "nowhere")
    with pytest.raises(InputError, match=r"a\.png: not a regular file"):
        found(folder)
    (folder / "cat" / "a.png").unlink()
    os.mkfifo(folder / "cat" / "a.png")
    with pytest.raises(InputError, match=r"a\.png: not a regular file"):
        found(folder)


def test_classes_of_a_known_data_set_may_have_any_of_their_names(tmp_path: Path):
    for name in ("espresso", "n01443537", "n07695742 pretzel"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").touch()
    model = zoo.load("liresnet-l4w32-tiny-imagenet")
    data = folder_images(model, tmp_path)
    shown = [(data.name(number), model.labels[DATASETS["tiny-imagenet"].numbers[name]]) for number, name in
             enumerate(("n01443537", "n07695742", "espresso"))]  # fmt: skip
    assert shown == [
        ("n01443537/a.png", "goldfish"),
        ("n07695742 pretzel/a.png", "pretzel"),
        ("espresso/a.png", "espresso"),
    ]
