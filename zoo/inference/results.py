"""One row for each image of a data set, in a parquet file that is joined from journals, which survive a crash.

While FILE.parquet is made, the folder FILE.parquet.parts beside it holds a journal for each process: JSON lines, one
for each chunk of CHUNK images, each written when its chunk is done. A run that ended early goes on where its journals
end, with any number of processes. The process that ends last, under the lock FILE.parquet.lock, writes the file and
removes journals and lock. Whole chunks are shared out, so that each image is in the same batch in any case: the file
has the same bytes for one process and for many.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from zoo.errors import InputError, require
from zoo.files import exists, locked, replacing
from zoo.inference.evaluate import LabelledImages
from zoo.inference.runtime import CHUNK, Model
from zoo.records import Outputs

ROW_GROUP = 256  # chunks that are written together


class Share(NamedTuple):
    """Which of several processes this is."""

    rank: int
    world: int


def share() -> Share:
    """This process's share by RANK and WORLD_SIZE, which torchrun and accelerate launch set; all without them.

    Raises InputError where they name no process.
    """
    rank, world = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
        raise InputError(f"RANK={rank[:20]!r} and WORLD_SIZE={world[:20]!r} are set, and name no process: unset both")
    return Share(int(rank), int(world))


@dataclass(frozen=True)
class Results:
    """The rows of one model over one data set, in the file at `path`."""

    path: Path
    model: Model
    data: LabelledImages

    def certify(self, part: Share, advance: Callable[[int], None]) -> bool:
        """Run this process's share of the missing chunks; whether the whole file is there now.

        advance: called with the number of images of each chunk of the share, also of those done before. Raises
        InputError where the file or its journals are of another run, or another process has this rank.
        """
        require("pyarrow", "data")
        if exists(self.path):
            self._check(_metadata(self.path), self.path)
            advance(self.data.count)
            return True
        try:
            self._run_share(part, advance)
        except FileNotFoundError:
            if not exists(self.path):  # otherwise another process has just finished it, and removed the journals
                raise
        return self._join()

    def _run_share(self, part: Share, advance: Callable[[int], None]) -> None:
        self._parts.mkdir(exist_ok=True)
        self._index()  # raises InputError for the journals of another run, before anything is written into them
        path = self._parts / f"{part.rank}.jsonl"
        busy = InputError(f"{path} is being written by another process: give each its own RANK")
        with locked(path, busy) as descriptor, os.fdopen(descriptor, "r+b", closefd=False) as journal:
            self._begin(journal)
            done = self._index()
            mine = [number for number in self.data.chunks if number % part.world == part.rank]
            missing = [number for number in mine if number not in done]
            advance(min(self.data.count, CHUNK * (len(mine) - len(missing))))
            for number, (images, classes) in zip(missing, self.data.read(missing), strict=True):
                line = {"chunk": number, **_columns(classes, self.model.outputs(images))}
                journal.write(json.dumps(line).encode() + b"\n")
                journal.flush()
                advance(len(classes))

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Whether each image is right, bool [N], and its radius, float64 [N]."""
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(self.path, columns=["class", "label", "radius"])
        right = table["class"].to_numpy() == table["label"].to_numpy()
        return right, table["radius"].to_numpy()

    @property
    def _parts(self) -> Path:
        return self.path.with_name(self.path.name + ".parts")

    @property
    def _lock(self) -> Path:
        return self.path.with_name(self.path.name + ".lock")

    @property
    def _run(self) -> dict[str, Any]:
        """What every process and every row of this run agree on."""
        return {
            "model": self.model.name,
            "graph_sha256": self.model.evaluation.graph_sha256,
            "dataset": self.data.dataset,
            "split": self.data.split,
            "revision": self.data.revision,
            "images": self.data.count,
            "chunk": CHUNK,
        }

    def _check(self, found: Any, where: Path) -> None:
        run = self._run
        if found == run:
            return
        field = next((key for key in run if not isinstance(found, dict) or found.get(key) != run[key]), "a field")
        raise InputError(f"{where} is of another run, its {field} differs: delete it, or name another --output")

    def _begin(self, journal: IO[bytes]) -> None:
        """Go to the end of the journal's last whole line; a new journal gets a first line that describes its run."""
        content = journal.read()
        journal.seek(content.rfind(b"\n") + 1)
        journal.truncate()
        if not journal.tell():
            journal.write(json.dumps(self._run).encode() + b"\n")
            journal.flush()

    def _index(self) -> dict[int, tuple[Path, int]]:
        """The journal and the offset of the line of each chunk that is done. Raises InputError."""
        found = {}
        for path in sorted(self._parts.glob("*.jsonl")):
            for offset, line in _lines(path):
                if offset == 0:
                    self._check(line, path)
                elif isinstance(line, dict) and line.get("chunk") in self.data.chunks:
                    found[line["chunk"]] = (path, offset)
                else:
                    raise _damaged(path, offset)
        return found

    def _join(self) -> bool:
        """Write the file if every chunk is done, and remove the journals; whether the file is there."""
        with locked(self._lock, busy=InputError(f"{self._lock} is held"), wait=True):
            if not exists(self.path):
                found = self._index()
                if len(found) < len(self.data.chunks):
                    return False
                self._write(found)
            shutil.rmtree(self._parts, ignore_errors=True)
            self._lock.unlink(missing_ok=True)  # a process that waits for it, or makes it again, finds the file
        return True

    def _write(self, found: dict[int, tuple[Path, int]]) -> None:
        import pyarrow
        import pyarrow.parquet

        kinds = {"index": pyarrow.int64(), "image": pyarrow.string(), "class": pyarrow.int64()}
        kinds |= {
            "label": pyarrow.int64(),
            "radius": pyarrow.float64(),
            "topk_radius": pyarrow.list_(pyarrow.float64()),
        }
        schema = pyarrow.schema(
            list(kinds.items()), metadata={"certified-zoo": json.dumps(self._run), "unit": self.model.certificate.unit}
        )
        files = {path: path.open("rb") for path in {path for path, _ in found.values()}}
        try:
            with replacing(self.path) as partial, pyarrow.parquet.ParquetWriter(partial, schema) as writer:
                for first in range(0, len(found), ROW_GROUP):
                    columns: dict[str, list[Any]] = {name: [] for name in kinds}
                    for number in range(first, min(first + ROW_GROUP, len(found))):
                        path, offset = found[number]
                        files[path].seek(offset)
                        line = json.loads(files[path].readline())
                        indices = range(number * CHUNK, number * CHUNK + len(line["class"]))
                        columns["index"] += indices
                        columns["image"] += map(self.data.name, indices)
                        for name in ("class", "label", "radius", "topk_radius"):
                            columns[name] += line[name]
                    writer.write_table(pyarrow.table(columns, schema=schema))
        finally:
            for file in files.values():
                file.close()


def _columns(classes: np.ndarray, outputs: Outputs) -> dict[str, list[Any]]:
    return {
        "class": classes.tolist(),
        "label": outputs.label.tolist(),
        "radius": outputs.radius.tolist(),
        "topk_radius": outputs.topk_radius.tolist(),
    }


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Offset and value of each whole line. Raises InputError where one is not JSON."""
    offset = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):  # it is being written, or was when its process was killed
                return
            try:
                yield offset, json.loads(line)
            except ValueError as error:
                raise _damaged(path, offset) from error
            offset += len(line)


def _damaged(path: Path, offset: int) -> InputError:
    return InputError(f"{path} is damaged at byte {offset}: delete it, its images are run again")


def _metadata(path: Path) -> Any:
    """What the file says about its run; None if it says nothing. Raises InputError if it is no Parquet file."""
    import pyarrow
    import pyarrow.parquet

    try:
        metadata = pyarrow.parquet.read_schema(path).metadata or {}
        return json.loads(metadata.get(b"certified-zoo", b"null"))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{path} is no Parquet file that can be read: delete it, or choose another --output"
        ) from error
