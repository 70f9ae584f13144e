"""`zoo compare`: two models side by side, by their records and measured anew."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn

import zoo
from tests.toy import make_folder, write_sums
from zoo.hub.client import fetch
from zoo.layers import Pixels
from zoo.publication.folder import Folder, read_folder

from .command import Zoo, names


def numbers(out: str, row: str) -> list[str]:
    """The cells of the row of the table that begins so."""
    (line,) = re.findall(rf"^ *{re.escape(row)}  +(.*)$", out, re.MULTILINE)
    return re.split(r"  +", line.strip())


def test_the_records_side_by_side_and_image_by_image(run: Zoo):
    one, other = "2c2f-mnist", "4c3f-mnist"
    out = run("compare", one, other).out
    assert all(len(line) <= 80 for line in out.splitlines())
    first, second = (fetch(name).evaluation for name in (one, other))
    difference = 100 * (second.vra["1.58"] - first.vra["1.58"])
    assert numbers(out, "VRA at 1.58") == [
        f"{100 * first.vra['1.58']:.2f} %",
        f"{100 * second.vra['1.58']:.2f} %",
        f"{difference:+.2f}",
    ]
    pairs = np.stack([first.radii, second.radii]) > 1.58
    wanted = [pairs.all(0), pairs[0] & ~pairs[1], pairs[1] & ~pairs[0], ~pairs.any(0)]
    assert numbers(out, "1.58") == [str(int(case.sum())) for case in wanted]


def test_both_models_are_measured_on_the_same_images(run: Zoo, tmp_path: Path):
    sources = [names(make_folder(tmp_path / str(seed), seed=seed)) for seed in (1, 2)]
    models = [zoo.load(source) for source in sources]
    images = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
    for index, image in enumerate(images):
        path = tmp_path / "data" / models[0].labels[index % 3] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    out = run("compare", *sources, tmp_path / "data").out
    right = []
    for model in models:
        answers = [model.predict(image[None].astype(np.float32) / 255) for image in images]
        right.append([answer.index == index % 3 for index, answer in enumerate(answers)])
    assert numbers(out, "clean")[:2] == [f"{100 * np.mean(row):.2f} %" for row in right]
    assert sum(map(int, numbers(out, "36/255"))) == 6
    assert "first 6 images of data" in out


def test_the_folder_that_is_shown_is_the_one_that_is_measured(
    run: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A hub may answer with another revision the next time."""
    sources = [names(make_folder(tmp_path / str(seed), seed=seed)) for seed in (1, 2)]
    (tmp_path / "data" / fetch(sources[0]).config.labels[0]).mkdir(parents=True)
    Image.new("L", (28, 28)).save(next((tmp_path / "data").iterdir()) / "0.png")
    fetched: list[Path] = []

    def read_once(path: Path, digest: str | None = None) -> Folder:
        fetched.append(path)
        return read_folder(path, digest)

    monkeypatch.setattr("zoo.hub.client.read_folder", read_once)
    assert run("compare", *sources, tmp_path / "data").code == 0
    assert fetched == [tmp_path / "1", tmp_path / "2"]


def test_what_was_never_measured_is_not_shown_as_a_number(run: Zoo, tmp_path: Path):
    shape, labels = (1, 4, 4), ["a", "b", "c"]
    sources = []
    for name in ("one", "other"):
        network = nn.Sequential(Pixels([0.5], [2.0]), nn.Flatten(), nn.Linear(16, 3)).eval()
        folder = zoo.publish(network, tmp_path / name, shape, labels, name=name)
        sources.append(f"local-dir:{folder.path}")
    out = run("compare", *sources).out
    assert numbers(out, "clean") == numbers(out, "ACR") == ["not measured", "not measured"]
    for label in labels:
        (tmp_path / "data" / label).mkdir(parents=True)
        Image.new("L", (4, 4), 99).save(tmp_path / "data" / label / "0.png")
    out = run("compare", *sources, tmp_path / "data").out
    assert len(numbers(out, "VRA at 36/255")) == 3
    assert sum(map(int, numbers(out, "36/255"))) == 3


def test_nothing_of_a_publisher_or_a_path_is_markup_or_moves_the_terminal(run: Zoo, tmp_path: Path):
    sources = []
    for number, dataset in enumerate(("mnist [/oops]\x1b[2J", "mnist [/oops]\x1b[2J", "other")):
        folder = make_folder(tmp_path / "[/b]" / "[a]" / str(number), seed=number)
        record = json.loads((folder / "evaluation.json").read_text())
        (folder / "evaluation.json").write_text(json.dumps({**record, "dataset": dataset, "radii": [1.0]}))
        write_sums(folder)
        sources.append(names(folder))
    out = run("compare", *sources[:2]).out
    assert "images of mnist [/oops]?[2J: right" in out
    assert "\x1b" not in out
    out = run("compare", sources[0], sources[2]).out
    assert f"zoocompare{sources[0]}{sources[2]}DATASET" in "".join(out.split())  # 80 columns may fold it


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("2c2f-mnist", "mlp-two-moons"), "2c2f-mnist knows mnist, mlp-two-moons two-moons: choose two"),
        (("2c2f-mnist", "4c3f-mnist", "mnits"), "did you mean mnist?"),
        (("2c2f-mnist", "4c3f-mnist", "--limit", "3"), "--limit needs a DATASET"),
        (("2c2f-mnist", "sll-xl-cifar10"), "has no published weights"),
    ],
)
def test_mistakes_take_one_line(run: Zoo, arguments: tuple[str, ...], message: str):
    assert message in run.fails("compare", *arguments)


def test_radii_of_different_norms_are_not_compared(run: Zoo):
    out = run("compare", "2c2f-mnist", "linfdist-5x256-mnist").out
    assert "of different norms, l2 and linf" in out
    assert "VRA at" not in out


def test_epochs_that_no_training_has_are_not_told():
    config = fetch("2c2f-mnist").config
    for epochs in (10**400, -1, "5", None, [1]):
        assert replace(config, recipe={"epochs": epochs, "init_epochs": 0.5}).took("epochs") is None
    assert replace(config, recipe={"epochs": 5, "init_epochs": 0.5}).took("epochs") == 5.5
