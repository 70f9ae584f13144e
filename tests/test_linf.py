"""An l-infinity model end to end: trained two steps, published, verified, loaded; and what the command line says."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from typer.testing import CliRunner

import zoo
from export.publish import publish
from tests.parquet import make_split
from tests.short import shorten
from training.loop import train
from training.recipes import find
from training.schedules import Points
from zoo import registry
from zoo.architectures.convnet import ConvNet
from zoo.architectures.distance import DistanceMLP, DistanceNet
from zoo.cli import app
from zoo.cli.proofs import _recompute
from zoo.data.datasets import DATASETS
from zoo.epsilon import parse_epsilon
from zoo.publication.folder import Folder, read_folder
from zoo.publication.verify import verify
from zoo.records import aim, dumps

SMALL = {
    "linfdist-5x256-mnist": DistanceNet(3, 16, input_size=28, channels=1),
    "linfdist-mlp-5x256-mnist": DistanceMLP(3, 16, input_size=28, channels=1, hidden=16),
    "2c2f-relu-linf-mnist": ConvNet("2c2f", "relu", input_size=28, channels=1),
}


@pytest.fixture(scope="module", params=SMALL)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Published from a run of two steps, its architecture made small; the patches end with the fixture."""
    name, path = request.param, tmp_path_factory.mktemp("linf")
    entry = dataclasses.replace(registry.ENTRIES[name], architecture=SMALL[name])
    exponent = Points(((0.0, 8.0), (1.0, 1000.0)), "geometric")  # a network without distances has none to set
    recipe = dataclasses.replace(find("2c2f-mnist"), name=name, exponent=exponent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.ENTRIES, name, entry)
        patch.setenv("ZOO_DATA", str(path / "data"))
        shorten(patch)
        make_split(path / "data", "mnist", 24)
        make_split(path / "data", "mnist", 24, split="test")
        train(recipe, path / "run", steps=2)
        return publish(path / "run", path / "out", limit=None, attack_images=3, command="test")


def test_an_linf_model_is_published_verified_and_predicts(folder: Folder):
    assert verify(folder) == []
    assert folder.config.norm == folder.certificate.norm == "linf"
    epsilons = DATASETS["mnist"].epsilons["linf"]
    assert all(level > parse_epsilon(text) for level, text in zip(folder.certificate.levels, epsilons, strict=True))
    assert tuple(folder.evaluation.vra) == tuple(folder.evaluation.pgd_accuracy) == epsilons
    assert folder.evaluation.pgd.startswith("linf PGD")
    images = np.random.default_rng(1).random((3, 1, 28, 28), dtype=np.float32)
    onnx_model, torch_model = (zoo.load(f"local-dir:{folder.path}", backend) for backend in ("onnx", "torch"))
    for one, other in zip(onnx_model.predict(images, "0.1"), torch_model.predict(images, "0.1"), strict=True):
        assert one.index == other.index
        assert one.radius == pytest.approx(other.radius, abs=1e-9)
        assert one.certified == (one.radius > 0.1)
    assert onnx_model.norm == "linf"
    estimate = zoo.load(f"local-dir:{folder.path}", precision="float32").predict(images)
    assert not any(prediction.proved for prediction in estimate)


def test_every_text_says_the_norm(folder: Folder, tmp_path: Path):
    source, picture = f"local-dir:{folder.path}", tmp_path / "grey.png"
    Image.new("L", (28, 28), 90).save(picture)
    runner = CliRunner()
    texts = {
        "predict": runner.invoke(app, ["predict", source, str(picture), "--epsilon", "0.1"]).output,
        "info": runner.invoke(app, ["info", source]).output,
        "card": (folder.path / "README.md").read_text(),
    }
    assert "Radii: linf, in pixels of [0, 1]" in texts["predict"]
    assert "l-infinity norm over the whole input" in " ".join(texts["info"].split())
    assert "levels" in texts["info"]
    assert "VRA at linf 0.1" in texts["card"]
    assert f'epsilon="{aim(folder.config, folder.evaluation)}"' in texts["card"]
    assert "Levels: 0.1000, 0.3000." in texts["card"]
    for text in texts.values():
        assert not re.search(r"\bl2\b", text)
    answer = json.loads(runner.invoke(app, ["predict", source, str(picture), "--json"]).stdout)
    assert answer["norm"] == "linf"
    assert answer["unit"].startswith("l-infinity")
    graph = onnx.load(folder.path / "model.onnx", load_external_data=False)
    assert {"norm": "linf"}.items() <= {entry.key: entry.value for entry in graph.metadata_props}.items()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": (0.1, 0.2)}, "model.onnx: not the graph"),
        ({"levels": (0.2, 0.1)}, "positive and rising"),
        ({"claim": "robust"}, "claim is not in this zoo's words"),
        ({"body_lipschitz": 0.5}, "body_lipschitz does not follow"),
        ({"norm": "l2", "levels": ()}, "no rule for LInfDistance in l2"),
    ],
)
def test_a_certificate_that_was_changed_is_not_verified(folder: Folder, change: dict, message: str):
    if folder.config.name != "linfdist-5x256-mnist":
        pytest.skip("once is enough")
    changed = dataclasses.replace(folder, certificate=dataclasses.replace(folder.certificate, **change))
    found = _recompute(changed)
    assert any(message in difference for difference in found), found


def test_a_certificate_with_levels_is_read_back(folder: Folder):
    text = (folder.path / "certificate.json").read_text()
    assert dumps(read_folder(folder.path).certificate) == text
    assert json.loads(text)["levels"] == list(folder.certificate.levels)


def test_the_list_shows_the_norm():
    listed = CliRunner().invoke(app, ["list", "linfdist-*"]).output
    assert re.search(r"linfdist-5x5120-mnist +mnist +linf", listed)
    rows = json.loads(CliRunner().invoke(app, ["list", "*-linf-*", "--json"]).output)
    assert {row["norm"] for row in rows} == {"linf"}
