"""Labelled images in parquet files, for measuring and for training.

An image column is what Hugging Face's `datasets` reads as images: encoded files (Arrow's binary types, or the field
`bytes` of a struct) or pixels (lists of integers from 0 to 255, [H, W] or [H, W, 1 or 3]). A label column holds class
numbers or class names. Both may be dictionaries, and each file may have another layout. Anything else is refused in a
line that names the file, the column and what was expected.

A file may store once what occurs in it often, and so be small while all that it holds is large. Labels are therefore
read as Arrow's dictionaries, where a text is in memory once, and images a few at a time.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.data.datasets import DatasetInfo
from zoo.errors import InputError, require

if TYPE_CHECKING:
    import numpy as np
    import pyarrow
    import pyarrow.parquet
    from PIL import Image

MIN_ROWS, BATCH_ROWS = 16, 1024  # images read from a file at a time: within these limits, what surely fits BATCH_BYTES
BATCH_BYTES = 2**30
GROUP_BYTES = 2**32  # of the images of a row group
MAX_IMAGES = 1_000_000  # of a file, so that a small one which claims to hold many images does not fill the memory
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # Pillow would also run Ghostscript, on PostScript
IMAGE = ("image", "img"), "Image", "encoded images (binary, or a struct with the field `bytes`) or lists of pixels"
LABEL = ("label", "fine_label"), "ClassLabel", "class numbers or class names"
WIDE_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # Pillow would clip them to 8 bits
# Arrow's types by what they hold.
BINARY = ("binary", "large_binary", "binary_view", "fixed_size_binary")
TEXT = ("string", "large_string", "string_view")
LISTS = ("list", "large_list", "fixed_size_list")


class ParquetFiles:
    """The images of a data set in some files, in the order given; the labels are read at once, images when asked for.

    Raises InputError where a file cannot be read, has no such columns, names other classes, or a label is no class.
    """

    def __init__(self, paths: Sequence[Path], info: DatasetInfo):
        require("data")
        import numpy as np

        self.info, self.paths = info, tuple(paths)
        self.groups: list[tuple[int, int]] = []  # file and row group
        self.starts = [0]  # the first image of each row group, and the number of all images
        self._first: list[int] = []  # the first image of each file
        self._columns: list[str] = []  # the image column of each file
        labels = []
        for number, path in enumerate(self.paths):
            self._first.append(self.starts[-1])
            with _opened(path) as file:
                features = _features(file.schema_arrow, path)
                column = _column(file.schema_arrow, features, path, *IMAGE)
                _check_images(file.schema_arrow.field(column).type, path, column)
                self._columns.append(column)
                column = _column(file.schema_arrow, features, path, *LABEL)
                _check_names(features.get(column), path, column, info)
                labels.append(_labels(_label_column(file, path, column), path, column, info))
                for group in range(file.num_row_groups):
                    self.groups.append((number, group))
                    self.starts.append(self.starts[-1] + file.metadata.row_group(group).num_rows)
        self.labels: np.ndarray = np.concatenate(labels)  # int64 [N]
        if not len(self.labels):
            raise InputError(f"{self.paths[0]} has no images: fetch it again")

    def images(self) -> Iterator[Any]:
        """All images in order, each as an Arrow value for `picture`, read a few at a time."""
        for path, column in zip(self.paths, self._columns, strict=True):
            with _opened(path) as file:
                for group in range(file.num_row_groups):
                    for values in _pieces(file, group, column):
                        yield from values

    def row_group(self, group: int) -> list[Any]:
        """The images of a row group, as Arrow values for `picture`. Raises InputError where they are too large."""
        number, inner = self.groups[group]
        path, images, size = self.paths[number], [], 0
        with _opened(path) as file:
            for values in _pieces(file, inner, self._columns[number]):
                size += values.nbytes
                if size > GROUP_BYTES:
                    raise InputError(f"{path} has more than {GROUP_BYTES >> 30} GiB in a row group: make them smaller")
                images += values
        return images

    def picture(self, value: Any, number: int) -> Image.Image:
        """The decoded image of this number. Raises InputError."""
        return picture(value.as_py(), self.place(number), self.info.channels)

    def place(self, number: int) -> str:
        """Where an image stands, for messages."""
        file = max(index for index, first in enumerate(self._first) if first <= number)
        return f"{self.paths[file]}: image {number - self._first[file]}"


def label_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """The names of the classes in files of an unknown data set.

    They are the names in the metadata; without these, the labels that occur, sorted, if they are words, and otherwise
    "0", "1" and so on. Raises InputError as `ParquetFiles` does, and where numbers are left out.
    """
    require("data")
    found: set[str | int] = set()
    for path in paths:
        with _opened(path) as file:
            features = _features(file.schema_arrow, path)
            column = _column(file.schema_arrow, features, path, *LABEL)
            names = features.get(column, {}).get("names")
            if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
                return tuple(names)  # `ParquetFiles` compares them with the names in the other files
            found |= set(_label_column(file, path, column).unique().to_pylist()) - {None}
    if words := sorted(label for label in found if isinstance(label, str)):
        return tuple(words)
    return numbered_labels([label for label in found if isinstance(label, int)], paths[0])


def numbered_labels(numbers: Sequence[int], path: Path) -> tuple[str, ...]:
    """The names "0", "1" and so on for classes with these numbers. Raises InputError if one is left out."""
    if not numbers or sorted(set(numbers)) != list(range(len(set(numbers)))):
        shown = ", ".join(map(str, sorted(set(numbers))[:10]))
        raise InputError(f"{path} has the labels {shown}: expected 0, 1, 2 and so on, each of them, or names")
    return tuple(str(number) for number in range(len(set(numbers))))


def picture(value: Any, place: str, channels: int) -> Image.Image:
    """An encoded file's bytes, or rows of pixels, as a decoded image, grey (L) or RGB. Raises InputError."""
    import numpy as np
    from PIL import Image

    if value is None:
        raise InputError(f"{place} has no bytes: images must be in the file itself, paths are not followed")
    try:
        if isinstance(value, bytes):
            with Image.open(io.BytesIO(value), formats=FORMATS) as opened:
                if opened.mode not in WIDE_MODES:
                    return opened.convert("RGB" if channels == 3 else "L")
                wide = opened.mode
            raise InputError(f"{place} has more than 8 bits per channel (mode {wide}): save it with 8")
        pixels = np.asarray(value)
        if pixels.dtype.kind not in "iu" or pixels.ndim not in (2, 3) or pixels.min() < 0 or pixels.max() > 255:
            raise ValueError("no pixels")
        if pixels.ndim == 3 and pixels.shape[2] == 1:
            pixels = pixels[..., 0]
        return Image.fromarray(pixels.astype(np.uint8)).convert("RGB" if channels == 3 else "L")
    except InputError:
        raise
    except Exception as error:  # a decoder may raise anything at all over damaged bytes
        rows, file = "integers from 0 to 255, [H, W] or [H, W, 3]", f"an image file ({', '.join(FORMATS)})"
        what = rows if isinstance(value, list) else file
        raise InputError(f"{place} cannot be decoded, expected {what}: fetch it again") from error


@contextmanager
def _opened(path: Path, texts: Sequence[str] = ()) -> Iterator[pyarrow.parquet.ParquetFile]:
    """The open file, which reads these columns of text as dictionaries.

    Raises InputError where it cannot be opened, has too many images, or reading from it fails in the body.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path, read_dictionary=list(texts)) as file:
            groups = map(file.metadata.row_group, range(file.num_row_groups))
            count = sum(group.num_rows for group in groups)  # what is read; the file's own count may be another
            if count > MAX_IMAGES:
                raise InputError(f"{path} has {count:,} images, expected at most {MAX_IMAGES:,}: split it into files")
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a readable parquet file: fetch it again") from error


def _label_column(file: pyarrow.parquet.ParquetFile, path: Path, column: str) -> pyarrow.ChunkedArray:
    """Class numbers, or names as dictionaries. Raises InputError where it holds neither."""
    from pyarrow import types

    kind = file.schema_arrow.field(column).type
    is_text = _is_any(_plain(kind), TEXT)
    if not (is_text or types.is_integer(_plain(kind))):
        raise InputError(f"{path}: column {column!r} is {kind}, expected {LABEL[2]}")
    with _opened(path, [column] if is_text else []) as again:
        return again.read([column])[column]


def _pieces(file: pyarrow.parquet.ParquetFile, group: int, column: str) -> Iterator[pyarrow.Array]:
    """The images of a row group a few at a time: as many as fit BATCH_BYTES if each is as large as the file."""
    stored = file.metadata.row_group(group)
    chunks = map(stored.column, range(stored.num_columns))
    mine = [chunk for chunk in chunks if chunk.path_in_schema.partition(".")[0] == column.partition(".")[0]]
    largest = max(max(chunk.total_uncompressed_size, 8 * chunk.num_values) for chunk in mine)  # 8 bytes: int64
    rows = min(max(BATCH_BYTES // max(largest, 1), MIN_ROWS), BATCH_ROWS)
    for batch in file.iter_batches(rows, row_groups=[group], columns=[column]):
        yield _values(batch.column(column))


def _features(schema: pyarrow.Schema, path: Path) -> dict[str, Any]:
    """What Hugging Face's `datasets` wrote about the columns into the schema's metadata; empty if it wrote nothing."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        return {column: feature for column, feature in features.items() if isinstance(feature, dict)}
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: its schema's `huggingface` metadata are damaged: fetch it again") from error


def _column(
    schema: pyarrow.Schema, features: dict[str, Any], path: Path, names: tuple[str, ...], kind: str, expected: str
) -> str:
    """The column of one of these names, or else the only one that is of this kind by the metadata."""
    declared = [name for name in schema.names if features.get(name, {}).get("_type") == kind]
    found = [name for name in names if name in schema.names] or (declared if len(declared) == 1 else [])
    if not found or schema.names.count(found[0]) > 1:
        columns = ", ".join(schema.names)
        raise InputError(f"{path} has the columns {columns}, expected one of {' or '.join(names)} with {expected}")
    return found[0]


def _check_images(kind: pyarrow.DataType, path: Path, column: str) -> None:
    """Raise InputError unless a column of this type can hold images."""
    from pyarrow import types

    inner = _plain(kind)
    if types.is_struct(inner):
        place = inner.get_field_index("bytes")
        held = place >= 0 and _is_any(_plain(inner.field(place).type), BINARY)
    elif _is_any(inner, LISTS):
        while _is_any(inner, LISTS):
            inner = inner.value_type
        held = types.is_integer(inner)
    else:
        held = _is_any(inner, BINARY)
    if not held:
        raise InputError(f"{path}: column {column!r} is {kind}, expected {IMAGE[2]}")


def _check_names(feature: dict[str, Any] | None, path: Path, column: str, info: DatasetInfo) -> None:
    """Raise InputError unless the metadata name no classes, or those of the data set in its order.

    One name in a hundred may be misspelt, as it is in the hub's CIFAR-100, but may not be that of another class.
    """
    names = (feature or {}).get("names")
    if names is None:
        return
    if not isinstance(names, list) or len(names) != info.classes:
        raise InputError(f"{path}: column {column!r} does not name {info.classes} classes, as {info.name} has")
    found = [info.numbers.get(name) if isinstance(name, str) else None for name in names]
    unknown = [number for number, other in enumerate(found) if other is None and names[number] != info.labels[number]]
    wrong = [number for number, other in enumerate(found) if other not in (None, number)]
    if wrong or len(unknown) > info.classes // 100:
        number = (wrong or unknown)[0]
        raise InputError(
            f"{path}: column {column!r} calls class {number} {str(names[number])[:60]!r}, "
            f"in {info.name} it is {info.labels[number]!r}"
        )


def _labels(column: pyarrow.ChunkedArray, path: Path, name: str, info: DatasetInfo) -> np.ndarray:
    """The class numbers, int64 [N]."""
    import numpy as np
    import pyarrow
    from pyarrow import types

    if column.null_count:
        row = column.is_null().index(pyarrow.scalar(True)).as_py()
        raise InputError(f"{path}: image {row} has no label, column {name!r} is null there")
    if types.is_integer(_plain(column.type)):
        values = column.cast(_plain(column.type)).to_numpy()
    else:
        chunks = column.dictionary_encode().chunks
        values = np.concatenate([np.zeros(0, np.int64), *(_text_numbers(chunk, info) for chunk in chunks)])
        if (values < 0).any():
            row = int((values < 0).argmax())
            label = column[row].as_py()[:60]
            raise InputError(f"{path}: image {row} has the label {label!r}, which is no class of {info.name}")
    return class_numbers(values, info, path)


def _text_numbers(texts: pyarrow.DictionaryArray, info: DatasetInfo) -> np.ndarray:
    """The class of each text, int64 [N]; -1 if there is none."""
    import numpy as np

    numbers = np.array([_number(text, info) for text in texts.dictionary.to_pylist()], dtype=np.int64)
    return numbers[texts.indices.to_numpy()]


def _number(text: str, info: DatasetInfo) -> int:
    """The class of a name, or of a number in digits; -1 if there is none."""
    if text in info.numbers:
        return info.numbers[text]
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 and int(text) < info.classes else -1


def class_numbers(values: np.ndarray, info: DatasetInfo, path: Path) -> np.ndarray:
    """The values as int64. Raises InputError unless all are integers and classes of the data set."""
    import numpy as np

    if values.dtype.kind not in "iu":
        raise InputError(f"{path}: labels are {values.dtype}, expected integers from 0 to {info.classes - 1}")
    outside = (values < 0) | (values >= info.classes)
    if outside.any():
        row = int(outside.argmax())
        raise InputError(
            f"{path}: image {row} has label {values[row]}, {info.name} has the classes 0 to {info.classes - 1}"
        )
    return values.astype(np.int64)


def _values(array: pyarrow.Array) -> pyarrow.Array:
    """Encoded files, or lists of pixels, from an image column in any of its layouts."""
    from pyarrow import types

    if types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if types.is_struct(array.type):
        return _values(array.flatten()[array.type.get_field_index("bytes")])  # null where the struct is
    return array


def _plain(kind: pyarrow.DataType) -> pyarrow.DataType:
    """The type itself, or that of a dictionary's values."""
    return kind.value_type if _is_any(kind, ("dictionary",)) else kind


def _is_any(kind: pyarrow.DataType, names: tuple[str, ...]) -> bool:
    """Whether the type has one of these names of Arrow."""
    from pyarrow import types

    return any(getattr(types, f"is_{name}")(kind) for name in names)
