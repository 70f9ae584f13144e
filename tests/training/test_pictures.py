"""Pictures that people bring: what is read, and what is refused in one line."""

from __future__ import annotations

import io
import json
import random
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.shapes import SHAPES, draw_shape, draw_shapes
from training.pictures import open_pictures
from zoo.errors import ZooError
from zoo.inference.images import as_batch


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def refused(source: Path | str, labels: tuple[str, ...] | None = None) -> str:
    """The line that says why the pictures cannot be used."""

    def read() -> None:
        pictures = open_pictures(str(source), "train", labels)
        pictures.sizes()
        pictures.split("train", (3, 32, 32))

    with pytest.raises(ZooError) as raised:
        read()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def write_parquet(path: Path, labels: list, names: list[str] | None = None, size: int = 40) -> Path:
    rng = random.Random(0)
    rows = [{"bytes": encoded(draw_shape(SHAPES[0], rng, (size, size))), "path": None} for _ in labels]
    features = {"label": {"_type": "ClassLabel", "names": names}} if names else {}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": rows, "label": labels}).replace_schema_metadata(metadata), path)
    return path


def write_arrays(path: Path, **arrays: object) -> Path:
    usual = {"images": np.zeros((4, 30, 40), dtype=np.uint8), "labels": np.array([0, 1, 0, 1])}
    np.savez(path, **{name: value for name, value in (usual | arrays).items() if value is not None})  # type: ignore[arg-type]
    return path


def test_a_folder_is_read_as_predict_reads_a_picture(tmp_path: Path):
    """The same crop, the same resizing, upright: a model is trained on what it will be asked about."""
    folder = draw_shapes(tmp_path / "shapes", 2)
    turned, exif = folder / "circle" / "turned.jpg", Image.Exif()
    exif[0x0112] = 6
    draw_shape("triangle", random.Random(5), (40, 90)).save(turned, exif=exif)
    Image.new("L", (70, 60), 90).save(folder / "square" / "grey.png")
    Image.new("P", (31, 60), 7).save(folder / "square" / "palette.png")
    pictures = open_pictures(str(folder), "train")
    assert pictures.labels == SHAPES
    assert pictures.sizes()[1] == 3
    split = pictures.split("train", (3, 32, 32))
    for (place, file), pixels in zip(pictures.values(), split.images, strict=True):
        assert np.array_equal(as_batch(file, (3, 32, 32))[0][0], pixels.transpose(2, 0, 1) / np.float32(255)), place
    assert [Path(place).parent.name for place, _ in pictures.values()] == [SHAPES[n] for n in split.labels]
    assert open_pictures(str(folder), "train").split("train", (3, 32, 32), 4).name == "train[:4]"


def test_pictures_that_are_all_grey_stay_grey(tmp_path: Path):
    for name, side in (("a", 20), ("b", 40)):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.new("L", (side, 50), 80).save(tmp_path / name / f"{number}.png")
    pictures = open_pictures(str(tmp_path), "train")
    assert pictures.sizes() == (30, 1)
    assert pictures.split("train", (1, 28, 28)).images.shape == (6, 28, 28, 1)


def test_another_picture_is_another_revision(tmp_path: Path):
    draw_shapes(tmp_path, 2)
    before = open_pictures(str(tmp_path), "train").revision
    Image.new("RGB", (50, 50)).save(tmp_path / "circle" / "0000.png")
    assert open_pictures(str(tmp_path), "train").revision != before


@pytest.mark.parametrize(
    ("labels", "names", "expected", "numbers"),
    [
        ([2, 0, 1], ["cat", "dog", "eel"], ("cat", "dog", "eel"), [2, 0, 1]),
        (["dog", "cat", "dog"], None, ("cat", "dog"), [1, 0, 1]),
        ([0, 1, 1], None, ("0", "1"), [0, 1, 1]),
    ],
)
def test_parquet_names_its_classes(tmp_path: Path, labels: list, names, expected, numbers):
    file = write_parquet(tmp_path / "train-00000-of-00001.parquet", labels, names)
    write_parquet(tmp_path / "test-00000-of-00001.parquet", labels[:1], names)
    for source in (file, tmp_path):
        pictures = open_pictures(str(source), "train")
        assert (pictures.labels, pictures.numbers.tolist()) == (expected, numbers)
        assert pictures.sizes() == (40, 3)
        assert pictures.split("train", (3, 28, 28)).images.shape == (3, 28, 28, 3)
    assert len(open_pictures(str(tmp_path), "test", expected).numbers) == 1


def test_arrays_name_their_classes(tmp_path: Path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 28, 28), dtype=np.uint8)
    names = np.array(["no", "yes"])
    pictures = open_pictures(str(write_arrays(tmp_path / "a.npz", images=images, label_names=names)), "train")
    assert (pictures.labels, pictures.sizes()) == (("no", "yes"), (28, 1))
    assert np.array_equal(pictures.split("train", (1, 28, 28)).images[..., 0], images)
    words = open_pictures(str(write_arrays(tmp_path / "b.npz", labels=names[[1, 0, 0, 1]])), "train")
    assert (words.labels, words.numbers.tolist()) == (("no", "yes"), [1, 0, 0, 1])
    assert open_pictures(str(write_arrays(tmp_path / "c.npz")), "test", ("no", "yes")).labels == ("no", "yes")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda folder: (folder / "empty").mkdir(), "has no images in empty"),
        (lambda folder: (folder / "circle" / "0000.png").write_bytes(b"?"), r"0000.png: not a PNG, JPEG or WebP image"),
        (lambda folder: (folder / "circle" / "0000.png").write_bytes(encoded(Image.new("L", (9, 9)))[:-20]), "cut off"),
        (lambda folder: Image.new("RGBA", (9, 9)).save(folder / "circle" / "a.png"), "a.png: has transparent pixels"),
        (lambda folder: Image.new("CMYK", (9, 9)).save(folder / "circle" / "a.jpg"), "a.jpg: colour mode CMYK"),
        (lambda folder: (folder / "circle" / "a.txt").touch(), "a.txt is no image"),
        (lambda folder: (folder / "a.png").touch(), "a.png is in no class folder"),
        (lambda folder: (folder / "circle").rename(folder / "a\nb"), "no name for a class"),
        (lambda folder: draw_shapes(folder / "train", 1) and draw_shapes(folder / "test", 1), "--test .*/test"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path, change, line: str):
    folder = draw_shapes(tmp_path / "shapes", 2)
    change(folder)
    assert re.search(line, refused(folder))


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"images": np.array([{}] * 4)}, "is damaged or has pickled objects: save plain arrays"),
        ({"images": np.zeros((4, 30, 40), dtype=np.float32)}, r"images are float32 \[4, 30, 40\], expected uint8"),
        ({"images": np.zeros((4, 30, 40, 2), dtype=np.uint8)}, r"\[4, 30, 40, 2\], expected uint8"),
        ({"images": np.zeros((4, 0, 40), dtype=np.uint8)}, r"images are \[4, 0, 40\]"),
        ({"images": None}, "has no array 'images'"),
        ({"labels": np.array([0, 1, 0])}, r"labels \[3\], expected \[N\]"),
        ({"labels": np.array([0, 1, 0, 5])}, "has the labels 0, 1, 5: expected 0, 1, 2"),
        ({"labels": np.array([0, 1, 0, -1])}, "has the labels -1, 0, 1"),
        ({"labels": np.array([0.0, 1.0, 0.0, 1.0])}, "expected 0, 1, 2 and so on"),
        ({"labels": np.array([0, 1, 0, 2]), "label_names": np.array(["a", "b"])}, "image 3 has label 2"),
        ({"labels": np.array([0, 0, 0, 0])}, "has one class"),
        ({"label_names": np.array(["a", "b", "c"])}, "has no pictures of c"),
        ({"label_names": np.array(["a", "a"])}, "each name once"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused_in_one_line(tmp_path: Path, arrays: dict, line: str):
    assert re.search(line, refused(write_arrays(tmp_path / "a.npz", **arrays)))


def test_other_files_are_refused_in_one_line(tmp_path: Path):
    (tmp_path / "a.npz").write_bytes(b"no zip")
    (tmp_path / "a.txt").touch()
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.npy").rename(tmp_path / "b.npz")
    assert "is damaged or has pickled objects" in refused(tmp_path / "a.npz")
    assert "is damaged" in refused(tmp_path / "b.npz")
    assert "a folder with a subfolder of pictures" in refused(tmp_path / "a.txt")
    assert "no such folder or file" in refused(tmp_path / "nothing")
    gaps = write_parquet(tmp_path / "c.parquet", [0, 2, 0])
    assert "has the labels 0, 2" in refused(gaps)
    assert "has label 3" in refused(write_parquet(tmp_path / "d.parquet", [0, 3, 1], ["a", "b"]))
    assert "is double, expected class numbers or class names" in refused(
        write_parquet(tmp_path / "e.parquet", [0.5, 1.0])
    )


def test_test_pictures_have_the_classes_of_the_training_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = draw_shapes(tmp_path / "shapes", 1)
    (folder / "square").rename(folder / "hexagon")
    assert "hexagon is not named after a class of the training pictures: circle, square" in refused(folder, SHAPES)
    words = write_arrays(tmp_path / "a.npz", labels=np.array(["circle", "oval"] * 2))
    assert "'oval' is no class of the training pictures" in refused(words, SHAPES)
    named = write_parquet(tmp_path / "a.parquet", [0, 1, 2], ["circle", "triangle", "square"])
    assert "calls class 1 'triangle', in the training pictures it is 'square'" in refused(named, SHAPES)
    (folder / "hexagon").rename(folder / "square")
    for path in (folder / "triangle").iterdir():
        path.unlink()
    (folder / "triangle").rmdir()
    capsys.readouterr()
    assert len(open_pictures(str(folder), "test", SHAPES).numbers) == 2  # a test set may lack a class
    assert capsys.readouterr().err == f"{folder} has no pictures of triangle: rates on it are of 2 of 3 classes\n"


def test_pictures_of_an_array_are_told_apart_by_their_pixels(tmp_path: Path):
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8), dtype=np.uint8)
    images[3] = images[0]
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(4) % 2)
    first, *_, last = digests = open_pictures(str(tmp_path / "data.npz"), "train").digests()
    assert (first, len(set(digests))) == (last, 3)
