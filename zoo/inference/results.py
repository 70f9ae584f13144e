"""One row for each image of a data set, in a parquet file; a run that ended early goes on where it was.

Beside FILE.parquet, while it is made, stands FILE.parquet.journal: JSON lines, of which the first says what is run on
what, and each other one has the answers for the next CHUNK images, written when they are there. Memory does not grow
with the data set. For more than one machine there is `zoo.integrations.columns`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from zoo.errors import InputError, require
from zoo.files import exists, locked, replacing
from zoo.inference.evaluate import LabelledImages
from zoo.inference.runtime import CHUNK, Model
from zoo.records import Outputs

ROW_GROUP = 256  # chunks that are written together
ANSWERS = ("class", "label", "radius", "topk_radius")


@dataclass(frozen=True)
class Results:
    """The rows of one model over one data set, in the file at `path`."""

    path: Path
    model: Model
    data: LabelledImages

    def certify(self, advance: Callable[[int], None]) -> None:
        """Write the file, running what its journal lacks; a file that is there already is kept.

        advance: called with the number of images of each chunk that is done, or was. Raises InputError where the
        file or its journal is of another run, or another process writes it.
        """
        require("data")
        journal = self.path.with_name(self.path.name + ".journal")
        with locked(journal, InputError(f"{journal} is being written by another process")) as descriptor:
            if exists(self.path):
                try:
                    self._check(_metadata(self.path), self.path)
                except InputError:
                    if not journal.stat().st_size:  # the lock's, just made
                        journal.unlink()
                    raise
                advance(self.data.count)
            else:
                with os.fdopen(descriptor, "r+b", closefd=False) as file:
                    self._run(file, journal, advance)
                    self._write(file, journal)
            journal.unlink(missing_ok=True)  # another process may have finished the same run just before

    def _run(self, file: IO[bytes], journal: Path, advance: Callable[[int], None]) -> None:
        done = self._begin(file, journal)
        advance(min(self.data.count, CHUNK * done))
        for images, classes in self.data.read(self.data.chunks[done:]):
            answers = _columns(classes, self.model.outputs(images))
            file.write(json.dumps(answers).encode() + b"\n")
            file.flush()
            advance(len(classes))

    def _begin(self, file: IO[bytes], journal: Path) -> int:
        """How many chunks are done; what follows the last whole line, of a process that was killed, is cut off."""
        offset, lines = 0, 0
        for line in file:
            if not line.endswith(b"\n"):
                break
            if lines == 0:
                self._check(_parsed(line, journal, 0), journal)
            offset, lines = offset + len(line), lines + 1
        file.seek(offset)
        file.truncate()
        if not lines:
            file.write(json.dumps(self._identity).encode() + b"\n")
            return 0
        return lines - 1

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Whether each image is right, bool [N], and its radius, float64 [N]."""
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(self.path, columns=["class", "label", "radius"])
        right = table["class"].to_numpy() == table["label"].to_numpy()
        return right, table["radius"].to_numpy()

    @property
    def _identity(self) -> dict[str, Any]:
        """What every row of this run agrees on."""
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
        run = self._identity
        if found == run:
            return
        field = next((key for key in run if not isinstance(found, dict) or found.get(key) != run[key]), "a field")
        raise InputError(f"{where} is of another run, its {field} differs: delete it, or name another --output")

    def _write(self, file: IO[bytes], journal: Path) -> None:
        """The parquet file of the journal's lines."""
        import pyarrow
        import pyarrow.parquet

        kinds = {"index": pyarrow.int64(), "image": pyarrow.string(), "class": pyarrow.int64()}
        kinds |= {
            "label": pyarrow.int64(),
            "radius": pyarrow.float64(),
            "topk_radius": pyarrow.list_(pyarrow.float64()),
        }
        metadata = {"certified-zoo": json.dumps(self._identity), "unit": self.model.certificate.unit}
        schema = pyarrow.schema(list(kinds.items()), metadata=metadata)
        offset = file.seek(0) + len(file.readline())
        with replacing(self.path) as partial, pyarrow.parquet.ParquetWriter(partial, schema) as writer:
            for first in range(0, len(self.data.chunks), ROW_GROUP):
                columns: dict[str, list[Any]] = {name: [] for name in kinds}
                for number in self.data.chunks[first : first + ROW_GROUP]:
                    line = file.readline()
                    answers = _parsed(line, journal, offset)
                    size = min(CHUNK, self.data.count - number * CHUNK)
                    found = [answers.get(name) for name in ANSWERS] if isinstance(answers, dict) else []
                    if [len(column) for column in found if isinstance(column, list)] != [size] * len(ANSWERS):
                        raise _damaged(journal, offset)
                    indices = range(number * CHUNK, number * CHUNK + size)
                    columns["index"] += indices
                    columns["image"] += map(self.data.name, indices)
                    for name in ANSWERS:
                        columns[name] += answers[name]
                    offset += len(line)
                writer.write_table(pyarrow.table(columns, schema=schema))


def _columns(classes: np.ndarray, outputs: Outputs) -> dict[str, list[Any]]:
    return {
        "class": classes.tolist(),
        "label": outputs.label.tolist(),
        "radius": outputs.radius.tolist(),
        "topk_radius": outputs.topk_radius.tolist(),
    }


def _parsed(line: bytes, journal: Path, offset: int) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise _damaged(journal, offset) from error


def _damaged(path: Path, offset: int) -> InputError:
    return InputError(f"{path} is damaged at byte {offset}: delete it, its images are run again")


def _metadata(path: Path) -> Any:
    """What the file says of its run, None where it says nothing. Raises InputError where it is no Parquet file."""
    import pyarrow
    import pyarrow.parquet

    try:
        metadata = pyarrow.parquet.read_schema(path).metadata or {}
        return json.loads(metadata.get(b"certified-zoo", b"null"))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{path} is no Parquet file that can be read: delete it, or choose another --output"
        ) from error
