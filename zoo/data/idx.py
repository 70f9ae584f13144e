"""Labelled images in the MNIST format: one file of all images and one of all labels, each plain or gzipped.

A file starts with two bytes of 0, the byte 8 for unsigned bytes, the byte that counts the dimensions, and the
dimensions as big-endian 32-bit numbers; the data follow, a byte each.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.data.datasets import DatasetInfo
from zoo.data.parquet import MAX_IMAGES, class_numbers
from zoo.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

PREFIXES = {"train": "train", "test": "t10k"}  # how the names of a split's files begin


class IdxFiles:
    """The grey images of a split and their labels, all in memory; it is used as `zoo.data.parquet.ParquetFiles` is.

    Raises InputError where a file cannot be read or is cut off, the two have different counts, or a label is no class.
    """

    def __init__(self, paths: Sequence[Path], info: DatasetInfo):
        images, labels = paths
        self.path = images
        self.labels: np.ndarray = class_numbers(_read(labels), info, labels)  # int64 [N]
        self._images = _read(images, info.size, info.size)  # uint8 [N, H, W]
        if len(self._images) != len(self.labels):
            raise InputError(
                f"{images} has {len(self._images)} images, {labels} {len(self.labels)} labels: fetch both again"
            )

    def images(self) -> Iterator[np.ndarray]:
        """All images in order, uint8 [H, W]."""
        return iter(self._images)

    def picture(self, value: np.ndarray, number: int) -> Image.Image:
        """An image, as `images` gives it, as a grey Pillow image (mode L)."""
        from PIL import Image

        return Image.fromarray(value)

    def place(self, number: int) -> str:
        """Where an image stands, for messages."""
        return f"{self.path}: image {number}"


def idx_files(folder: Path, split: str) -> tuple[Path, ...]:
    """The files of a split's images and labels in the folder; empty where it does not have both."""
    if split not in PREFIXES:
        return ()
    names = [f"{PREFIXES[split]}-{name}" for name in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    found = [next((path for end in ("", ".gz") if (path := folder / f"{name}{end}").is_file()), None) for name in names]
    return tuple(path for path in found if path) if all(found) else ()


def _read(path: Path, *sides: int) -> np.ndarray:
    """The array [N, *sides] of a file. Raises InputError unless the file is complete and has these dimensions."""
    import numpy as np

    form = struct.Struct(f">HBB{1 + len(sides)}I")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            zeros, kind, dimensions, count, *found = form.unpack(file.read(form.size))
            if (zeros, kind, dimensions) != (0, 8, 1 + len(sides)) or not 0 < count <= MAX_IMAGES:
                raise ValueError(f"dimensions {dimensions}, count {count}")
            if tuple(found) != sides:
                raise InputError(
                    f"{path} has images of {' x '.join(map(str, found))}, expected {sides[0]} x {sides[1]}"
                )
            size = math.prod((count, *sides))
            content = file.read(size + 1)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        what = "images" if sides else "labels"
        raise InputError(f"{path} is not a readable file of {what} in the MNIST format: fetch it again") from error
    if len(content) != size:
        raise InputError(f"{path} does not have the {size:,} bytes of data that its header says: fetch it again")
    return np.frombuffer(content, dtype=np.uint8).reshape(count, *sides)
