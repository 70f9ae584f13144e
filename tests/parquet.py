"""Tiny data sets of random images, so that no test needs the real ones."""

import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from zoo.data.datasets import DATASETS

Write = Callable[..., Path]


@pytest.fixture
def write_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """A function that writes a split of random images under a temporary ZOO_DATA, see `make_split`."""
    monkeypatch.setenv("ZOO_DATA", str(tmp_path / "data"))
    return partial(make_split, tmp_path / "data")


def make_split(
    root: Path,
    name: str,
    count: int = 24,
    split: str = "train",
    size: int | None = None,
    label: int | None = None,
    row_group: int | None = None,
) -> Path:
    """Write a split of `count` random images; answers the file."""
    info = DATASETS[name]
    generator = np.random.default_rng(0)
    size = size or info.size
    shape = (count, size, size, info.channels) if info.channels > 1 else (count, size, size)
    rows = []
    for pixels in generator.integers(0, 256, shape, dtype=np.uint8):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        rows.append({"bytes": buffer.getvalue(), "path": None})
    labels = [label if label is not None else row % info.classes for row in range(count)]
    metadata = {"info": {"features": {"label": {"names": info.labels, "_type": "ClassLabel"}}}}
    schema = pa.schema(
        {"image": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "label": pa.int64()},
        metadata={"huggingface": json.dumps(metadata)},
    )
    path = root / name / f"{split}-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": rows, "label": labels}, schema=schema), path, row_group_size=row_group)
    return path
