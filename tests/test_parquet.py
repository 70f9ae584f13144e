"""Parquet as people have it: every layout of images and labels gives the same split, the rest is refused in a line."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import EpsImagePlugin, Image

import zoo
from training.data import load_training_data
from training.stream import ParquetImages, stream
from zoo.cli.views import evaluation_pairs
from zoo.data import parquet
from zoo.data.datasets import DATASETS
from zoo.data.parquet import FORMATS, label_names
from zoo.data.splits import load_split, split_files, stream_split
from zoo.errors import InputError
from zoo.inference.evaluate import dataset_images, evaluation_of

INFO = DATASETS["cifar10"]
PIXELS = np.random.default_rng(1).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
NUMBERS = [row % 10 for row in range(12)]
NAMES = [INFO.labels[number] for number in NUMBERS]


def png(pixels: np.ndarray) -> bytes:
    Image.fromarray(pixels).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


FILES = [png(pixels) for pixels in PIXELS]
STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})
IMAGES = {
    "struct": pa.array([{"bytes": file, "path": "a.png"} for file in FILES], STRUCT),
    "struct of large binary": pa.array([{"bytes": file} for file in FILES], pa.struct({"bytes": pa.large_binary()})),
    "binary": pa.array(FILES, pa.binary()),
    "large binary": pa.array(FILES, pa.large_binary()),
    "dictionary": pa.array(FILES, pa.binary()).dictionary_encode(),
    "lists": pa.array(PIXELS.tolist(), pa.list_(pa.list_(pa.list_(pa.uint8())))),
    "large lists of int64": pa.array(PIXELS.tolist(), pa.large_list(pa.large_list(pa.list_(pa.int64())))),
    "fixed lists": pa.array(PIXELS.tolist(), pa.list_(pa.list_(pa.list_(pa.uint8(), 3), 32), 32)),
}
LABELS = {
    "int64": pa.array(NUMBERS),
    "uint8": pa.array(NUMBERS, pa.uint8()),
    "names": pa.array(NAMES),
    "large names": pa.array(NAMES, pa.large_string()),
    "dictionary": pa.array(NAMES).dictionary_encode(),
    "digits": pa.array([str(number) for number in NUMBERS]),
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOO_DATA", str(tmp_path))
    return tmp_path / "cifar10"


def write(root: Path, columns: dict[str, Any], file: str = "test-00000-of-00001.parquet", features: Any = None) -> Path:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if features is not None:
        text = features if isinstance(features, str) else json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": text})
    pq.write_table(table, path, row_group_size=5)
    return path


@pytest.mark.parametrize("layout", IMAGES)
def test_every_layout_of_images_gives_the_same_pixels(root: Path, layout: str):
    write(root, {"image": IMAGES[layout], "label": NUMBERS})
    split = load_split("cifar10", "test")
    np.testing.assert_array_equal(split.images, PIXELS)
    assert split.labels.tolist() == NUMBERS
    encoded = ParquetImages(INFO, split_files(INFO, "test"))
    ((images, _),) = stream(encoded, (32, 3), [([7, 0, 11], None)])
    np.testing.assert_array_equal(images, PIXELS[[7, 0, 11]])


@pytest.mark.parametrize("layout", LABELS)
def test_every_layout_of_labels_gives_the_same_numbers(root: Path, layout: str):
    write(root, {"img": IMAGES["binary"], "label": LABELS[layout]})
    split = load_split("cifar10", "test")
    assert split.labels.dtype == np.int64
    assert split.labels.tolist() == NUMBERS
    assert split.label_names == INFO.labels


def test_layouts_may_differ_from_file_to_file(root: Path):
    for number, (images, labels) in enumerate([("struct", "int64"), ("lists", "dictionary"), ("binary", "uint8")]):
        column = "img" if number else "image"
        write(root, {column: IMAGES[images], "label": LABELS[labels]}, f"test-{number:05}-of-00003.parquet")
    split = load_split("cifar10", "test")
    np.testing.assert_array_equal(split.images, np.concatenate([PIXELS] * 3))
    assert split.labels.tolist() == NUMBERS * 3
    part = stream_split("cifar10", "test", 13)
    ((images, labels),) = part.read({1}, 12)
    np.testing.assert_array_equal(images, PIXELS[:1])
    assert (part.name, labels.tolist()) == ("test[:13]", [0])


def test_grey_pixels_become_colour(root: Path):
    write(root, {"image": pa.array(PIXELS[..., 0].tolist()), "label": NUMBERS})
    np.testing.assert_array_equal(load_split("cifar10", "test").images, np.repeat(PIXELS[..., :1], 3, axis=3))


def test_columns_of_other_names_are_found_by_what_the_metadata_call_them(root: Path):
    features = {"picture": {"_type": "Image"}, "kind": {"_type": "ClassLabel", "names": list(INFO.labels)}}
    write(root, {"kind": NUMBERS, "picture": IMAGES["struct"]}, features=features)
    assert load_split("cifar10", "test").labels.tolist() == NUMBERS


NO_BYTES = pa.array([{"bytes": None, "path": "/etc/passwd"}] + [{"bytes": file} for file in FILES[1:]], STRUCT)
DEEP = io.BytesIO()
Image.fromarray(np.full((32, 32), 300, np.uint16)).save(DEEP, "PNG")
SWAPPED = [INFO.labels[1], INFO.labels[0], *INFO.labels[2:]]


@pytest.mark.parametrize(
    ("columns", "features", "message"),
    [
        ({"label": [None, *NUMBERS[1:]]}, None, "image 0 has no label, column 'label' is null there"),
        ({"label": [*NAMES[:11], None]}, None, "image 11 has no label"),
        ({"label": [0.0] * 12}, None, "column 'label' is double, expected class numbers or class names"),
        ({"label": [[0]] * 12}, None, "column 'label' is list"),
        ({"label": [*NAMES[:3], "zebra", *NAMES[4:]]}, None, "image 3 has the label 'zebra', which is no class of cif"),
        ({"label": ["10"] * 12}, None, "image 0 has the label '10'"),
        ({"label": pa.array([2**64 - 1] * 12, pa.uint64())}, None, "image 0 has label 18446744073709551615"),
        ({"image": ["a.png"] * 12}, None, "column 'image' is string, expected encoded images"),
        ({"image": [1.5] * 12}, None, "column 'image' is double, expected encoded images"),
        ({"image": [[[0.5]]] * 12}, None, "column 'image' is list"),
        ({"image": [None] * 12}, None, "column 'image' is null, expected encoded images"),
        ({"image": pa.array([{"path": "a"}] * 12)}, None, "column 'image' is struct<path: string>, expected"),
        ({"image": NO_BYTES}, None, "image 0 has no bytes: images must be in the file itself"),
        ({"image": pa.array([*FILES[:11], None])}, None, "image 11 has no bytes"),
        ({"image": [*FILES[:11], b"no image"]}, None, "image 11 cannot be decoded, expected an image file"),
        ({"image": [DEEP.getvalue()] * 12}, None, "image 0 has more than 8 bits per channel"),
        ({"image": [[[0, 1], [2]]] * 12}, None, "image 0 cannot be decoded, expected integers from 0 to 255"),
        ({"image": [[[300] * 32] * 32] * 12}, None, "image 0 cannot be decoded, expected integers from 0 to 255"),
        ({"image": [[[]]] * 12}, None, "column 'image' is list"),
        ({"image": [[], *[[[0]]] * 11]}, None, "image 0 cannot be decoded, expected integers from 0 to 255"),
        ({"image": [[[0] * 16] * 32] * 12}, None, "image 0 is 16 x 32, cifar10 has 32 x 32"),
        ({}, {"label": {"names": SWAPPED}}, "calls class 0 'automobile', in cifar10 it is 'airplane'"),
        ({}, {"label": {"names": ["a", *INFO.labels[1:]]}}, "calls class 0 'a', in cifar10 it is 'airplane'"),
        ({}, {"label": {"names": ["a"]}}, "column 'label' does not name 10 classes"),
        ({}, {"label": {"names": 5}}, "column 'label' does not name 10 classes"),
        ({}, "no JSON", "metadata are damaged"),
        ({}, '{"info": []}', "metadata are damaged"),
    ],
)
def test_the_rest_is_refused_in_one_line(root: Path, columns: dict[str, Any], features: Any, message: str):
    path = write(root, {"image": IMAGES["binary"], "label": NUMBERS, **columns}, features=features)
    with pytest.raises(InputError) as raised:
        load_split("cifar10", "test")
    assert message in str(raised.value)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_postscript_is_refused_before_anything_runs_it(root: Path, monkeypatch: pytest.MonkeyPatch):
    run: list[Any] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *told: run.append(told) or Image.new("RGB", (32, 32)).im)
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n(hello) print\n%%EOF\n"
    write(root, {"image": [*FILES[:11], eps], "label": NUMBERS})
    with pytest.raises(InputError, match=r"image 11 cannot be decoded, expected an image file \(PNG, JPEG"):
        load_split("cifar10", "test")
    assert not run


@pytest.mark.parametrize("form", FORMATS)
def test_a_format_of_real_data_sets_is_read(root: Path, form: str):
    Image.fromarray(PIXELS[0]).save(file := io.BytesIO(), form)
    write(root, {"image": [file.getvalue()] * 12, "label": NUMBERS})
    assert load_split("cifar10", "test").images.shape == (12, 32, 32, 3)


def test_more_images_than_the_memory_may_hold_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch):
    """Also where the file's own count is another than that of its row groups, which are what is read."""
    monkeypatch.setattr(parquet, "MAX_IMAGES", 12)
    path = write(root, {"image": IMAGES["binary"], "label": NUMBERS})
    content = path.read_bytes()
    assert len(load_split("cifar10", "test").labels) == 12
    monkeypatch.setattr(parquet, "MAX_IMAGES", 11)
    count = b"\x16\x18\x19"  # Thrift: a 64-bit number, 12, and a list
    assert content.count(count) == 1
    for written in (content, content.replace(count, b"\x16\x02\x19")):
        path.write_bytes(written)
        for read in (lambda: load_split("cifar10", "test", 1), lambda: label_names([path])):
            with pytest.raises(InputError, match=r"test-00000-of-00001\.parquet has 12 images, expected at most 11"):
                read()
    assert pq.read_metadata(path).num_rows == 1


@pytest.mark.parametrize("column", ["label", "image", "image.bytes"])
def test_what_a_file_stores_once_does_not_fill_the_memory(root: Path, column: str, monkeypatch: pytest.MonkeyPatch):
    """A megabyte that occurs 1,000 times in a file of little more."""
    monkeypatch.setattr(parquet, "BATCH_BYTES", 2**24)
    value = {"label": "airplane"}.get(column, FILES[0].decode("latin-1")) + " " * 2**20
    once = pa.array([value.encode("latin-1")], pa.binary())
    often = pa.DictionaryArray.from_arrays(pa.array([0] * 1000), once.cast(pa.string()) if column == "label" else once)
    columns = {"image": pa.array([FILES[0]] * 1000), "label": pa.array([0] * 1000)}
    columns[column.partition(".")[0]] = pa.StructArray.from_arrays([often], ["bytes"]) if "." in column else often
    path = root / "test-00000-of-00001.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table(columns), path, store_schema=False)
    assert path.stat().st_size < 2**22
    if column == "label":
        with pytest.raises(InputError, match="image 0 has the label 'airplane "):
            load_split("cifar10", "test")
    else:
        assert len(load_split("cifar10", "test").images) == 1000
        ((images, _),) = stream(ParquetImages(INFO, split_files(INFO, "test")), (32, 3), [([999], None)])
        np.testing.assert_array_equal(images, PIXELS[:1])
    assert pa.default_memory_pool().max_memory() < 2**28


def test_large_row_groups_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch):
    write(root, {"image": IMAGES["lists"], "label": NUMBERS})
    monkeypatch.setattr(parquet, "GROUP_BYTES", 2**13)
    with pytest.raises(InputError, match=r"has more than 0 GiB in a row group: make them smaller"):
        list(stream(ParquetImages(INFO, split_files(INFO, "test")), (32, 3), [([7], None)]))


def test_columns_that_are_missing_or_double_are_refused(root: Path):
    path = root / "test-00000-of-00001.parquet"
    for names_, arrays in (
        (["photo", "label"], [IMAGES["binary"], LABELS["int64"]]),
        (["image", "image", "label"], [IMAGES["binary"], IMAGES["binary"], LABELS["int64"]]),
    ):
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table(arrays, names=names_), path)
        with pytest.raises(InputError, match=f"has the columns {', '.join(names_)}, expected one of image or img"):
            load_split("cifar10", "test")


def test_an_image_that_cannot_be_read_is_named_by_its_own_file(root: Path):
    write(root, {"image": IMAGES["binary"], "label": NUMBERS}, "test-00000-of-00002.parquet")
    broken = [*FILES[:3], b"no image", *FILES[4:]]
    write(root, {"image": broken, "label": NUMBERS}, "test-00001-of-00002.parquet")
    with pytest.raises(InputError, match=r"test-00001-of-00002\.parquet: image 3 cannot be decoded"):
        load_split("cifar10", "test")


def test_a_misspelt_class_in_a_hundred_is_let_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The hub's CIFAR-100 calls its crab "cra"."""
    monkeypatch.setenv("ZOO_DATA", str(tmp_path))
    labels = list(DATASETS["cifar100"].labels)
    labels[labels.index("crab")] = "cra"
    columns = {"img": IMAGES["binary"], "fine_label": NUMBERS, "coarse_label": NUMBERS}
    write(tmp_path / "cifar100", columns, features={"fine_label": {"names": labels}})
    assert load_split("cifar100", "test").label_names[26] == "crab"


def shards(root: Path, *files: str) -> None:
    for file in files:
        write(root, {"image": IMAGES["binary"], "label": NUMBERS}, file)


@pytest.mark.parametrize(
    ("numbers", "name"),
    [
        ((0, 1, 2), "test"),
        ((0, 1), "test[shards 0-1 of 3]"),
        ((0, 2), "test[shards 0, 2 of 3]"),
        ((1,), "test[shard 1 of 3]"),
    ],
)
def test_a_split_without_all_its_shards_is_called_a_part(root: Path, numbers: tuple[int, ...], name: str):
    shards(root, *(f"plain_text/test-{number:05}-of-00003.parquet" for number in numbers))
    assert load_split("cifar10", "test").name == stream_split("cifar10", "test").name == name
    assert load_split("cifar10", "test", 3).name == f"{name}[:3]"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("test-00000-of-00001.parquet", "other/test-00000-of-00001.parquet"), "two copies of the split 'test'"),
        (("test-00000-of-00001.parquet", "test-00000-of-00002.parquet"), "two copies"),
        (("test-00000-of-00001.parquet", "test.parquet"), "two copies"),
        (
            ("test-00000-of-00002-0123456789abcdef.parquet", "test-00000-of-00002-fedcba9876543210.parquet"),
            "two copies",
        ),
        (("test-00002-of-00002.parquet",), "is shard 2 of 2, expected 0 to 1"),
    ],
)
def test_a_split_is_never_counted_twice(root: Path, files: tuple[str, ...], message: str):
    shards(root, *files)
    with pytest.raises(InputError, match=message) as raised:
        load_split("cifar10", "test")
    assert "\n" not in str(raised.value)


def test_what_is_no_part_of_a_split_is_left_out(root: Path):
    shards(root, "test-00000-of-00001-0123456789abcdef.parquet", "test-small-00000-of-00001.parquet")
    shards(root, ".cache/test-00000-of-00001.parquet", "__MACOSX/test-00000-of-00001.parquet")
    (root / "._test-00000-of-00001.parquet").write_bytes(b"\0\5\x16\7")
    assert load_split("cifar10", "test").labels.tolist() == NUMBERS
    next(root.glob("test-0*")).rename(root / "test.parquet")
    assert load_split("cifar10", "test").name == "test"


def test_a_part_is_called_one_in_output_and_records(colour_toy: Path, root: Path):
    shards(root, "test-00000-of-00002.parquet", "train-00001-of-00002.parquet")
    model = zoo.load(f"local-dir:{colour_toy}")
    result = evaluation_of(model, dataset_images(model, "cifar10"), ["36/255"])
    assert result.split == "test[shard 0 of 2]"
    said = dict(evaluation_pairs(result))["images"]
    assert said == "12 of cifar10, test[shard 0 of 2]: a part of the split, not the whole"
    data = dataset_images(model, "cifar10", 3)
    assert (data.split, data.name(2)) == ("test[shard 0 of 2][:3]", "test[shard 0 of 2][2]")
    assert load_training_data("cifar10").name == "train[shard 1 of 2]"


def test_a_model_of_the_copy_is_measured_on_the_originals(root: Path):
    """As the hub has them: PNG in `img`, the names of CIFAR-10 in the metadata."""
    features = {"img": {"_type": "Image"}, "label": {"names": list(INFO.labels), "_type": "ClassLabel"}}
    columns = {"img": IMAGES["struct"], "label": NUMBERS}
    write(root, columns, "plain_text/test-00000-of-00001.parquet", features)
    model = zoo.load("liresnet-l4w32-cifar10-jpeg75")
    data = dataset_images(model, "cifar10")
    ((images, labels),) = data.read([0])
    assert (data.dataset, data.split, labels.tolist()) == ("cifar10", "test", NUMBERS)
    np.testing.assert_array_equal(images, PIXELS)
