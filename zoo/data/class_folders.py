"""Folders of pictures with a subfolder for each class, in which operating systems may have left files of their own."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from pathlib import Path

from zoo.errors import InputError

PICTURES = (".jpg", ".jpeg", ".png", ".webp")  # what `zoo.inference.images` reads
LEFTOVERS = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "$recycle.bin")
LEFTOVERS += ("system volume information", "lost+found", "@eadir")


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or was put there by an operating system."""
    return name.startswith(".") or name.lower() in LEFTOVERS


def class_names(folder: Path) -> tuple[str, ...]:
    """The names of a folder's subfolders, in order, which are its classes. Raises InputError if there are none."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: expected one with a subfolder for each class")
    names = tuple(entry.name for entry in _entries(folder) if entry.is_dir())
    if not names:
        raise InputError(f"{folder} has no images: expected one subfolder for each class, with images in it")
    if {"train", "test"} <= set(names):
        raise InputError(
            f"{folder} has the subfolders train and test: give {folder / 'train'}, and --test {folder / 'test'}"
        )
    return names


def class_files(folder: Path, numbers: Mapping[str, int], whose: str, known: str) -> list[tuple[Path, int]]:
    """The pictures in a folder's subfolders, each with the number of the class that its subfolder is named after.

    The classes take turns in the order of their numbers, so that the first pictures are spread over them; the pictures
    of a class are in the order of their names. Files of operating systems are left out.
    numbers: the class of each name. For messages, whose: what has these classes; known: their names in a line.
    Raises InputError where a subfolder is no class or has no pictures, two are one class, or a file is no picture.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: expected one with a subfolder for each class")
    classes: dict[int, Path] = {}
    for entry in _entries(folder):
        if not entry.is_dir():
            if entry.name.lower().endswith(PICTURES):
                raise InputError(f"{entry.path} is in no class folder: move it into the subfolder of its class")
            continue
        number = numbers.get(entry.name)
        if number is None:
            raise InputError(f"{entry.path} is not named after a class of {whose}: {known}")
        if number in classes:
            raise InputError(f"{classes[number]} and {entry.path} are the same class of {whose}: join them")
        classes[number] = Path(entry.path)
    if not classes:
        raise InputError(f"{folder} has no images: expected one subfolder for each class, with images in it")
    groups = [[(picture, number) for picture in _pictures(classes[number])] for number in sorted(classes)]
    empty = [classes[number].name for number, group in zip(sorted(classes), groups, strict=True) if not group]
    if empty:
        raise InputError(f"{folder} has no images in {', '.join(empty)}: expected some in the subfolder of each class")
    return [item for turn in itertools.zip_longest(*groups) for item in turn if item is not None]


def _pictures(folder: Path) -> list[Path]:
    pictures = []
    for entry in _entries(folder):
        if not entry.is_file():  # opening a FIFO would wait for its writer
            what = "a folder" if entry.is_dir() else "not a regular file"
            raise InputError(f"{entry.path}: {what}, expected images alone in the subfolder of a class")
        if not entry.name.lower().endswith(PICTURES):
            raise InputError(f"{entry.path} is no image ({', '.join(PICTURES)}): move it out of the class folder")
        pictures.append(Path(entry.path))
    return pictures


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """The folder's files and subfolders without leftovers, in the order of their names."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not is_leftover(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}") from error
