"""A data set's rows: the same bytes for one process and for many, and after any number of ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

import zoo
import zoo.inference.results
from tests.parquet import Write
from tests.serving import ROOT
from zoo.data.splits import load_split, stream_split
from zoo.errors import InputError
from zoo.inference.evaluate import dataset_images, evaluation_of, folder_images, summarise
from zoo.inference.results import Results, Share, share
from zoo.inference.runtime import CHUNK, Model

COUNT = 5 * CHUNK + 7
ALONE = Share(0, 1)


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
    assert made.certify(ALONE, done.append)
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


@pytest.mark.parametrize("world", [2, 3, 9])
def test_shards_join_to_the_single_result(model: Model, tmp_path: Path, world: int):
    results(model, tmp_path / "one.parquet").certify(ALONE, ignore)
    ended = [results(model, tmp_path / "many.parquet").certify(Share(rank, world), ignore) for rank in range(world)]
    last = min(world, 6) - 1  # of those that have one of the six chunks
    assert ended == [False] * last + [True] * (world - last)
    assert (tmp_path / "many.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()


def test_a_run_goes_on_where_it_ended(model: Model, tmp_path: Path):
    results(model, tmp_path / "whole.parquet").certify(ALONE, ignore)

    def end_soon(count: int) -> None:
        steps.append(count)
        if len(steps) == 4:
            raise KeyboardInterrupt

    steps: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        results(model, tmp_path / "a.parquet").certify(ALONE, end_soon)
    journal = tmp_path / "a.parquet.parts" / "0.jsonl"
    with journal.open("ab") as file:
        file.write(b'{"chunk": 3, "cla')  # its process was killed while it wrote
    assert not results(model, tmp_path / "a.parquet").certify(Share(1, 2), ignore)  # now with two
    done: list[int] = []
    assert results(model, tmp_path / "a.parquet").certify(Share(0, 2), done.append)
    assert done == [2 * CHUNK, CHUNK]  # chunks 0 and 2 were there, 4 is run
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_a_process_that_is_overtaken_at_its_end_finds_the_file(model: Model, tmp_path: Path):
    def overtake(count: int) -> None:
        steps.append(count)
        if len(steps) == 4:  # the last of its three chunks is in its journal
            assert results(model, tmp_path / "a.parquet").certify(Share(1, 2), ignore)

    steps: list[int] = []
    assert results(model, tmp_path / "a.parquet").certify(Share(0, 2), overtake)
    assert len(steps) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "data"]


def test_a_process_that_is_overtaken_at_its_start_finds_the_file(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    locked = zoo.inference.results.locked

    def overtaken(*arguments: Any) -> Any:
        monkeypatch.setattr(zoo.inference.results, "locked", locked)
        assert results(model, tmp_path / "a.parquet").certify(ALONE, ignore)
        return locked(*arguments)

    monkeypatch.setattr(zoo.inference.results, "locked", overtaken)
    assert results(model, tmp_path / "a.parquet").certify(Share(0, 2), ignore)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "data"]


def test_a_finished_file_is_not_made_again(model: Model, tmp_path: Path):
    results(model, tmp_path / "a.parquet").certify(ALONE, ignore)
    before = (tmp_path / "a.parquet").stat().st_mtime_ns
    assert results(model, tmp_path / "a.parquet").certify(ALONE, ignore)
    assert (tmp_path / "a.parquet").stat().st_mtime_ns == before


def test_another_run_is_not_mixed_in(model: Model, tmp_path: Path):
    assert not results(model, tmp_path / "a.parquet").certify(Share(0, 2), ignore)
    before = (tmp_path / "a.parquet.parts" / "0.jsonl").read_bytes()
    with pytest.raises(InputError, match="another run, its split differs"):
        results(model, tmp_path / "a.parquet", limit=CHUNK).certify(Share(1, 2), ignore)
    assert (tmp_path / "a.parquet.parts" / "0.jsonl").read_bytes() == before
    assert not (tmp_path / "a.parquet.parts" / "1.jsonl").exists()
    results(model, tmp_path / "a.parquet").certify(Share(1, 2), ignore)
    with pytest.raises(InputError, match="another run, its split differs"):
        results(model, tmp_path / "a.parquet", limit=CHUNK).certify(ALONE, ignore)
    (tmp_path / "b.parquet").write_bytes(b"something else")
    with pytest.raises(InputError, match=r"b\.parquet is no Parquet file"):
        results(model, tmp_path / "b.parquet").certify(ALONE, ignore)
    assert (tmp_path / "b.parquet").read_bytes() == b"something else"


def test_a_damaged_journal_is_told(model: Model, tmp_path: Path):
    results(model, tmp_path / "a.parquet").certify(Share(0, 2), ignore)
    journal = tmp_path / "a.parquet.parts" / "0.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    for damage in ("x" + lines[1], "5\n", "[]\n", '{"label": []}\n', '{"chunk": [0]}\n', '{"chunk": 999}\n'):
        journal.write_text(lines[0] + damage)
        with pytest.raises(InputError, match=f"damaged at byte {len(lines[0])}"):
            results(model, tmp_path / "a.parquet").certify(Share(1, 2), ignore)


def test_two_processes_of_one_rank(model: Model, tmp_path: Path):
    def again(count: int) -> None:
        with pytest.raises(InputError, match="another process"):
            results(model, tmp_path / "a.parquet").certify(ALONE, ignore)

    assert results(model, tmp_path / "a.parquet").certify(ALONE, again)


@pytest.mark.parametrize(("rank", "world"), [("2", "2"), ("-1", "2"), ("x", "1"), ("0", "0")])
def test_ranks_that_make_no_sense(monkeypatch: pytest.MonkeyPatch, rank: str, world: str):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", world)
    with pytest.raises(InputError, match="unset both"):
        share()


def test_processes_of_the_command_share_the_images(model: Model, toy: Path, tmp_path: Path):
    def command(output: str, **variables: str) -> subprocess.Popen[str]:
        arguments = ["evaluate", f"local-dir:{toy}", "mnist", "--output", str(tmp_path / output)]
        environment = {**os.environ, **variables}
        return subprocess.Popen(
            [sys.executable, "-m", "zoo", *arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )

    started = [command("many.parquet", RANK=str(rank), WORLD_SIZE="3") for rank in range(3)]
    told = [process.communicate(timeout=100)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    summaries = [text for text in told if "the last to end writes" not in text]
    assert summaries  # more than one where a process was overtaken between its last image and its end
    assert all(f"{COUNT} of mnist" in text for text in summaries)
    alone = command("one.parquet")
    summary = alone.communicate(timeout=100)[0]
    assert f"{COUNT} of mnist" in summary
    assert (tmp_path / "many.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()


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
    made.certify(ALONE, ignore)
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


def test_the_journal_is_json_lines(model: Model, tmp_path: Path):
    results(model, tmp_path / "a.parquet").certify(Share(0, 2), ignore)
    run, *lines = map(json.loads, (tmp_path / "a.parquet.parts" / "0.jsonl").read_text().splitlines())
    assert run["graph_sha256"] == model.evaluation.graph_sha256
    assert [line["chunk"] for line in lines] == [0, 2, 4]
