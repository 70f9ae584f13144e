"""A data set's rows: the same bytes for one process and for many, and after any number of ends."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

import zoo
import zoo.inference.results
from tests.parquet import Write
from zoo.data.splits import load_split, stream_split
from zoo.errors import InputError
from zoo.inference.evaluate import dataset_images, evaluation_of, folder_images, summarise
from zoo.inference.results import Results
from zoo.inference.runtime import CHUNK, Model

COUNT = 5 * CHUNK + 7


@pytest.fixture
def model(toy: Path, write_split: Write) -> Model:
    write_split("mnist", COUNT, "test")
    return zoo.load(f"local-dir:{toy}")


def results(model: Model, path: Path, limit: int | None = None) -> Results:
    return Results(path, model, dataset_images(model, "mnist", limit))


def ignore(count: int) -> None:
    pass


def test_rows_are_what_the_model_answers(model: Model, tmp_path: Path):
    done: list[int] = []
    made = results(model, tmp_path / "a.parquet")
    made.certify(done.append)
    assert sum(done) == COUNT
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pydict()
    split = load_split("mnist", "test")
    outputs = model.outputs(split.images)
    assert table["index"] == list(range(COUNT))
    assert table["image"][9] == "test[9]"
    assert table["class"] == split.labels.tolist()
    assert table["label"] == outputs.label.tolist()
    assert table["radius"] == outputs.radius.tolist()
    assert table["topk_radius"] == outputs.topk_radius.tolist()
    right, radii = made.arrays()
    assert right.tolist() == (outputs.label == split.labels).tolist()
    assert radii.tolist() == outputs.radius.tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "data"]


def end_after(steps: int) -> Callable[[int], None]:
    """Ends the run as Ctrl-C does, when so many steps have been reported."""
    done: list[int] = []

    def advance(count: int) -> None:
        done.append(count)
        if len(done) == steps:
            raise KeyboardInterrupt

    return advance


def begin(made: Results, steps: int) -> Path:
    """The journal of a run that ended after its first line and `steps` - 1 chunks."""
    with pytest.raises(KeyboardInterrupt):
        made.certify(end_after(steps))
    return made.path.with_name(made.path.name + ".journal")


def test_a_run_goes_on_where_it_ended(model: Model, tmp_path: Path):
    results(model, tmp_path / "whole.parquet").certify(ignore)
    made = results(model, tmp_path / "a.parquet")
    journal = begin(made, 4)
    run, *lines = map(json.loads, journal.read_text().splitlines())
    assert run["graph_sha256"] == model.evaluation.graph_sha256
    assert [len(line["label"]) for line in lines] == [CHUNK] * 3
    with journal.open("ab") as file:
        file.write(b'{"class": [3, ')  # its process was killed while it wrote
    done: list[int] = []
    made.certify(done.append)
    assert done == [3 * CHUNK, CHUNK, CHUNK, 7]
    assert made.path.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert not journal.exists()


def test_a_finished_file_is_not_made_again(model: Model, tmp_path: Path):
    results(model, tmp_path / "a.parquet").certify(ignore)
    before = (tmp_path / "a.parquet").stat().st_mtime_ns
    results(model, tmp_path / "a.parquet").certify(ignore)
    assert (tmp_path / "a.parquet").stat().st_mtime_ns == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "data"]


def test_another_run_is_not_mixed_in(model: Model, tmp_path: Path):
    journal = begin(results(model, tmp_path / "a.parquet"), 2)
    before = journal.read_bytes()
    with pytest.raises(InputError, match="another run, its split differs"):
        results(model, tmp_path / "a.parquet", limit=CHUNK).certify(ignore)
    assert journal.read_bytes() == before
    results(model, tmp_path / "a.parquet").certify(ignore)
    with pytest.raises(InputError, match="another run, its split differs"):
        results(model, tmp_path / "a.parquet", limit=CHUNK).certify(ignore)
    assert not journal.exists()
    (tmp_path / "b.parquet").write_bytes(b"something else")
    with pytest.raises(InputError, match=r"b\.parquet is no Parquet file"):
        results(model, tmp_path / "b.parquet").certify(ignore)
    assert (tmp_path / "b.parquet").read_bytes() == b"something else"


def test_a_damaged_journal_is_told(model: Model, tmp_path: Path):
    journal = begin(results(model, tmp_path / "a.parquet"), 3)
    first, second, third = journal.read_text().splitlines(keepends=True)
    short = json.dumps({**json.loads(second), "label": [1]}) + "\n"
    for damage in ("x" + second, "5\n", "[]\n", '{"label": []}\n', short):
        journal.write_text(first + damage + third)
        with pytest.raises(InputError, match=f"damaged at byte {len(first)}"):
            results(model, tmp_path / "a.parquet").certify(ignore)
        assert not (tmp_path / "a.parquet").exists()
    journal.write_text("x" + first + second)
    with pytest.raises(InputError, match="damaged at byte 0"):
        results(model, tmp_path / "a.parquet").certify(ignore)


def test_two_processes_do_not_write_one_file(model: Model, tmp_path: Path):
    def again(count: int) -> None:
        with pytest.raises(InputError, match="another process"):
            results(model, tmp_path / "a.parquet").certify(ignore)

    results(model, tmp_path / "a.parquet").certify(again)


def test_a_stream_is_the_split_in_chunks(model: Model, tmp_path: Path, write_split: Write):
    first = write_split("mnist", COUNT, "test")
    first.rename(first.with_name("test-00000-of-00002.parquet"))
    write_split("mnist", 20, "test").rename(first.with_name("test-00001-of-00002.parquet"))
    whole, stream = load_split("mnist", "test"), stream_split("mnist", "test")
    assert (stream.count, stream.revision, stream.label_names) == (COUNT + 20, whole.revision, whole.label_names)
    chunks = list(stream.read(range(100), CHUNK))
    assert {len(labels) for _, labels in chunks[:-1]} == {CHUNK}
    np.testing.assert_array_equal(np.concatenate([images for images, _ in chunks]), whole.images)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in chunks]), whole.labels)
    (images, _), (last, _) = stream.read({1, len(chunks) - 1}, CHUNK)
    np.testing.assert_array_equal(images, whole.images[CHUNK : 2 * CHUNK])
    np.testing.assert_array_equal(last, chunks[-1][0])
    assert stream.name == whole.name == load_split("mnist", "test", COUNT + 20).name == "test"
    assert load_split("mnist", "test", 3).name == stream_split("mnist", "test", 3).name == "test[:3]"
    (first.with_name("test-00001-of-00002.parquet")).rename(tmp_path / "away")
    ((images, _),) = stream.read({1}, CHUNK)  # of the first file
    np.testing.assert_array_equal(images, whole.images[CHUNK : 2 * CHUNK])
    assert list(stream.read(set(), CHUNK)) == []
    for limit in (1, CHUNK, CHUNK + 1):
        assert sum(len(labels) for _, labels in stream_split("mnist", "test", limit).read(range(9), CHUNK)) == limit


def test_the_rates_are_those_of_evaluate(model: Model, tmp_path: Path):
    made = results(model, tmp_path / "a.parquet")
    made.certify(ignore)
    right, radii = made.arrays()
    measured = evaluation_of(model, made.data, ["0.1"])
    assert measured.clean_accuracy == right.mean()
    assert measured.vra == {"0.1": (right & (radii > 0.1)).mean()}


@pytest.mark.parametrize(("norm", "last"), [("l2", 28.0), ("linf", 1.0)])
def test_the_curve_ends_at_the_diameter_of_the_domain(model: Model, norm: str, last: float):
    everywhere = replace(model, config=replace(model.config, norm=norm))
    data = dataset_images(model, "mnist", 2)
    curve = summarise(everywhere, data, ["0.1"], np.array([True, False]), np.array([1.8e6, 1.8e6]), 0.0, "").curve
    assert curve[-1] == (last, 0.5)
    assert curve[0] == (0.0, 0.5)


def test_a_fifo_in_a_folder_is_refused_not_waited_for(toy: Path, tmp_path: Path):
    (tmp_path / "images" / "class 0").mkdir(parents=True)
    os.mkfifo(tmp_path / "images" / "class 0" / "a.png")
    with pytest.raises(InputError, match=r"a\.png: not a regular file"):
        folder_images(zoo.load(f"local-dir:{toy}"), tmp_path / "images")
