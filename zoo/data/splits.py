"""The splits of data sets: files under ZOO_DATA, in a Debian package or on the hub, read as a whole or in chunks.

Loads no torch. Images are uint8 arrays [N, H, W, C] and labels int64 [N].
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo.data.class_folders import is_leftover
from zoo.data.datasets import DATASETS, PACKAGES, DatasetInfo, data_folder
from zoo.data.idx import IdxFiles, idx_files
from zoo.data.parquet import ParquetFiles
from zoo.errors import HubError, InputError, one_line
from zoo.files import sha256
from zoo.guard import guard_client

if TYPE_CHECKING:
    import numpy as np

PARQUET_SHARD = re.compile(r"-(\d{5})-of-(\d{5})(?:-[0-9a-f]{16})?\.parquet")  # what follows the split in a file's name


@dataclass(frozen=True)
class SplitFiles:
    """The files of a split, or of a part of it, in order."""

    paths: tuple[Path, ...]
    name: str  # of the split; if shards are missing, with those that are there: train[shards 0-1 of 5]


@dataclass(frozen=True)
class SplitStream:
    """A split that is read in chunks as it is used; only its labels are in memory as a whole."""

    info: DatasetInfo
    name: str  # as `Split.name`
    whole: str  # `name` without the limit
    files: ParquetFiles | IdxFiles
    label_names: tuple[str, ...]
    revision: str  # sha256 of the files, in the order of their names
    count: int  # of images, at most the limit

    def read(self, wanted: Collection[int], size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Images and labels of the wanted chunks, in order. Chunk n is the images n size to (n + 1) size - 1.

        Other images are not decoded, and files are not read beyond the last wanted one. Raises InputError as
        `load_split` does.
        """
        end = min(self.count, size * (1 + max(wanted, default=-1)))
        if end <= 0:
            return
        images = enumerate(itertools.islice(self.files.images(), end))
        for chunk, items in itertools.groupby(images, key=lambda item: item[0] // size):
            if chunk in wanted:
                yield self._decoded(items), self.files.labels[chunk * size : min((chunk + 1) * size, self.count)]

    def _decoded(self, items: Iterable[tuple[int, Any]]) -> np.ndarray:
        """The decoded images [N, H, W, C]. Raises InputError for one of another size, which is never resized."""
        import numpy as np

        info, decoded = self.info, []
        for number, value in items:
            image = self.files.picture(value, number)
            if image.size != (info.size, info.size):
                raise InputError(
                    f"{self.files.place(number)} is {image.width} x {image.height}, "
                    f"{info.name} has {info.size} x {info.size}: resize the data set first"
                )
            decoded.append(np.asarray(image).reshape(info.size, info.size, info.channels))
        return np.stack(decoded)


class Split(NamedTuple):
    """The images of one split, decoded, in the order of its files."""

    images: np.ndarray  # uint8 [N, H, W, C]; float32 in [0, 1] where the data set is made
    labels: np.ndarray  # int64 [N]
    label_names: tuple[str, ...]
    revision: str  # sha256 of the files, in the order of their names
    name: str  # of the split; if it is a part, with which one: test[:50], train[shards 0-1 of 5]


def load_split(name: str, split: str, limit: int | None = None) -> Split:
    """Every image of a split, or the first `limit` of them, each of the size and class that `DATASETS` says.

    Files are looked for in $ZOO_DATA/NAME, or in ../shared/data/NAME beside the checkout if ZOO_DATA is not set, then
    where a Debian package puts them, then, without ZOO_DATA, on the hub. If shards are missing, the name says which are
    there.
    Raises InputError where the data are missing or not what `DATASETS` says, MissingPackageError without pyarrow.
    """
    if name not in DATASETS:
        raise InputError(f"no data set is called {name!r}, expected one of {', '.join(DATASETS)}")
    if DATASETS[name].made:
        from zoo.data.moons import two_moons

        return two_moons(split, limit)
    stream = stream_split(name, split, limit)
    ((images, labels),) = stream.read({0}, stream.count)
    return Split(images, labels, stream.label_names, stream.revision, stream.name)


def stream_split(name: str, split: str, limit: int | None = None) -> SplitStream:
    """The split for reading in chunks, of which this reads the labels and the sha256. Otherwise as `load_split`."""
    info = DATASETS[name]
    found = split_files(info, split)
    files = (IdxFiles if "-idx" in found.paths[0].name else ParquetFiles)(found.paths, info)
    count = len(files.labels)
    kept = count if limit is None else min(limit, count)
    named = part_name(found.name, kept, count)
    return SplitStream(info, named, found.name, files, info.labels, sha256(*found.paths), kept)


def part_name(split: str, kept: int, count: int) -> str:
    """The name of the first `kept` of a split's images, as Hugging Face's data sets write it: test, test[:50]."""
    return split if kept == count else f"{split}[:{kept}]"


def split_files(info: DatasetInfo, split: str) -> SplitFiles:
    """The files of a split in the order of their names, fetched from the hub if no folder has them.

    A folder's parquet files come before its files in the MNIST format.
    Raises InputError if there are none, or two copies of them.
    """
    folder = data_folder(info.name)
    if paths := _found(folder, split):
        return SplitFiles(paths, _claim(split, paths))
    packaged = PACKAGES / info.name if info.package else folder
    if paths := idx_files(folder, split) or idx_files(packaged, split):
        return SplitFiles(paths, split)
    given = os.environ.get("ZOO_DATA")
    where = f"no {split}-*.parquet in {folder}" if given else f"the {split} split of {info.name} is not on this machine"
    advice = f"set ZOO_DATA to the folder that holds {info.name}/"
    advice += f", or install Debian's {info.package}" if info.package else ""
    if given or info.hub is None:
        raise InputError(f"{where}: {advice}")
    try:
        return hub_files(info.hub, split)
    except HubError as error:
        raise InputError(f"{where}, and {error}: {advice}") from error


def hub_files(repository: str, split: str) -> SplitFiles:
    """The files of a split of a data set on the Hugging Face hub.

    Raises HubError where the hub does not give them, InputError where it has no such split.
    """
    from huggingface_hub import snapshot_download

    guard_client()
    try:
        fetched = snapshot_download(repository, repo_type="dataset", allow_patterns=[f"*{split}-*.parquet"])
    except Exception as error:  # the client raises its own, httpx's and the system's errors
        raise HubError(f"the hub did not give {repository} ({one_line(error)})") from error
    paths = _found(Path(fetched), split)
    if not paths:
        raise InputError(f"{repository} on the hub has no parquet files of a split {split!r}")
    return SplitFiles(paths, _claim(split, paths))


def own_files(folder: Path, split: str) -> SplitFiles | None:
    """The parquet files in a folder that are named after the split, or all if none is; None if it has none at all."""
    if paths := _found(folder, split):
        return SplitFiles(paths, _claim(split, paths))
    paths = tuple(sorted(path for path in folder.glob("*.parquet") if path.is_file() and not is_leftover(path.name)))
    return SplitFiles(paths, split) if paths else None


def _found(folder: Path, split: str) -> tuple[Path, ...]:
    """The split's files in a folder and its subfolders, without those of operating systems."""
    paths = [path for path in folder.rglob(f"{split}*.parquet") if path.is_file()]
    kept = [path for path in paths if not any(map(is_leftover, path.relative_to(folder).parts))]
    return tuple(sorted(path for path in kept if path.stem == split or PARQUET_SHARD.fullmatch(path.name, len(split))))


def _claim(split: str, paths: tuple[Path, ...]) -> str:
    """The name of what these files are: the split, or a part of it. Raises InputError if some are there twice."""
    shards = [match for path in paths if (match := PARQUET_SHARD.fullmatch(path.name, len(split)))]
    numbers = [int(match[1]) for match in shards]
    totals = {int(match[2]) for match in shards}
    unlike = len(shards) < len(paths) > 1 or len({path.parent for path in paths}) > 1 or len(totals) > 1
    if unlike or len(set(numbers)) < len(numbers):
        raise InputError(f"{paths[0]} and {paths[-1]} are two copies of the split {split!r}: leave one")
    if not shards or numbers == list(range(total := totals.pop())):
        return split
    if numbers[-1] >= total:
        raise InputError(f"{paths[-1]} is shard {numbers[-1]} of {total}, expected 0 to {total - 1}: name it anew")
    # Consecutive numbers have the same difference from their place in the list.
    runs = [[number for _, number in run] for _, run in itertools.groupby(enumerate(numbers), lambda x: x[1] - x[0])]
    ranges = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"{split}[shard{'s' * (len(numbers) > 1)} {ranges} of {total}]"
