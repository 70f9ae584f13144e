"""Pictures of every kind that a visitor may drop, small and made here, by a name that says what is special in each."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageCms


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def smooth(width: int, height: int) -> Image.Image:
    """Colours that differ in every corner, so that no turn is unnoticed."""
    corners = np.array([[[250, 30, 60], [20, 200, 90]], [[90, 60, 220], [230, 220, 40]]], dtype=np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BICUBIC)


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (141, 233, 3), dtype=np.uint8))


def chunk(name: bytes, content: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(name + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def oriented(value: int, kind: int = 3, order: str = "<") -> bytes:
    """EXIF data of one tag, the orientation."""
    entry = struct.pack(f"{order}HHI", 0x0112, kind, 1) + struct.pack(f"{order}HH", value, 0)
    mark = b"II" if order == "<" else b"MM"
    return b"Exif\0\0" + mark + struct.pack(f"{order}HIH", 42, 8, 1) + entry + bytes(4)


def rough_exif() -> bytes:
    """An orientation of 6 behind tags that lead nowhere, of which Pillow warns."""
    tags = struct.pack("<HHII", 0x010E, 2, 10**6, 10**6) + struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    return b"Exif\0\0II" + struct.pack("<HIH", 42, 8, 2) + tags


def swapped() -> bytes:
    """A colour profile that takes red for blue."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"tttt").replace(b"bXYZ", b"rXYZ").replace(b"tttt", b"bXYZ")


def _files() -> dict[str, bytes]:
    picture, grey = smooth(45, 33), smooth(45, 33).convert("L")
    png, jpeg = encode(picture, "PNG"), encode(picture, "JPEG", quality=95)
    head, end = 33, len(png) - 12  # of a PNG: behind its IHDR, before its IEND
    app1 = b"\xff\xe1" + struct.pack(">H", 2 + 100) + b"Exif\0\0" + bytes(94)
    xmp = b'<x:xmpmeta xmlns:tiff="t" tiff:Orientation="6"/>'
    palette = picture.quantize(200)
    coloured = encode(palette, "PNG")
    files = {
        "png": png,
        "png-grey": encode(grey, "PNG"),
        "png-palette": encode(palette, "PNG"),
        "png-palette-4-bits": encode(picture.quantize(13), "PNG", bits=4),
        "png-1-bit": encode(grey.convert("1"), "PNG"),
        "png-grey-alpha": encode(grey.convert("LA"), "PNG"),
        "png-alpha": encode(picture.convert("RGBA"), "PNG"),
        "png-see-through": encode(Image.merge("RGBA", [*picture.split(), grey]), "PNG"),
        "png-a-colour-is-transparent": encode(picture, "PNG", transparency=picture.getpixel((3, 3))),
        "png-no-pixel-is-transparent": encode(picture, "PNG", transparency=(1, 2, 3)),
        "png-palette-is-transparent": encode(palette, "PNG", transparency=palette.getpixel((3, 3))),
        "png-palette-alpha": encode(palette, "PNG", transparency=bytes([255] * 255 + [9])),
        "png-16-bits": encode(Image.fromarray(np.full((9, 9), 4000, dtype=np.uint16)), "PNG"),
        "png-animated": encode(picture, "PNG", save_all=True, append_images=[smooth(45, 33).rotate(180)]),
        "png-gamma": png[:head] + chunk(b"gAMA", struct.pack(">I", 100_000)) + png[head:],
        "png-cicp": png[:head] + chunk(b"cICP", bytes([9, 16, 0, 1])) + png[head:],
        "png-xmp": png[:head] + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp) + png[head:],
        "png-exif-at-the-end": png[:end] + chunk(b"eXIf", oriented(6)[6:]) + png[end:],
        "png-exif-of-longs": encode(picture, "PNG", exif=oriented(6, kind=4)),
        "png-exif-big-endian": encode(picture, "PNG", exif=oriented(8, order=">")),
        "png-rough-exif": encode(picture, "PNG", exif=rough_exif()),
        "png-bad-exif": encode(picture, "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
        "png-bomb-in-a-text": png[:head] + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**22))) + png[head:],
        "png-bad-text-checksum": png[:head] + chunk(b"tEXt", b"a\0b", 1) + png[head:],
        "png-more-behind": png + b"more",
        "png-half": png[: len(png) // 2],
        "png-wide": encode(Image.new("RGB", (70_000, 1), (9, 99, 199)), "PNG"),
        "png-one-pixel": encode(Image.new("RGB", (1, 1), (9, 99, 199)), "PNG"),
        "jpeg": jpeg,
        "jpeg-444": encode(picture, "JPEG", quality=95, subsampling=0),
        "jpeg-422": encode(picture, "JPEG", quality=95, subsampling=1),
        "jpeg-grey": encode(grey, "JPEG", quality=95),
        "jpeg-progressive": encode(picture, "JPEG", quality=95, progressive=True),
        "jpeg-rgb": encode(picture, "JPEG", quality=95, keep_rgb=True),
        "jpeg-of-a-phone": encode(picture, "MPO", save_all=True, append_images=[grey], exif=oriented(6)),
        "jpeg-xmp": encode(picture, "JPEG", quality=95, xmp=xmp),
        "jpeg-rough-exif": encode(picture, "JPEG", quality=95, exif=rough_exif()),
        "jpeg-empty-exif": jpeg[:2] + app1 + jpeg[2:],
        "jpeg-two-exifs": jpeg[:2] + 2 * app1 + jpeg[2:],
        "jpeg-comment": encode(picture, "JPEG", quality=95, comment="\xff\xda\xff\xd9"),
        "jpeg-more-behind": jpeg + b"\xff\xd8\xff\xc0more",
        "jpeg-half": jpeg[: len(jpeg) // 2],
        "jpeg-no-scan": jpeg[: jpeg.index(b"\xff\xda")],
        "jpeg-cmyk": encode(picture.convert("CMYK"), "JPEG"),
        "webp": encode(picture, "WEBP", lossless=True),
        "webp-alpha": encode(picture.convert("RGBA"), "WEBP", lossless=True),
        "webp-see-through": encode(Image.merge("RGBA", [*picture.split(), grey]), "WEBP", lossless=True),
        "webp-animated": encode(picture, "WEBP", save_all=True, append_images=[grey.convert("RGB")]),
        "webp-rough-exif": encode(picture, "WEBP", lossless=True, exif=rough_exif()),
        "jpeg-noise": encode(noise(), "JPEG", quality=50),
        "jpeg-noise-progressive": encode(noise(), "JPEG", quality=80, progressive=True),
        "webp-lossy-noise": encode(noise(), "WEBP", quality=50),
        "png-no-end": png[:end],
        "png-no-last-line": png[: end - 30],
        "jpeg-no-last-line": jpeg[:-30],
        "jpeg-no-end": jpeg[:-2],
        "webp-no-last-line": encode(picture, "WEBP", quality=90)[:-30],
        "png-no-palette": coloured[:head] + coloured[coloured.index(b"IDAT") - 4 :],
        "png-unknown-critical-chunk": png[:head] + chunk(b"BAKE", b"") + png[head:],
        "png-end-of-another-length": png[:end] + bytes([0, 0, 0, 9]) + png[end + 4 :],
        "png-two-headers": png[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 45, 33, 8, 2, 0, 0, 0)) + png[8:],
        "png-header-late": png[:8] + chunk(b"tIME", bytes(7)) + png[8:],
        "png-bad-checksum": png[:head] + chunk(b"tRNS", bytes(6), 1) + png[head:],
        "png-bad-checksum-of-pixels": png[: end - 1] + bytes([png[end - 1] ^ 1]) + png[end:],
        "png-bad-checksum-of-header": png[: head - 1] + bytes([png[head - 1] ^ 1]) + png[head:],
        "png-bad-checksum-of-end": png[:-1] + bytes([png[-1] ^ 1]),
        "png-profile": encode(picture, "PNG", icc_profile=swapped()),
        "jpeg-profile": encode(picture, "JPEG", quality=95, icc_profile=swapped()),
        "webp-profile": encode(picture, "WEBP", lossless=True, icc_profile=swapped(), exif=oriented(6)),
        "png-transparency-behind": png[:end] + chunk(b"tRNS", bytes(6)) + png[end:],
        "jpeg-exif-then-film": encode(picture, "JPEG", exif=oriented(6)) + jpeg,
        "webp-half": encode(picture, "WEBP", lossless=True)[:90],
        "webp-header": encode(picture, "WEBP", lossless=True, exif=oriented(6))[:20],
        "webp-more-behind": encode(picture, "WEBP", lossless=True) + b"more",
        "webp-lossy": encode(picture, "WEBP", quality=90),
        "webp-lossy-exif": encode(picture, "WEBP", quality=90, exif=oriented(6)),
        "gif": encode(picture, "GIF"),
        "bmp": encode(picture, "BMP"),
        "tiff": encode(picture, "TIFF"),
        "avif": encode(picture, "AVIF"),
        "empty": b"",
    }
    for value in range(10):
        files[f"png-exif-{value}"] = encode(picture, "PNG", exif=oriented(value))
        files[f"webp-exif-{value}"] = encode(picture, "WEBP", lossless=True, exif=oriented(value))
        files[f"jpeg-exif-{value}"] = encode(picture, "JPEG", quality=95, exif=oriented(value))
    return files


FILES = _files()
