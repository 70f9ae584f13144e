"""What `zoo.inference.images` accepts, what it makes of it to the bit, and what it refuses with one line."""

from __future__ import annotations

import io
import os
import re
import struct
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.files import FILES, chunk, encode
from zoo.epsilon import parse_epsilon
from zoo.errors import InputError
from zoo.inference.images import MAX_IMAGE_BYTES, as_batch, open_image

GREY, COLOUR = (1, 28, 28), (3, 32, 32)


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def png_header(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG that promises its pixels and ends."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


SIGNATURE, IHDR = 8, 25  # bytes at the start of a PNG, and of a whole header chunk
TIME = chunk(b"tIME", bytes(7))
DEEP = png_header(8, 8, depth=16)


def webp_header(width: int, height: int) -> bytes:
    """A WebP (VP8X) that promises its pixels and ends."""
    chunk = struct.pack("<I", 0) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + chunk


COLOURS = Image.fromarray(pixels(32, 32, 3))
FRAMES = [Image.fromarray(pixels(32, 32, 3)), Image.new("RGB", (32, 32))]


class TestPictures:
    def test_a_lossless_picture_of_the_models_size_keeps_its_pixels(self, tmp_path: Path):
        path = tmp_path / "picture.png"
        COLOURS.save(path)
        expected = (np.asarray(COLOURS).transpose(2, 0, 1) / np.float32(255)).astype(np.float32)
        for source in (path, str(path), path.read_bytes(), COLOURS, encode(COLOURS, "WEBP", lossless=True)):
            batch, single = as_batch(source, COLOUR)
            assert single
            assert batch.dtype == np.float32
            assert batch.flags.c_contiguous
            np.testing.assert_array_equal(batch[0], expected)

    def test_a_larger_picture_is_cropped_at_its_centre_by_whole_pixels(self):
        wide = pixels(32, 45, 3)
        batch, _ = as_batch(Image.fromarray(wide), COLOUR)
        np.testing.assert_array_equal(np.rint(batch[0] * 255).transpose(1, 2, 0), wide[:, 6:38])

    def test_a_picture_of_any_size_and_proportion_is_resized(self):
        for size in ((1, 1), (1, 60_000), (300, 200), (27, 29)):
            batch, _ = as_batch(Image.new("RGB", size, (10, 20, 30)), COLOUR)
            assert batch.shape == (1, *COLOUR)
            np.testing.assert_array_equal(batch[0, :, 0, 0], np.float32([10, 20, 30]) / np.float32(255))

    def test_shrinking_is_antialiased(self):
        stripes = np.zeros((256, 256), dtype=np.uint8)
        stripes[::2] = 255
        batch, _ = as_batch(Image.fromarray(stripes), (1, 32, 32))
        assert abs(batch - 0.5).max() < 0.02

    def test_grey_and_colour_become_what_the_model_wants(self):
        grey = Image.fromarray(pixels(28, 28))
        as_colour, _ = as_batch(grey, (3, 28, 28))
        np.testing.assert_array_equal(as_colour[0, 0], as_colour[0, 2])
        np.testing.assert_array_equal(as_colour[:, :1], as_batch(grey, GREY)[0])
        green, _ = as_batch(Image.new("RGB", (28, 28), (0, 255, 0)), GREY)
        assert green.max() == np.float32(150 / 255)  # ITU-R 601-2 luma

    @pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA"])
    def test_modes_with_the_same_meaning_are_converted(self, mode: str):
        image = Image.fromarray((pixels(28, 28) > 99).astype(np.uint8) * 255)
        np.testing.assert_array_equal(as_batch(encode(image.convert(mode)), GREY)[0], as_batch(image, GREY)[0])

    @pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
    def test_a_picture_is_turned_upright(self, kind: str):
        for value in range(10):
            file = io.BytesIO(FILES[f"{kind}-exif-{value}"])
            expected = ImageOps.exif_transpose(Image.open(file))
            for source in (file.getvalue(), Image.open(file)):
                seen, _ = as_batch(source, (3, expected.height, expected.width))
                np.testing.assert_array_equal(np.rint(255 * seen[0]).transpose(1, 2, 0), np.asarray(expected))

    @pytest.mark.parametrize(
        "name", [name for name in FILES if "exif" in name and not re.search("exif-[0-9]|webp-lossy", name)]
    )
    def test_exif_of_all_sorts_is_read_or_passed_over_without_a_warning(self, name: str):
        turned = name.endswith(("at-the-end", "big-endian", "rough-exif", "then-film"))
        assert open_image(FILES[name]).size == ((33, 45) if turned else (45, 33))

    def test_a_phones_jpeg_with_a_preview_is_one_picture(self):
        phone = encode(COLOURS, "MPO", save_all=True, append_images=FRAMES[1:])
        assert open_image(phone).size == (32, 32)
        np.testing.assert_array_equal(as_batch(Image.open(io.BytesIO(phone)), COLOUR)[0], as_batch(phone, COLOUR)[0])

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "not a PNG"),
            (b"just text", "not a PNG"),
            (encode(COLOURS, "BMP"), "not a PNG, JPEG or WebP image; convert it first"),
            (encode(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), "not a PNG"),
            (encode(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:]), "animated"),
            (encode(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]), "animated"),
            (encode(COLOURS)[:1000], "cannot be decoded"),
            (encode(COLOURS, "JPEG")[:400], "cannot be"),
            (encode(COLOURS, "WEBP")[:200], "cannot be"),
            (encode(COLOURS)[:20], "cannot be"),
            (b"\x89PNG\r\n\x1a\n" + b"\xff" * 100, "cannot be"),
            (b"\xff\xd8\xff" + b"\xff" * 100, "cannot be"),
            (b"RIFF\x64\0\0\0WEBP" + b"\xff" * 100, "cannot be"),
            (png_header(60_000, 60_000), "60000 x 60000 pixels, at most 64 million"),
            (png_header(2**31 - 1, 2**31 - 1), "pixels, at most 64 million"),
            (DEEP, "16 bits per channel"),
            (DEEP[:SIGNATURE] + TIME + DEEP[SIGNATURE:], "16 bits per channel"),
            (png_header(8, 8)[: SIGNATURE + IHDR] + DEEP[SIGNATURE:], "it has 2 headers"),
            (png_header(8, 8, depth=16, colour=4), "16 bits per channel"),
            (webp_header(16_383, 16_383), "image"),
            (encode(COLOURS.convert("CMYK"), "JPEG"), "colour mode CMYK"),
            (encode(Image.new("RGBA", (8, 8), (1, 2, 3, 200))), "transparent pixels"),
            (encode(Image.new("RGB", (8, 8), (1, 2, 3)), transparency=(1, 2, 3)), "transparent pixels"),
            (b"\x89PNG\r\n\x1a\n" + bytes(MAX_IMAGE_BYTES), "more than 32 MiB"),
        ],
        ids=range(24),
    )
    def test_what_cannot_be_meant_is_refused(self, data: bytes, message: str, tmp_path: Path):
        path = tmp_path / "picture.png"
        path.write_bytes(data)
        for source in (data, path):
            with pytest.raises(InputError, match=message) as refusal:
                open_image(source)
            assert "\n" not in str(refusal.value)
        assert str(path) in str(refusal.value)

    def test_a_few_bytes_cannot_ask_for_minutes_of_decoding(self):
        """A scan of 14 bytes passes over 4 million pixels; Pillow reads chunks and segments one by one."""
        flat = encode(Image.new("L", (2000, 2000), 128), "JPEG", progressive=True)
        scan = flat[flat.rindex(b"\xff\xda") : -2]
        end = flat[-2:]
        scans, most = flat.count(b"\xff\xda"), 16 * 64 * 10**6 // (2000 * 2000)
        assert open_image(flat[:-2] + 5 * scan + end).size == (2000, 2000)
        for filler in (b"", b"\xff", b"\xff\xd0", b"\xff\x00\xda", b"\xff\xfe\x00\x04\xff\xd9", b"\xff\xd8"):
            with pytest.raises(InputError, match=rf"{most + 1} scans, too many for 2000 x 2000 pixels"):
                open_image(flat[:-2] + (filler + scan) * (most + 1 - scans) + end)
        png, jpeg = encode(COLOURS), encode(COLOURS, "JPEG")
        for flood in (
            png[:33] + 2**16 * chunk(b"teSt", b"") + png[33:],
            jpeg[:2] + 2**16 * b"\xff\xfe\x00\x02" + jpeg[2:],
        ):
            with pytest.raises(InputError, match="more than 65,536 chunks or segments"):
                open_image(flood)

    def test_what_follows_the_end_of_a_jpeg_is_not_counted(self):
        """A phone's motion photo has its film there."""
        for options in ({}, {"progressive": True}):
            photo = encode(COLOURS, "JPEG", **options)
            assert open_image(photo + 2**17 * b"\xff\xda\x00\x02").size == (32, 32)

    def test_every_truncation_of_a_file_is_an_error_or_the_picture(self):
        for kind in ("PNG", "JPEG", "WEBP"):
            data = encode(COLOURS, kind)
            for length in range(0, len(data), 41):
                with suppress(InputError):
                    assert open_image(data[:length]).size == (32, 32)

    def test_paths_that_lead_nowhere(self, tmp_path: Path):
        for path in (tmp_path / "missing.png", tmp_path, "", "a\0b", "x" * 5000):
            with pytest.raises(InputError):
                open_image(path)

    def test_a_fifo_is_refused_before_it_is_opened(self, tmp_path: Path):
        os.mkfifo(tmp_path / "never.png")
        for path, message in ((tmp_path / "never.png", "not a regular file"), (tmp_path, "a folder")):
            with pytest.raises(InputError, match=message):
                open_image(path)

    def test_open_files_and_every_kind_of_bytes(self, tmp_path: Path):
        data, path = encode(COLOURS), tmp_path / "picture.png"
        path.write_bytes(data)
        written = io.BytesIO()
        written.write(data)  # and so at its end
        with path.open("rb") as file, path.open("rb", buffering=0) as raw:
            for source in (file, raw, written, bytearray(data), memoryview(data)):
                batch, single = as_batch(source, COLOUR)
                assert single
                np.testing.assert_array_equal(batch, as_batch(path, COLOUR)[0])
        with pytest.raises(InputError, match=r"picture.png: cannot be read: .*closed"):
            as_batch(file, COLOUR)
        with (
            path.open(encoding="latin-1") as text,
            pytest.raises(InputError, match=r"picture.png: opened as text; open"),
        ):
            as_batch(text, COLOUR)
        with pytest.raises(InputError, match="more than 32 MiB"):
            as_batch(io.BytesIO(bytes(MAX_IMAGE_BYTES + 1)), COLOUR)

    @pytest.mark.parametrize("url", ["https://a.org/b.png", "file:///b.png", "data:image/png,AA", "S3://a/b"])
    def test_a_url_is_called_one(self, url: str):
        for source in (url, [url]):
            with pytest.raises(InputError, match=f"^{url}: a URL; fetch the picture"):
                as_batch(source, COLOUR)
        with pytest.raises(InputError, match="a URL"):
            as_batch(Path(url), COLOUR)

    def test_a_pil_image_obeys_the_same_rules(self):
        gif = Image.open(io.BytesIO(encode(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:])))
        deep = Image.fromarray(np.zeros((28, 28), dtype=np.uint16))
        file = Image.open(io.BytesIO(png_header(8, 8, depth=16)))
        for image, message in (
            (gif, "animated"), (deep, "colour mode I;16"), (Image.new("L", (0, 5)), "0 x 5"),
            (file, "16 bits"), (Image.new("L", (2**16, 1)), "at most 65,535 are accepted on a side"),
        ):  # fmt: skip
            with pytest.raises(InputError, match=message):
                as_batch(image, GREY)


class TestArrays:
    @pytest.mark.parametrize(
        ("shape", "input_shape", "expected"),
        [
            ((28, 28), GREY, (1, True)),
            ((1, 28, 28), GREY, (1, True)),
            ((28, 28, 1), GREY, (1, True)),
            ((7, 28, 28), GREY, (7, False)),
            ((1, 1, 28, 28), GREY, (1, False)),
            ((7, 28, 28, 1), GREY, (7, False)),
            ((3, 32, 32), COLOUR, (1, True)),
            ((32, 32, 3), COLOUR, (1, True)),
            ((5, 3, 32, 32), COLOUR, (5, False)),
            ((5, 32, 32, 3), COLOUR, (5, False)),
            ((3, 3, 3), (3, 3, 3), (1, True)),
        ],
    )
    def test_layouts(self, shape: tuple[int, ...], input_shape: tuple[int, int, int], expected: tuple[int, bool]):
        array = pixels(*shape)
        batch, single = as_batch(array, input_shape)
        assert (len(batch), single) == expected
        last = input_shape[0] == 3 and shape[-3:] == (32, 32, 3)
        channels_first = np.moveaxis(array, -1, -3) if last else array
        np.testing.assert_array_equal(batch.ravel(), (channels_first.ravel() / 255).astype(np.float32))

    def test_uint8_and_float_agree_to_the_bit(self):
        array = pixels(4, 3, 32, 32)
        expected = as_batch(array, COLOUR)[0]
        for kind in (np.float32, np.float64, np.longdouble):
            np.testing.assert_array_equal(as_batch(array.astype(kind) / kind(255), COLOUR)[0], expected)

    def test_strided_and_read_only_arrays(self):
        array = pixels(32, 32, 3)[:, ::-1]
        array.flags.writeable = False
        assert as_batch(array, COLOUR)[0].flags.c_contiguous

    def test_tensors(self):
        torch = pytest.importorskip("torch")
        tensor = torch.rand(2, 3, 32, 32, requires_grad=True)
        np.testing.assert_array_equal(as_batch(tensor, COLOUR)[0], tensor.detach().numpy())
        np.testing.assert_array_equal(as_batch(torch.nn.Parameter(tensor), COLOUR)[0], tensor.detach().numpy())
        for other in (tensor.bfloat16(), tensor.to("meta"), tensor.detach().to_sparse()):
            with pytest.raises(InputError, match="the tensor cannot become a NumPy array"):
                as_batch(other, COLOUR)

        class Special(torch.Tensor):  # MaskedTensor, a parameter of something, anything that means more
            pass

        with pytest.raises(InputError, match="expected a plain tensor, got Special"):
            as_batch(tensor.as_subclass(Special), COLOUR)

    def test_torchvisions_images_are_tensors(self):
        tv_tensors = pytest.importorskip("torchvision.tv_tensors")
        array = pixels(2, 3, 32, 32)
        np.testing.assert_array_equal(as_batch(tv_tensors.Image(array), COLOUR)[0], as_batch(array, COLOUR)[0])
        with pytest.raises(InputError, match="expected a plain tensor, got Mask"):
            as_batch(tv_tensors.Mask(array), COLOUR)

    def test_a_memory_map_is_an_array(self, tmp_path: Path):
        path = tmp_path / "pixels.npy"
        np.save(path, pixels(3, 32, 32))
        np.testing.assert_array_equal(as_batch(np.load(path, mmap_mode="r"), COLOUR)[0][0] * 255, pixels(3, 32, 32))

    def test_lists_mix_what_is_accepted(self):
        batch, single = as_batch([COLOURS, pixels(3, 32, 32), encode(COLOURS), pixels(32, 32, 3)], COLOUR)
        assert batch.shape == (4, *COLOUR)
        assert not single
        assert as_batch((COLOURS,), COLOUR)[1] is False

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.full(GREY, np.nan), "finite"),
            (np.full(GREY, np.inf, dtype=np.float32), "finite"),
            (np.full(GREY, 255.0), r"up to 255: divide by 255 or pass uint8"),
            (np.full(GREY, np.nextafter(1, 2)), "up to 1.0000000000000002: clip"),
            (np.full(GREY, 1 + 1e-12), "up to 1.000000000001: clip"),
            (np.full(GREY, np.nextafter(np.longdouble(1), 2)), "up to 1.0000000000000000001: clip"),
            (np.full(GREY, -1e-12), "down to -1e-12: clip"),
            (np.full(GREY, 1.5), "up to 1.5: divide"),
            (np.full(GREY, -0.5), r"down to -0.5: the model normalises"),
            (np.ma.masked_greater(np.zeros(GREY), 0.5), r"masked: .* images.filled\(0\)"),
            (np.zeros((28, 28)).view(np.matrix), r"plain NumPy array, got matrix: pass numpy.asarray\(images\)"),
            (np.zeros((28, 28)).view(np.recarray), "got recarray"),
            ([np.zeros((2, 28, 28))], r"images\[0\]: a batch; give the batch alone"),
            ([np.zeros((28, 28)), [np.zeros((28, 28))]], r"images\[1\]: expected one image, got a list"),
            ((np.zeros(GREY), 7), r"images\[1\]: expected a path, an open file, .*, got int"),
            ([np.zeros(GREY), np.zeros((9, 9))], r"images\[1\]: expected an image of shape"),
            (np.zeros(GREY, dtype=np.int64), "got int64"),
            (np.zeros(GREY, dtype=np.int8), "got int8"),
            (np.zeros(GREY, dtype=bool), "got bool"),
            (np.zeros(GREY, dtype=complex), "got complex128"),
            (np.full(GREY, None), "got object"),
            (np.full(GREY, "a"), "got <U1"),
            (np.zeros((0, *GREY), dtype=np.uint8), "empty"),
            (np.zeros((28, 27)), r"expected an image of shape \(1, 28, 28\) or \(28, 28, 1\) or \(28, 28\)"),
            (np.zeros((3, 28, 28, 28)), "expected an image"),
            (np.zeros(()), "expected an image"),
            (np.zeros((2, 2, 1, 28, 28)), "expected an image"),
            ([], "empty"),
            ([[0.5, 0.5]], r"images\[0\]: expected one image, got a list; make numbers an array"),
            (None, "got NoneType"),
            (7, "got int"),
            ({"image": 1}, "got dict"),
        ],
        ids=range(32),
    )
    def test_what_cannot_be_meant_is_refused(self, array: Any, message: str):
        with pytest.raises(InputError, match=message) as refusal:
            as_batch(array, GREY)
        assert "\n" not in str(refusal.value)


NOT_SIZES = [
    *("", "abc", "1/0", "1/2/3", "/2", "-1", "-0.0", "nan", "inf", "1/inf", "1e999", "1e999999999/2", b"1"),
    *("1_0", "١/٢", "０.5", "1/-2", "1/+2", "-1/2", "--1", "+", ".", "1e1000", "0x1", "1\n", "\t1", "1" * 41, "1/0.0"),
    *(-1, float("nan"), True, None, [], 10**400),
]


class TestEpsilon:
    def test_numbers_and_fractions(self):
        for value, expected in (("36/255", 36 / 255), ("0.14", 0.14), (" 1 / 2 ", 0.5), ("0", 0.0), ("1e-3", 1e-3)):
            assert parse_epsilon(value) == expected
        for text in ("0.71/0.92", "0.1/0.3", "1e-300/3e-10", ".3/7.", "+1e2/255"):
            numerator, denominator = text.split("/")
            assert parse_epsilon(text) == float(Fraction(numerator) / Fraction(denominator))
        assert parse_epsilon("0.71/0.92") != 0.71 / 0.92  # which is rounded three times
        assert parse_epsilon(1) == 1.0
        assert parse_epsilon(np.float32(0.5)) == 0.5

    @pytest.mark.parametrize("value", NOT_SIZES, ids=range(len(NOT_SIZES)))
    def test_what_is_no_size_is_refused(self, value: Any):
        with pytest.raises(InputError, match="epsilon must be") as refusal:
            parse_epsilon(value)
        assert len(str(refusal.value)) < 120
