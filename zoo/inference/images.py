"""Pictures and arrays as float32 tensors in [0, 1], of which the certificates speak.

Pictures (files and PIL images) are brought to the model's size: turned upright by their EXIF data, cropped to the
largest centred region of the model's proportions, resized with antialiased bicubic interpolation, and converted to grey
(ITU-R 601-2 luma) or RGB if the model needs it. A picture of the model's own size keeps its exact pixels. Colour
profiles are ignored. What would silently change its meaning is refused: several frames, transparent pixels, CMYK, 16
bits per channel.

Arrays (NumPy, PyTorch) are never resized: they must have exactly the model's shape. Subclasses that mean more than
their values, such as masked arrays, are refused.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from zoo.errors import InputError, one_line
from zoo.inference.pictures import Picture, exif_orientation, read_picture

MAX_IMAGE_BYTES = 32 * 2**20
MAX_PIXELS = 64 * 10**6
MAX_SIDE = 2**16 - 1  # the largest of a JPEG, and of what a browser draws
MAX_WORK = 16 * MAX_PIXELS  # of the scans of a JPEG times its pixels, since each scan passes over the whole picture
SCAN_PIXELS = 2**16  # the least pixels that a scan counts for

GREY = ("L", "1", "LA")  # Pillow's modes
URL = re.compile(r"[a-z][a-z0-9+.-]+:/|data:", re.IGNORECASE)  # one letter and a colon are a drive
ROUNDING = 1e-3  # a value that is closer to [0, 1] was rounded, not scaled
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

File: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
ACCEPTED = "a path, an open file, the bytes of one, a PIL image, a NumPy array, a tensor, or a list of these"


def open_image(source: File) -> Image.Image:
    """The one picture in a PNG, JPEG or WebP file, decoded, upright, grey (L) or RGB.

    `source` is a path, the file's bytes, or a file opened for reading bytes, which is read from its start.
    Too many bytes are refused before they are read, too many parts before they are parsed, and too many pixels (of a
    JPEG, times its scans) before they are decoded.
    Raises InputError with one line that names the file and what is wrong with it.
    """
    image, picture, name = _undecoded(source)
    if picture.scans * max(image.width * image.height, SCAN_PIXELS) > MAX_WORK:
        size = f"{image.width} x {image.height}"
        raise InputError(f"{name}: {picture.scans} scans, too many for {size} pixels; save it again")
    return _upright(_decoded(image, name), picture.orientation, name)


def glance(source: File) -> tuple[int, bool]:
    """The short side of the picture in a file, and whether it is grey, without decoding it. Else as `open_image`."""
    image, _, _ = _undecoded(source)
    return min(image.size), image.mode in GREY


def as_batch(images: Any, input_shape: tuple[int, int, int]) -> tuple[np.ndarray, bool]:
    """The images as a float32 array [N, C, H, W] in [0, 1], and whether they were a single image.

    `images` is one picture (a path, an open file or its bytes, a PIL image); one image or a batch as a NumPy array or
    PyTorch tensor of exactly the model's shape (channels first or last, for one channel also without it; uint8, or
    float in [0, 1]); or a list or tuple, each element of which is one picture or one image. If a shape can be read in
    two ways, channels first goes before channels last, and one image before a batch.
    Other float types, and uint8 divided by 255, are rounded to float32: that tensor is the x of the guarantee. So if
    two pixels differ by n levels of 8 bits, the tensors may differ by up to n / 255 + 2^-24. Tensors may be on any
    device, and may require gradients, which are not recorded. Raises InputError for everything else.
    """
    if isinstance(images, (list, tuple)):
        if not images:
            raise InputError("no images were given: the list is empty")
        return np.concatenate([_element(image, number, input_shape) for number, image in enumerate(images)]), False
    if isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview)) or hasattr(images, "read"):
        return _picture(open_image(images), input_shape), True
    if isinstance(images, Image.Image):
        return _picture(_given(images), input_shape), True
    batch, single = _arrange(_as_array(images), input_shape)
    return unit_interval(batch), single


def _undecoded(source: File) -> tuple[Image.Image, Picture, str]:
    """The image with its pixels not decoded yet, what its file says about it, and the file's name."""
    data, name = _contents(source)
    if len(data) > MAX_IMAGE_BYTES:
        raise InputError(f"{name}: more than {MAX_IMAGE_BYTES // 2**20} MiB")
    picture = read_picture(data, name)
    try:
        return picture.decoder(BytesIO(picture.pixels)), picture, name
    except Exception as error:  # a decoder may raise anything at all over hostile bytes
        raise InputError(f"{name}: cannot be read as an image: {one_line(error)}") from error


def _element(image: Any, number: int, input_shape: tuple[int, int, int]) -> np.ndarray:
    """The image with this number in a list, float32 [1, C, H, W]."""
    try:
        if isinstance(image, (list, tuple)):
            raise InputError(f"expected one image, got a {type(image).__name__}; make numbers an array")
        batch, single = as_batch(image, input_shape)
        if not single:
            raise InputError("a batch; give the batch alone, or a list of single images")
    except InputError as error:
        if isinstance(image, (str, os.PathLike)):  # its name says which one it is
            raise
        raise InputError(f"images[{number}]: {error}") from error
    return batch


def _contents(source: File) -> tuple[bytes, str]:
    """The bytes and a name for them. At most one byte more than the limit is read."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source), "the image"
    if not isinstance(source, (str, os.PathLike)):
        return _read(source)
    path = Path(source)
    if URL.match(str(source)):
        raise InputError(f"{str(source)[:200]}: a URL; fetch the picture and give its file")
    try:
        if not stat.S_ISREG(mode := path.stat().st_mode):  # opening a FIFO would wait for its writer
            raise InputError(
                f"{path}: {'a folder' if stat.S_ISDIR(mode) else 'not a regular file'}; give an image file"
            )
        with path.open("rb") as file:
            return file.read(MAX_IMAGE_BYTES + 1), str(source)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _read(file: Any) -> tuple[bytes, str]:
    """The bytes of an open file, from its start if it can go there, since a file just written stands at its end."""
    name, data = str(getattr(file, "name", "the file")), bytearray()
    try:
        if hasattr(file, "seekable") and file.seekable():
            file.seek(0)
        while len(data) <= MAX_IMAGE_BYTES and (piece := file.read(MAX_IMAGE_BYTES + 1 - len(data))):
            if isinstance(piece, str):
                raise InputError(f"{name}: opened as text; open it with mode 'rb'")
            data += piece
    except InputError:
        raise
    except Exception as error:  # any object may have a method `read`
        raise InputError(f"{name}: cannot be read: {one_line(error)}") from error
    return bytes(data), name


def _given(image: Image.Image) -> Image.Image:
    """The PIL image, upright, as L or RGB."""
    name = "the PIL image"
    image = _decoded(image, name)
    exif = image.info.get("exif")
    return _upright(image, exif_orientation(exif) if isinstance(exif, bytes) else 1, name)


def _decoded(image: Image.Image, name: str) -> Image.Image:
    width, height = image.size
    if not 0 < width * height <= MAX_PIXELS:
        raise InputError(f"{name}: {width} x {height} pixels, at most {MAX_PIXELS // 10**6} million are accepted")
    if max(width, height) > MAX_SIDE:
        raise InputError(f"{name}: {width} x {height} pixels, at most {MAX_SIDE:,} are accepted on a side")
    if isinstance(image, PngImageFile) and any("16" in str(tile.args) for tile in image.tile):  # as it will be decoded
        raise InputError(f"{name}: 16 bits per channel; save it with 8")
    try:
        preview = image.format == "MPO" and image.tell() == 0  # a phone's JPEG, with a preview after the picture
        if getattr(image, "is_animated", False) and not preview:
            raise InputError(f"{name}: animated; give one frame")
        image.load()
    except InputError:
        raise
    except Exception as error:  # as above: truncated, damaged, or hostile
        raise InputError(f"{name}: cannot be decoded: {one_line(error)}") from error
    return image


def _upright(image: Image.Image, orientation: int, name: str) -> Image.Image:
    """The decoded image, turned, as L or RGB."""
    return _opaque(image if orientation == 1 else image.transpose(TURNS[orientation]), name)


def _opaque(image: Image.Image, name: str) -> Image.Image:
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise InputError(f"{name}: has transparent pixels; put it on a background first")
    if image.mode in GREY:
        return image.convert("L")
    if image.mode in ("RGB", "RGBA", "P"):
        return image.convert("RGB")
    raise InputError(f"{name}: colour mode {image.mode}; convert it to RGB or grey with 8 bits per channel")


def _picture(image: Image.Image, input_shape: tuple[int, int, int]) -> np.ndarray:
    """The picture at the model's size and channels, float32 [1, C, H, W]."""
    return unit_interval(_arrange(fitted(image, input_shape), input_shape)[0])


def fitted(image: Image.Image, input_shape: tuple[int, int, int]) -> np.ndarray:
    """The picture, grey (L) or RGB, at the model's size and channels: uint8 [H, W, C]."""
    channels, height, width = input_shape
    image = image.convert("L" if channels == 1 else "RGB")
    scale = min(image.width / width, image.height / height)
    # Whole pixels, so that cropping alone changes none; cropping first, so that no strip can grow without bound.
    crop_width, crop_height = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (image.width - crop_width) // 2, (image.height - crop_height) // 2
    box = (left, top, left + crop_width, top + crop_height)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC, box=box))
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _as_array(images: Any) -> np.ndarray:
    """The NumPy array, or a PyTorch tensor's values, without importing PyTorch."""
    kind, torch = type(images), sys.modules.get("torch")
    if kind in (np.ndarray, np.memmap):
        return np.asarray(images)
    if isinstance(images, np.ma.MaskedArray):
        raise InputError("the array is masked: say what its masked pixels are, as in images.filled(0)")
    if isinstance(images, np.ndarray):
        raise InputError(f"expected a plain NumPy array, got {kind.__name__}: pass numpy.asarray(images)")
    if torch is None or not isinstance(images, torch.Tensor):
        raise InputError(f"expected {ACCEPTED}, got {kind.__name__}")
    pictures = getattr(sys.modules.get("torchvision.tv_tensors"), "Image", torch.Tensor)
    if kind not in (torch.Tensor, torch.nn.Parameter, pictures):
        raise InputError(f"expected a plain tensor, got {kind.__name__}: pass a torch.Tensor of its values")
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
    """uint8 divided by 255, or floats that already lie in [0, 1], as contiguous float32. Raises InputError."""
    if batch.dtype == np.uint8:
        return np.ascontiguousarray(np.divide(batch, 255, dtype=np.float32))
    if not np.issubdtype(batch.dtype, np.floating):
        raise InputError(f"pixels must be uint8, or float in [0, 1], got {batch.dtype}")
    low, high = batch.min(), batch.max()  # a NaN anywhere makes both NaN
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError("pixels must be finite, got NaN or infinity")
    clip = "clip them to it first"
    if low < 0:
        advice = clip if low > -ROUNDING else "the model normalises them itself"
        raise InputError(f"pixels must lie in [0, 1], got values down to {_digits(low)}: {advice}")
    if high > 1:
        advice = clip if high < 1 + ROUNDING else "divide by 255 or pass uint8"
        raise InputError(f"pixels must lie in [0, 1], got values up to {_digits(high)}: {advice}")
    return np.ascontiguousarray(batch, dtype=np.float32)


def _digits(value: np.floating) -> str:
    """The value with as many digits as its type needs."""
    return str(value).removesuffix(".0")
