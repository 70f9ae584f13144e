"""`zoo evaluate`: the figures of a folder or of a data set, and where they are written."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import zoo
from zoo.cli.views import evaluation_pairs
from zoo.publication.card import render
from zoo.publication.folder import read_folder
from zoo.records import Evaluation, loads

from .command import Zoo, names


@pytest.fixture
def folder(pictures: list[Path], tmp_path: Path) -> Path:
    for label, paths in (("class 4", pictures[:2]), ("class 1", pictures[2:])):
        (tmp_path / "data" / label).mkdir(parents=True)
        for path in paths:
            shutil.copy(path, tmp_path / "data" / label)
    return tmp_path / "data"


def test_a_folder_of_class_folders(run: Zoo, colour_toy: Path, folder: Path, tmp_path: Path):
    output = tmp_path / "out.json"
    result = run("evaluate", names(colour_toy), folder, "--epsilon", "1/255", "--epsilon", "9", "--output", output)
    assert result.code == 0
    model = zoo.load(names(colour_toy))
    answers = [
        (model.predict(file), int(file.parent.name.split()[1]))
        for file in (folder / "class 1/2.png", folder / "class 4/0.png", folder / "class 4/1.png")
    ]
    radii = np.array([answer.radius if answer.index == label else 0.0 for answer, label in answers])
    record = loads(Evaluation, output.read_text())
    assert record.images == 3
    assert record.clean_accuracy == sum(answer.index == label for answer, label in answers) / 3
    assert record.vra == {"1/255": (radii > 1 / 255).mean(), "9": (radii > 9).mean()}
    assert record.acr == pytest.approx(radii.mean(), rel=1e-12)
    assert all(vra == (radii > epsilon).mean() for epsilon, vra in record.curve)
    assert "l2, in pixels of [0, 1]" in result.out
    absent = "class 0, class 2, class 3 and 5 more: rates on it are of 2 of 10 classes"
    assert result.err == f"zoo: {folder} has no pictures of {absent}\n"


def test_a_limit_takes_classes_in_turn(run: Zoo, colour_toy: Path, folder: Path, tmp_path: Path):
    output = tmp_path / "out.json"
    run("evaluate", names(colour_toy), folder, "--limit", "2", "--output", output)
    record = loads(Evaluation, output.read_text())
    assert (record.images, record.split) == (2, "folder[:2]")
    assert list(record.vra) == ["36/255", "72/255", "108/255", "1.0"]


def test_a_known_data_set(run: Zoo, toy: Path, tmp_path: Path):
    pytest.importorskip("pyarrow")
    if not (Path(os.environ.get("ZOO_DATA", Path(__file__).parents[3] / "shared/data")) / "mnist").is_dir():
        pytest.skip("MNIST is not here")
    result = run("evaluate", names(toy), "mnist", "--limit", "100")
    assert result.code == 0
    assert "100 of mnist, test[:100]" in result.out


def test_points_that_are_made_and_not_read(run: Zoo, tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet")
    result = run("evaluate", "mlp-two-moons", "two-moons", "--output", tmp_path / "out.json")
    assert result.code == 0
    record, published = loads(Evaluation, (tmp_path / "out.json").read_text()), zoo.load("mlp-two-moons").evaluation
    assert (record.images, record.revision, record.vra) == (2000, published.revision, published.vra)
    certified = run("evaluate", "mlp-two-moons", "two-moons", "--output", tmp_path / "rows.parquet")
    assert certified.code == 0
    assert "took" not in certified.out  # it may be the sum of several runs
    rows = parquet.read_table(tmp_path / "rows.parquet").to_pydict()
    assert rows["image"][-1] == "test[1999]"


def test_names_that_no_record_can_hold_are_refused_first(
    run: Zoo, colour_toy: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    def late(*arguments: object) -> None:
        pytest.fail("computed before the name was refused")

    monkeypatch.setattr("zoo.inference.runtime.Model.outputs", late)
    bad = "\udcff"
    for suffix in (".json", ".parquet"):
        told = run.fails("evaluate", names(colour_toy), folder, "--output", folder.parent / f"{bad}{suffix}")
        assert rf"\udcff{suffix}' is not UTF-8: rename it" in told
    others = shutil.copytree(folder, folder.parent / bad)
    assert r"\udcff' is not UTF-8" in run.fails("evaluate", names(colour_toy), others)
    picture = next(folder.glob("*/*.png"))
    picture.rename(picture.with_name(f"{bad}.png"))
    assert r"\udcff.png' is not UTF-8" in run.fails("evaluate", names(colour_toy), folder)


def test_mistakes_take_one_line(run: Zoo, toy: Path, colour_toy: Path, folder: Path, tmp_path: Path):
    model = names(colour_toy)
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ((model, "cifar11"), "did you mean cifar10"),
        ((model, "no such thing"), "no data set and no folder"),
        ((model, tmp_path / "empty"), "has no images"),
        ((model, tmp_path), "is not named after a class"),
        ((names(toy), "cifar10"), "cifar10 has images of 3 x 32 x 32, 4c3f-mnist takes 1 x 28 x 28"),
        ((model, folder, "--epsilon", "0.1", "--epsilon", "nan"), "epsilon must be finite"),
        ((model, folder, "--output", tmp_path / "missing" / "out.json"), "no folder"),
        ((model, folder, "--output", tmp_path), f"must name a file, '{tmp_path}'"),
        ((model, folder, "--output", ""), "--output must name a file"),
        ((model, folder, "--output", "/dev/null"), "--output must name a file"),
        ((model, folder, "--output", "/proc/x"), "/proc/x: cannot be written: "),
        ((model, folder, "--output", tmp_path / ("x" * 300)), "cannot be written: File name too long"),
        ((model, folder, "--limit", "0"), "--limit"),
    ):
        assert message in run.fails("evaluate", *arguments)
    (folder / "class 4" / "notes.txt").write_text("no image")
    assert "notes.txt is no image" in run.fails("evaluate", model, folder)


def test_an_output_that_cannot_be_written_is_told_before_measuring_and_leaves_nothing(
    run: Zoo, colour_toy: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    output = tmp_path / "out.json"
    assert "out.json: Permission denied" in run.fails("evaluate", names(colour_toy), folder, "--output", output)
    assert not list(tmp_path.glob("out.json*"))
    monkeypatch.setattr("zoo.cli.evaluation.load", lambda name: pytest.fail("loaded"))
    assert "cannot be written" in run.fails("evaluate", names(colour_toy), folder, "--output", "/proc/x")


def test_the_average_radius_is_the_one_on_the_card(run: Zoo, toy: Path):
    folder = read_folder(toy)
    result = replace(folder.evaluation, acr=0.67899, seconds=0.04)
    assert dict(evaluation_pairs(result))["ACR"].startswith("0.6790 ")
    assert dict(evaluation_pairs(result))["took"].startswith("< 0.1 s on ")
    card = render(folder.config, folder.certificate, result)
    assert "| average certified radius | 0.6790 |" in card
    assert "Measured in < 0.1 s on " in card
