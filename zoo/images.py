"""Pictures and arrays in, float32 tensors in [0, 1] out; a certificate speaks of the tensor, from there on.

Pictures (files, bytes, PIL images) are brought to the model's size: turned upright as their EXIF data say, cropped
to the largest centred region of the model's proportions, resized with antialiased bicubic interpolation, and
converted between grey (ITU-R 601-2 luma) and RGB where the model wants the other. A picture of the model's own size
keeps its exact pixels. Colour profiles are ignored. What would silently change meaning is refused: several frames,
transparent pixels, CMYK, 16 bits per channel.

Arrays (NumPy, PyTorch) are never resized: they have exactly the model's shape, or they are refused.
"""

from __future__ import annotations

import math
import re
import stat
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from zoo.errors import InputError, one_line

MAX_BYTES = 32 * 2**20
MAX_PIXELS = 64 * 10**6
MAX_PARTS = 2**16  # a PNG's chunks or a JPEG's segments, which Pillow reads one by one
MAX_WORK = 16 * MAX_PIXELS  # a JPEG's scans times its pixels: each scan passes over the whole picture
SCAN_PIXELS = 2**16  # that a scan counts at least

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # of a segment; what a scan's own data hold is none

Decoder = Callable[[BytesIO], ImageFile.ImageFile]


def open_image(source: str | Path | bytes) -> Image.Image:
    """The one picture in a PNG, JPEG or WebP file (or its bytes), decoded, upright, grey (L) or RGB.

    The bytes are counted before they are read, the parts before they are looked at, and the pixels and how often a
    JPEG passes over them before they are decoded.
    Raises InputError with one line that names the file and what is wrong with it.
    """
    name = "the image" if isinstance(source, bytes) else str(source)
    data = source if isinstance(source, bytes) else _read(Path(source))
    if len(data) > MAX_BYTES:
        raise InputError(f"{name}: more than {MAX_BYTES // 2**20} MiB")
    decoder = _decoder(data)
    if decoder is None:
        raise InputError(f"{name}: not a PNG, JPEG or WebP image; convert it first")
    parts = list(islice(_parts(data), MAX_PARTS + 1))
    if len(parts) > MAX_PARTS:
        raise InputError(f"{name}: more than {MAX_PARTS:,} chunks or segments; save it again")
    try:
        image = decoder(BytesIO(data))
    except Exception as error:  # a decoder may raise anything at all over hostile bytes
        raise InputError(f"{name}: cannot be read as an image: {one_line(error)}") from error
    if isinstance(image, PngImageFile) and any("16" in str(tile.args) for tile in image.tile):  # as it will be decoded
        raise InputError(f"{name}: 16 bits per channel; save it with 8")
    if (scans := parts.count(b"\xff\xda")) * max(image.width * image.height, SCAN_PIXELS) > MAX_WORK:
        raise InputError(f"{name}: {scans} scans, too many for {image.width} x {image.height} pixels; save it again")
    return _upright(image, name)


def as_batch(images: Any, input_shape: tuple[int, int, int]) -> tuple[np.ndarray, bool]:
    """The images as a float32 array [N, C, H, W] in [0, 1], and whether they were a single image.

    `images` is a path, bytes, a PIL image, an array or tensor of exactly the model's shape (channels first or last,
    for one channel also without it; one image or a batch; uint8, or float in [0, 1]), or a list of any of these.
    Where a shape fits twice, channels first comes before channels last, and one image before a batch.
    Other float types, and uint8 divided by 255, are rounded to float32: that tensor is the x of the guarantee. So where
    two pixels differ by n levels of 8 bits, it may differ by up to n / 255 + 2^-24. Raises InputError.
    """
    if isinstance(images, (list, tuple)):
        if not images:
            raise InputError("no images were given: the list is empty")
        return np.concatenate([as_batch(image, input_shape)[0] for image in images]), False
    if isinstance(images, (str, Path, bytes)):
        return _picture(open_image(images), input_shape), True
    if isinstance(images, Image.Image):
        return _picture(_upright(images, "the PIL image"), input_shape), True
    batch, single = _arrange(_as_array(images), input_shape)
    return unit_interval(batch), single


def _read(path: Path) -> bytes:
    """At most one byte more than the limit, whatever the path leads to."""
    try:
        if not stat.S_ISREG(mode := path.stat().st_mode):  # opening a FIFO would wait for its writer
            raise InputError(
                f"{path}: {'a folder' if stat.S_ISDIR(mode) else 'not a regular file'}; give an image file"
            )
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _decoder(data: bytes) -> Decoder | None:
    """The decoder by the file's first bytes, never by its name.

    Pillow's own `Image.open` would count the pixels later and differently, and take a phone's JPEG with an embedded
    preview for an animation.
    """
    if data.startswith(PNG):
        return PngImageFile
    if data.startswith(JPEG):
        return JpegImageFile
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return WebPImageFile
    return None


def _parts(data: bytes) -> Iterator[bytes]:
    """What the parts of the file say that they are: a PNG's chunks, or a JPEG's segments up to the end of its image."""
    if data.startswith(PNG):
        place = len(PNG)
        while place < len(data):
            yield data[place + 4 : place + 8]
            place += 12 + int.from_bytes(data[place : place + 4])
    elif data.startswith(JPEG):
        place = 2
        while (found := MARKER.search(data, place)) and found[0] != b"\xff\xd9":
            yield found[0]
            place = found.end()
            if found[0] not in (b"\xff\x01", b"\xff\xd8"):  # these two have no length
                place += int.from_bytes(data[place : place + 2])


def _upright(image: Image.Image, name: str) -> Image.Image:
    """The decoded image with its EXIF orientation applied, as L or RGB."""
    width, height = image.size
    if not 0 < width * height <= MAX_PIXELS:
        raise InputError(f"{name}: {width} x {height} pixels, at most {MAX_PIXELS // 10**6} million are accepted")
    if getattr(image, "is_animated", False):
        raise InputError(f"{name}: animated; give one frame")
    try:
        image = ImageOps.exif_transpose(image)  # decodes, too
    except Exception as error:  # as above: truncated, damaged, or hostile
        raise InputError(f"{name}: cannot be decoded: {one_line(error)}") from error
    return _opaque(image, name)


def _opaque(image: Image.Image, name: str) -> Image.Image:
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise InputError(f"{name}: has transparent pixels; put it on a background first")
    if image.mode in ("L", "1"):
        return image.convert("L")
    if image.mode in ("RGB", "RGBA", "P"):
        return image.convert("RGB")
    raise InputError(f"{name}: colour mode {image.mode}; convert it to RGB or grey with 8 bits per channel")


def _picture(image: Image.Image, input_shape: tuple[int, int, int]) -> np.ndarray:
    """The picture at the model's size and channels, float32 [1, C, H, W]."""
    channels, height, width = input_shape
    image = image.convert("L" if channels == 1 else "RGB")
    scale = min(image.width / width, image.height / height)
    # Whole pixels, so that cropping alone changes none; cropping first, so that no strip can grow without bound.
    crop_width, crop_height = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (image.width - crop_width) // 2, (image.height - crop_height) // 2
    box = (left, top, left + crop_width, top + crop_height)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC, box=box))
    return unit_interval(_arrange(pixels, input_shape)[0])


def _as_array(images: Any) -> np.ndarray:
    """The NumPy array, or a PyTorch tensor's values, without importing PyTorch."""
    if isinstance(images, np.ndarray):
        return images
    if not (hasattr(images, "detach") and hasattr(images, "cpu")):  # files have the former
        raise InputError(
            "expected a path, bytes, a PIL image, a NumPy array, a tensor, or a list of these, "
            f"got {type(images).__name__}"
        )
    try:
        return images.detach().cpu().numpy()
    except Exception as error:  # sparse, bfloat16, meta: PyTorch raises several types
        raise InputError(f"the tensor cannot become a NumPy array: {one_line(error)}") from error


def _arrange(array: np.ndarray, input_shape: tuple[int, int, int]) -> tuple[np.ndarray, bool]:
    """The array as [N, C, H, W], and whether it was a single image."""
    channels, height, width = input_shape
    layouts = [(channels, height, width), (height, width, channels), *([(height, width)] if channels == 1 else [])]
    for single in (True, False):
        for layout in layouts:
            if (array.shape if single else array.shape[1:]) == layout:
                batch = array[None] if single else array
                if len(batch) == 0:
                    raise InputError("no images were given: the batch is empty")
                if layout == (height, width, channels) != input_shape:
                    batch = batch.transpose(0, 3, 1, 2)
                return batch.reshape(-1, *input_shape), single
    expected = " or ".join(str(layout) for layout in layouts)
    raise InputError(f"expected an image of shape {expected}, or a batch of them, got {array.shape}")


def unit_interval(batch: np.ndarray) -> np.ndarray:
    """uint8 divided by 255, or floats that already lie in [0, 1], as contiguous float32."""
    if batch.dtype == np.uint8:
        return np.ascontiguousarray(np.divide(batch, 255, dtype=np.float32))
    if not np.issubdtype(batch.dtype, np.floating):
        raise InputError(f"pixels must be uint8, or float in [0, 1], got {batch.dtype}")
    low, high = float(batch.min()), float(batch.max())  # a NaN anywhere makes both NaN
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError("pixels must be finite, got NaN or infinity")
    if low < 0:
        raise InputError(f"pixels must lie in [0, 1], got values down to {low:.9g}: the model normalises them itself")
    if high > 1:
        raise InputError(f"pixels must lie in [0, 1], got values up to {high:.9g}: divide by 255 or pass uint8")
    return np.ascontiguousarray(batch, dtype=np.float32)
