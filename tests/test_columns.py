"""Answers as columns: the same function in Hugging Face datasets, Ray Data and pandas frames, and its numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zoo
from tests.parquet import Write
from tests.serving import ROOT
from zoo.data.splits import load_split
from zoo.errors import InputError
from zoo.integrations.columns import CertifyColumn

COUNT, EPSILON = 70, 0.5


@pytest.fixture
def file(write_split: Write) -> Path:
    """A parquet file as the Hugging Face hub has them: `image` with bytes and path, `label`."""
    return write_split("mnist", COUNT, "test")


def expected(source: str) -> zoo.records.Outputs:
    return zoo.load(source).outputs(load_split("mnist", "test").images)


def check(rows: Any, source: str) -> None:
    outputs, labels = expected(source), zoo.load(source).labels
    assert list(rows["label"]) == outputs.label.tolist()
    assert list(rows["name"]) == [labels[index] for index in outputs.label]
    assert list(rows["radius"]) == outputs.radius.tolist()
    assert list(rows["certified"]) == (outputs.radius > EPSILON).tolist()
    assert 0 < sum(rows["certified"]) < COUNT


@pytest.mark.slow
def test_hugging_face_datasets(file: Path, toy: Path):
    datasets = pytest.importorskip("datasets", reason="needs datasets, which the extra [dev] brings")
    source = f"local-dir:{toy}"
    dataset = datasets.load_dataset(
        "parquet", data_files=str(file), split="train", cache_dir=str(file.parent / "cache")
    )
    if not isinstance(dataset.features["image"], datasets.Image):
        dataset = dataset.cast_column("image", datasets.Image())
    dataset = dataset.rename_column("label", "class")
    rows = dataset.map(CertifyColumn(source, epsilon=EPSILON), batched=True, batch_size=32)
    check(rows, source)
    assert set(rows.column_names) == {"image", "class", "label", "name", "radius", "certified"}


RAY = """
import sys, ray
from zoo.integrations.columns import CertifyColumn
file, source, epsilon, output = sys.argv[1:]
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
dataset = ray.data.read_parquet(file).rename_columns({"label": "class"})
answers = dataset.map_batches(CertifyColumn(source, epsilon=epsilon, keep=["class"]), batch_size=32)
answers.to_pandas().to_parquet(output)
"""


@pytest.mark.slow
def test_ray_data(file: Path, toy: Path, tmp_path: Path):
    pytest.importorskip("ray", reason="needs ray, which the extra [dev] brings")
    pandas = pytest.importorskip("pandas", reason="needs pandas, which the extra [space] brings")
    source, output = f"local-dir:{toy}", tmp_path / "rows.parquet"
    command = [sys.executable, "-c", RAY, str(file), source, str(EPSILON), str(output)]
    # On a busy machine a worker that is not ready in its minute would be started again, and again.
    patient = os.environ | {"RAY_worker_register_timeout_seconds": "600"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=patient)
    if "timed out during startup" in done.stderr:  # Ray gives its daemons 30 seconds
        pytest.skip("Ray did not start in its 30 seconds: the machine is too busy")
    assert done.returncode == 0, done.stderr
    rows = pandas.read_parquet(output)
    check(rows, source)
    assert list(rows["class"]) == load_split("mnist", "test").labels.tolist()


def test_pandas_frames_as_spark_gives_them(file: Path, toy: Path):
    pandas = pytest.importorskip("pandas", reason="needs pandas, which the extra [space] brings")
    source = f"local-dir:{toy}"
    frame = pandas.read_parquet(file).rename(columns={"label": "class"})
    certify = CertifyColumn(source, epsilon=EPSILON, keep=["class"])
    frames = list(map(certify, iter([frame[:32], frame[32:]])))
    assert list(frames[0].columns) == ["class", "label", "name", "radius", "certified"]
    check(pandas.concat(frames), source)


def test_arrays_and_what_cannot_be_used(toy: Path):
    source = f"local-dir:{toy}"
    images = np.zeros((3, 28, 28), np.uint8)
    answers = CertifyColumn(source, image="x")({"x": images})
    assert set(answers) == {"label", "name", "radius"}
    assert answers["radius"].tolist() == zoo.load(source).outputs(images).radius.tolist()
    with pytest.raises(InputError, match="no column 'image', only x"):
        CertifyColumn(source)({"x": images})
    with pytest.raises(InputError, match=r"images\[1\]: "):
        CertifyColumn(source)({"image": [images[0], b"no picture"]})
    with pytest.raises(InputError, match=r"images\[1\]: "):
        CertifyColumn(source)({"image": [images[0], {"path": "x.png"}]})
    with pytest.raises(InputError, match="a column label of its own"):
        CertifyColumn(source, keep=["label"])
    with pytest.raises(InputError, match="epsilon"):
        CertifyColumn(source, epsilon="much")
