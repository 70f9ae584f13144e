"""What a picture's file says before it is decoded: its kind, its parts, and its orientation.

A decoder gets the pixels alone. Colour profiles, EXIF data, texts and previews are left out, so that no decoder acts on
them or warns of them. `space/static/file.js` does the same in the browser.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from zoo.errors import InputError

MAX_PARTS = 2**16  # chunks of a PNG or WebP, or segments of a JPEG, which decoders read one by one

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # of a segment; the data of a scan hold no such bytes
SCAN, END = b"\xff\xda", b"\xff\xd9"
BARE = (b"\xff\x01", b"\xff\xd8", END)  # segments without a length
PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
FORMAT_SEGMENTS = (b"\xff\xe0", b"\xff\xee")  # of JFIF and Adobe, which say what the components are
ANCILLARY = 0x20  # a bit of a chunk's name, set if decoders may leave the chunk out
METADATA_CHUNKS = (b"ICCP", b"EXIF", b"XMP ")
METADATA_FLAGS, ANIMATION = 0x2C, 0x02  # of a WebP's VP8X chunk
ORIENTATION, SHORT = 0x0112, 3  # a tag of EXIF, and the type that it has


class Picture(NamedTuple):
    """A file that has one picture, not decoded yet."""

    decoder: Any  # for its kind, which its first bytes tell, never its name
    pixels: bytes  # the file without the parts that do not belong to its pixels
    orientation: int  # by the numbers of EXIF, 1 to 8; 1 is upright
    scans: int  # of a JPEG, each of which passes over the whole picture


class Section(NamedTuple):
    """A chunk or a segment: the bytes `start` to `end` of its file, its content from `content` on."""

    name: bytes
    start: int
    content: int
    end: int


def read_picture(data: bytes, name: str) -> Picture:
    """The picture in the bytes of a PNG, JPEG or WebP file.

    Raises InputError, naming the file, for any other kind, an animation, too many parts, and a file that is cut off.
    """
    # Pillow's own `Image.open` would count the pixels later and differently, and take a phone's JPEG with an embedded
    # preview for an animation.
    if data.startswith(PNG):
        decoder, parts = PngImageFile, _few(_png_chunks(data), name)
        if any(part.name == b"acTL" for part in parts):
            raise InputError(f"{name}: animated; give one frame")
        kept = [part for part in parts if part.name in PIXEL_CHUNKS or not _byte(part.name, 0) & ANCILLARY]
        if damage := _png_damage(data, kept):
            raise InputError(f"{name}: cannot be decoded: {damage}")
        exif = [part for part in parts if part.name == b"eXIf"]
        pixels = PNG + _join(data, kept)
    elif data.startswith(JPEG + b"\xff"):
        decoder, parts = JpegImageFile, _few(_segments(data), name)
        if not parts or parts[-1].name != END:
            raise InputError(f"{name}: cannot be decoded: it is cut off")
        kept = [part for part in parts if not _is_note(part.name)]
        exif = [part for part in parts if part.name == b"\xff\xe1" and data.startswith(b"Exif\0\0", part.content)]
        pixels = JPEG + _join(data, kept)
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        decoder, parts = WebPImageFile, _few(_riff_chunks(data), name)
        if any(part.name == b"VP8X" and _byte(data, part.content) & ANIMATION for part in parts):
            raise InputError(f"{name}: animated; give one frame")
        kept = [part for part in parts if part.name not in METADATA_CHUNKS]
        exif = [part for part in parts if part.name == b"EXIF"]
        chunks = bytearray(_join(data, kept))
        if kept and kept[0].name == b"VP8X" and len(chunks) > 8:
            chunks[8] &= ~METADATA_FLAGS
        pixels = b"RIFF" + (4 + len(chunks)).to_bytes(4, "little") + b"WEBP" + chunks
    else:
        raise InputError(f"{name}: not a PNG, JPEG or WebP image; convert it first")
    turned = exif_orientation(data[exif[0].content : exif[0].end]) if exif else 1
    return Picture(decoder, pixels, turned, sum(part.name == SCAN for part in kept))


def exif_orientation(exif: bytes) -> int:
    """The orientation that EXIF data give, 1 to 8; 1 where they are damaged or give none."""
    exif = exif.removeprefix(b"Exif\0\0")
    if exif[:4] not in (b"II*\0", b"MM\0*"):
        return 1

    def number(place: int, size: int) -> int:
        return int.from_bytes(exif[place : place + size], "little" if exif[:1] == b"I" else "big")

    first = number(4, 4)
    for place in range(first + 2, min(first + 2 + 12 * number(first, 2), len(exif) - 11), 12):
        if number(place, 2) == ORIENTATION:
            value = number(place + 8, 2)
            usual = number(place + 2, 2) == SHORT and number(place + 4, 4) == 1
            return value if usual and 1 <= value <= 8 else 1
    return 1


def _few(parts: Iterator[Section], name: str) -> list[Section]:
    found = list(islice(parts, MAX_PARTS + 1))
    if len(found) > MAX_PARTS:
        raise InputError(f"{name}: more than {MAX_PARTS:,} chunks or segments; save it again")
    return found


def _join(data: bytes, parts: list[Section]) -> bytes:
    return b"".join(data[part.start : part.end] for part in parts)


def _png_chunks(data: bytes) -> Iterator[Section]:
    place, name = len(PNG), b""
    while place < len(data) and name != b"IEND":
        name, end = data[place + 4 : place + 8], place + 12 + int.from_bytes(data[place : place + 4])
        yield Section(name, place, place + 8, end)
        place = end


def _png_damage(data: bytes, chunks: list[Section]) -> str | None:
    """What is wrong with the chunks, as far as only some decoders would notice; None if nothing is."""
    if not chunks or chunks[-1].name != b"IEND":
        return "it is cut off"
    for part in chunks:
        if part.name not in PIXEL_CHUNKS:
            return "it has a chunk of an unknown kind"
        if part.end > len(data):
            return "it is cut off"
        if data[part.end - 4 : part.end] != zlib.crc32(data[part.start + 4 : part.end - 4]).to_bytes(4):
            return "a checksum is wrong"
    headers = [part for part in chunks if part.name == b"IHDR"]
    if len(headers) != 1:
        return f"it has {len(headers)} headers"
    paletted = _byte(data, headers[0].content + 9) == 3
    return "its palette is missing" if paletted and not any(part.name == b"PLTE" for part in chunks) else None


def _segments(data: bytes) -> Iterator[Section]:
    """A JPEG's segments up to the end of its image, each together with the data that follow it, such as a scan's."""
    found = MARKER.search(data, len(JPEG))
    while found:
        length = 0 if found[0] in BARE else int.from_bytes(data[found.end() : found.end() + 2])
        following = None if found[0] == END else MARKER.search(data, found.end() + length)
        last = found.end() if found[0] == END else len(data)
        yield Section(found[0], found.start(), found.end() + 2, following.start() if following else last)
        found = following


def _byte(data: bytes, place: int) -> int:
    return int.from_bytes(data[place : place + 1])  # 0 behind the end


def _is_note(name: bytes) -> bool:
    """Whether the segment is a comment, or an application's own."""
    return name == b"\xff\xfe" or (b"\xff\xe0" <= name <= b"\xff\xef" and name not in FORMAT_SEGMENTS)


def _riff_chunks(data: bytes) -> Iterator[Section]:
    place, end = 12, min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    while place < end:
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        yield Section(data[place : place + 4], place, place + 8, min(place + 8 + size + size % 2, end))
        place += 8 + size + size % 2
