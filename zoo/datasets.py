"""Image data sets in the Hugging Face parquet layout: local files under ZOO_DATA, else the hub by name.

Loads no torch. Images leave as uint8 arrays [N, H, W, C] and labels as int64 [N].
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo.epsilon import parse_epsilon
from zoo.errors import InputError, one_line, require

if TYPE_CHECKING:
    import numpy as np
    import pyarrow


@dataclass(frozen=True)
class DatasetInfo:
    """What the zoo must know of a data set before it reads one image of it."""

    name: str
    title: str
    size: int  # the side of its square images, in pixels
    channels: int
    classes: int
    test_split: str  # the prefix of the held-out files
    hub: str | None  # the data set on the Hugging Face hub; None where it is local only
    train_images: int  # in the whole training split, validation included
    epsilons: dict[str, tuple[str, ...]]  # the radii at which papers report, by norm, in pixels of [0, 1]
    streamed: bool = False  # images of all sizes, too many to hold decoded: training reads them from disk as it goes
    made: bool = False  # by `zoo.moons`, there are no files

    def levels(self, norm: str) -> tuple[float, ...]:
        """The radii that a certificate's interval propagation tries: in l-infinity just above the epsilons, else none.

        An image is certified at an epsilon where its radius, which may be a level, is larger.
        """
        return tuple(parse_epsilon(text) * (1 + 2.0**-20) for text in self.epsilons[norm]) if norm == "linf" else ()


DIGITS = {"l2": ("0.3", "1.58"), "linf": ("0.1", "0.3")}
NATURAL = {"l2": ("36/255", "72/255", "108/255", "1.0"), "linf": ("2/255", "8/255", "16/255")}
LARGE = {**NATURAL, "linf": ("1/255",)}

DATASETS: dict[str, DatasetInfo] = {
    info.name: info
    for info in (
        DatasetInfo("mnist", "MNIST", 28, 1, 10, "test", "ylecun/mnist", 60_000, DIGITS),
        DatasetInfo("cifar10", "CIFAR-10", 32, 3, 10, "test", "uoft-cs/cifar10", 50_000, NATURAL),
        DatasetInfo("cifar10-jpeg75", "CIFAR-10 re-encoded as JPEG 75", 32, 3, 10, "test", None, 50_000, NATURAL),
        DatasetInfo("cifar100", "CIFAR-100", 32, 3, 100, "test", "uoft-cs/cifar100", 50_000, NATURAL),
        DatasetInfo("tiny-imagenet", "Tiny-ImageNet", 64, 3, 200, "valid", "zh-plus/tiny-imagenet", 100_000, LARGE),
        DatasetInfo(
            "imagenet", "ImageNet-1k", 224, 3, 1000, "validation", "ILSVRC/imagenet-1k", 1_281_167, LARGE, True
        ),
        # Its points are images of one pixel; the epsilon is 0.15 in the plane, see `zoo.moons`.
        DatasetInfo("two-moons", "two moons", 1, 2, 2, "test", None, 2000, {"l2": ("0.15/4",), "linf": ()}, made=True),
    )
}


CHUNK_ROWS = 1024  # read from a file at a time


@dataclass(frozen=True)
class SplitStream:
    """A split that is read as it is used, in memory that does not grow with it."""

    info: DatasetInfo
    name: str  # as `Split.name`
    paths: tuple[Path, ...]
    label_names: tuple[str, ...]
    revision: str  # sha256 of the parquet files, in the order of their names
    count: int  # images, no more than the limit

    def read(self, wanted: Collection[int], size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Images and labels of the wanted chunks in order, chunk n being the images n size to (n + 1) size - 1.

        What is not wanted is not decoded, nor read where it is after them. Raises InputError as `load_split` does.
        """
        import pyarrow

        rest, first, end = None, 0, size * (1 + max(wanted, default=-1))
        for table in self._tables():
            rest = table if rest is None else pyarrow.concat_tables([rest, table])
            while rest.num_rows >= size or (rest.num_rows and first + rest.num_rows == self.count):
                chunk, rest = rest.slice(0, size), rest.slice(size)
                if first // size in wanted:
                    yield self._decoded(chunk, first)
                first += chunk.num_rows
            if first >= end:
                return

    def _tables(self) -> Iterator[pyarrow.Table]:
        """The rows of all files, a few at a time, up to the limit."""
        import pyarrow
        import pyarrow.parquet

        left = self.count
        for path in self.paths:
            try:
                with pyarrow.parquet.ParquetFile(path) as file:
                    image, label = columns(file.schema_arrow, path)
                    for batch in file.iter_batches(CHUNK_ROWS, columns=[image, label]):
                        table = pyarrow.table({"image": batch.column(image), "label": batch.column(label)})
                        yield table.slice(0, left)
                        left -= min(left, table.num_rows)
                        if not left:
                            return
            except (pyarrow.ArrowException, OSError) as error:
                raise InputError(f"{path} is not a readable parquet file: fetch it again") from error

    def _decoded(self, table: pyarrow.Table, first: int) -> tuple[np.ndarray, np.ndarray]:
        labels = table["label"].to_numpy().astype("int64")
        check_labels(labels, self.info, self.paths[0], first)
        return _decode(table["image"], self.info, self.paths[0], first), labels


def stream_split(name: str, split: str, limit: int | None = None) -> SplitStream:
    """The split for reading in chunks; only its labels' names, its size and its sha256 are read here.

    Files are looked for as by `load_split`. Raises InputError, MissingPackageError without pyarrow.
    """
    require("pyarrow", "data")
    import pyarrow
    import pyarrow.parquet

    info = DATASETS[name]
    paths = parquet_files(info, split)
    count, schema = 0, None
    for path in paths:
        try:
            metadata = pyarrow.parquet.read_metadata(path)
        except (pyarrow.ArrowException, OSError) as error:
            raise InputError(f"{path} is not a readable parquet file: fetch it again") from error
        count += metadata.num_rows
        schema = schema or metadata.schema.to_arrow_schema()
    if not count or schema is None:
        raise InputError(f"{paths[0]} has no images: fetch it again")
    names = class_names(schema, columns(schema, paths[0])[1], info)
    kept = count if limit is None else min(limit, count)
    return SplitStream(info, part_name(split, kept, count), tuple(paths), names, _sha256(paths), kept)


def part_name(split: str, kept: int, count: int) -> str:
    """The name of the first `kept` of a split's images, as Hugging Face data sets slice: test, test[:50]."""
    return split if kept == count else f"{split}[:{kept}]"


class Split(NamedTuple):
    """The images of one split, decoded, in the order of its files."""

    images: np.ndarray  # uint8 [N, H, W, C]; float32 in [0, 1] where the data set is made
    labels: np.ndarray  # int64 [N]
    label_names: tuple[str, ...]
    revision: str  # sha256 of the parquet files, in the order of their names
    name: str  # of the split, with a slice where a limit left some of it out: test[:50]


def load_split(name: str, split: str, limit: int | None = None) -> Split:
    """Every image of a split (the first `limit` of them), each of the size and class that the data set promises.

    Files are looked for in $ZOO_DATA/NAME, else in ../shared/data/NAME beside the checkout, else on the hub.
    Raises InputError where the data are missing or are not what `DATASETS` says, MissingPackageError without pyarrow.
    """
    if name not in DATASETS:
        raise InputError(f"no data set is called {name!r}, expected one of {', '.join(DATASETS)}")
    info = DATASETS[name]
    if info.made:
        from zoo.moons import two_moons

        return two_moons(split, limit)
    paths = parquet_files(info, split)
    table = _read_table(paths)
    image_column, label_column = columns(table.schema, paths[0])
    label_names = class_names(table.schema, label_column, info)
    count, table = table.num_rows, table.slice(0, limit)
    if table.num_rows == 0:
        raise InputError(f"{paths[0]} has no images: fetch it again")
    labels = table[label_column].to_numpy().astype("int64")
    check_labels(labels, info, paths[0])
    images = _decode(table[image_column], info, paths[0])
    return Split(images, labels, label_names, _sha256(paths), part_name(split, len(labels), count))


def parquet_files(info: DatasetInfo, split: str) -> list[Path]:
    """The files of a split in the order of their names, fetched from the hub only where no folder has them."""
    folder = data_folder(info.name)
    paths = sorted(folder.rglob(f"{split}-*.parquet"))
    if paths:
        return paths
    given = os.environ.get("ZOO_DATA")
    where = f"no {split}-*.parquet in {folder}" if given else f"the {split} split of {info.name} is not on this machine"
    if given or info.hub is None:
        raise InputError(f"{where}: set ZOO_DATA to the folder that holds {info.name}/")
    from huggingface_hub import snapshot_download

    try:
        fetched = snapshot_download(info.hub, repo_type="dataset", allow_patterns=[f"*{split}-*.parquet"])
    except Exception as error:  # the client raises its own, httpx's and the system's errors
        raise InputError(
            f"{where}, and the hub did not give {info.hub} ({one_line(error)}): set ZOO_DATA to the folder that holds "
            f"{info.name}/"
        ) from error
    paths = sorted(Path(fetched).rglob(f"{split}-*.parquet"))
    if not paths:
        raise InputError(f"{info.hub} on the hub has no split {split!r}")
    return paths


def data_folder(name: str) -> Path:
    """$ZOO_DATA/NAME, or ../shared/data/NAME beside the checkout where ZOO_DATA is not set or empty."""
    setting = os.environ.get("ZOO_DATA")
    root = Path(setting) if setting else Path(__file__).parents[2] / "shared" / "data"
    return root / name


def _read_table(paths: list[Path]) -> pyarrow.Table:
    require("pyarrow", "data")
    import pyarrow
    import pyarrow.parquet

    tables = []
    for path in paths:
        try:
            tables.append(pyarrow.parquet.read_table(path))
        except (pyarrow.ArrowException, OSError) as error:
            raise InputError(f"{path} is not a readable parquet file: fetch it again") from error
    return pyarrow.concat_tables(tables)


def columns(schema: pyarrow.Schema, path: Path) -> tuple[str, str]:
    """The names of the image column and of the label column. Raises InputError where there are none."""
    found = []
    for names in (("image", "img"), ("label", "fine_label")):
        known = [name for name in names if name in schema.names]
        if not known:
            raise InputError(f"{path} has the columns {', '.join(schema.names)}, expected {' or '.join(names)}")
        found.append(known[0])
    return found[0], found[1]


def class_files(folder: Path) -> tuple[list[str], list[tuple[Path, int]]]:
    """The names of a folder's subfolders, and the files in them, each with the number of its subfolder.

    Subfolders take turns, so that the first files are spread over them; both are in the order of their names. Hidden
    ones are left out.
    """
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    groups = [
        [(file, number) for file in sorted(path.iterdir()) if not file.name.startswith(".")]
        for number, path in enumerate(classes)
    ]
    turns = [item for turn in itertools.zip_longest(*groups) for item in turn if item is not None]
    return [path.name for path in classes], turns


def check_labels(labels: np.ndarray, info: DatasetInfo, path: Path, first: int = 0) -> None:
    """Raises InputError where a label is no class of the data set; `first` is the first image's number."""
    outside = (labels < 0) | (labels >= info.classes)
    if outside.any():
        row = int(outside.argmax())
        raise InputError(
            f"{path}: image {first + row} has label {labels[row]}, {info.name} has the classes 0 to {info.classes - 1}"
        )


def class_names(schema: pyarrow.Schema, column: str, info: DatasetInfo) -> tuple[str, ...]:
    """The class names that the schema's metadata give, else the class numbers."""
    metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    names = metadata.get("info", {}).get("features", {}).get(column, {}).get("names")
    if names is None:
        return tuple(str(number) for number in range(info.classes))
    if len(names) != info.classes:
        raise InputError(f"the files of {info.name} name {len(names)} classes, expected {info.classes}")
    return tuple(names)


def _decode(column: Any, info: DatasetInfo, path: Path, first: int = 0) -> np.ndarray:
    """The decoded images [N, H, W, C], the first of number `first`; one of another size is refused, never resized."""
    import numpy as np
    from PIL import Image

    images = np.empty((len(column), info.size, info.size, info.channels), dtype=np.uint8)
    mode = "RGB" if info.channels == 3 else "L"
    for row, value in enumerate(column):
        encoded = (value.as_py() or {}).get("bytes")
        if encoded is None:
            raise InputError(f"{path}: image {first + row} has no bytes")
        try:
            with Image.open(io.BytesIO(encoded)) as image:
                if image.size != (info.size, info.size):
                    raise InputError(
                        f"{path}: image {first + row} is {image.width} x {image.height}, "
                        f"{info.name} has {info.size} x {info.size}: resize the data set first"
                    )
                images[row] = np.asarray(image.convert(mode)).reshape(info.size, info.size, info.channels)
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise InputError(f"{path}: image {first + row} cannot be decoded: fetch the file again") from error
    return images


def _sha256(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
