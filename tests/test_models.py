"""Published models: every record and page is what it says; of each kind the proof holds and the runtimes agree.

`make models-check` proves all of them, and measures them again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import shutil
from decimal import Decimal
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

import zoo
from export.cards import pages, shelf
from export.leaderboard import rows
from export.plots import pictures
from tests.cli.command import Zoo
from tests.toy import FILES
from tests.training.small import small_network
from training.recipes import find
from zoo.epsilon import parse_epsilon
from zoo.errors import UnpublishedModelError, ZooError
from zoo.hub.client import fetch
from zoo.publication.card import render
from zoo.publication.folder import Folder, read_folder
from zoo.publication.picture import GAP, changes
from zoo.publication.verify import verify
from zoo.records import Outputs
from zoo.registry import ENTRIES, list_models

PUBLISHED = list_models(pretrained=True)
CHECKOUT = Path(zoo.__file__).parents[1]
EMBEDDED = ("2c2f-mnist", "liresnet-l4w32-cifar10-jpeg75")
# The model with the fewest parameters of each kind of network.
SMALLEST = {small_network(name): name for name in sorted(PUBLISHED, key=lambda name: -(ENTRIES[name].parameters or 0))}
# Of every kind of layer, of every method of proof and of every composition that is published there is one among these.
PROVED = (
    *EMBEDDED,
    "2c2f-relu-crm-mnist",
    "2c2f-relu-linf-ibp-mnist",
    "cpl-xs-cifar10-jpeg75",
    "kwsmall-cayley-cifar10-jpeg75",
    "lbdn-xs-cifar10-jpeg75",
    "linfdist-5x256-mnist",
    "linfdist-mlp-5x256-mnist",
    "lipconvnet-5w8-cifar10-jpeg75",
    "lipnext-l4w64-cifar10-jpeg75",
    "loopresnet-d2w8-mnist",
    "olsa-liffn-l4w32-cifar10-jpeg75",
    "sortnet-5x256-mnist",
    "spatialmlp-liffn-l4w32-cifar10-jpeg75",
)


@pytest.fixture(scope="module", params=PUBLISHED)
def folder(request: pytest.FixtureRequest) -> Folder:
    return fetch(request.param)


@pytest.fixture(scope="module", params=SMALLEST.values())
def smallest(request: pytest.FixtureRequest) -> Folder:
    return fetch(request.param)


@pytest.fixture(scope="module")
def model(smallest: Folder) -> zoo.Model:
    return zoo.load(smallest.config.name)


@pytest.fixture(scope="module")
def in_torch(smallest: Folder) -> zoo.Model:
    return zoo.load(smallest.config.name, backend="torch")


def images(folder: Folder, count: int) -> np.ndarray:
    return np.random.default_rng(7).random((count, *folder.config.input_shape), dtype=np.float32)


def test_something_is_published():
    assert PUBLISHED
    assert {path.parent.name for path in (CHECKOUT / "model_cards").glob("*/SHA256SUMS")} == set(PUBLISHED)


def test_the_pages_are_what_the_records_render_to():
    for path, text in pages(shelf()).items():
        assert path.read_text() == text


def test_the_leaderboard_begins_with_the_best_model_for_each_epsilon():
    table = (CHECKOUT / "model_cards" / "README.md").read_text().split("\n\n## ")[1]
    named = {
        tuple(line.split(" | ")[1:3]): line.split("](")[0].split("[")[1] for line in table.splitlines() if "](" in line
    }
    for (norm, epsilon), name in named.items():
        like = [entry for entry in ENTRIES.values() if (entry.dataset, entry.norm) == (ENTRIES[name].dataset, norm)]
        assert ENTRIES[name].vra[epsilon] == max(entry.vra[epsilon] for entry in like if entry.vra)


def test_the_pictures_of_a_card_are_as_near_as_it_says(folder: Folder):
    config = folder.config
    epsilon, found = (
        ENTRIES[config.name].epsilon,
        changes(config.input_shape, config.norm, ENTRIES[config.name].epsilon),
    )
    assert bool(found) == ("distance.png" in folder.digests) == (config.dataset != "two-moons")
    if not found:
        return
    with Image.open(folder.path / "distance.png") as picture:
        canvas = np.asarray(picture).reshape(picture.height, picture.width, -1) / 255
    channels, height, width = config.input_shape
    scale = canvas.shape[0] // height
    starts = [index * (scale * width + GAP) for index in range(len(found) + 1)]
    first, *others = (canvas[::scale, start : start + scale * width : scale] for start in starts)
    for other in others:
        change = np.abs(other - first).ravel()
        distance = change.max() if config.norm == "linf" else np.linalg.norm(change)
        assert 0.95 * parse_epsilon(epsilon) < distance <= parse_epsilon(epsilon) * (1 + 1e-12)
    assert first.shape == (height, width, channels)


def test_models_of_one_network_stand_side_by_side():
    def same(name: str) -> tuple[object, ...]:
        entry = ENTRIES[name]
        return entry.architecture, entry.dataset, entry.norm

    board = (CHECKOUT / "model_cards" / "README.md").read_text()
    tables = [part.split("\n\n")[1] for part in board.split("The same network, trained otherwise")[1:]]
    beside = [{line.split("](")[0].removeprefix("| [") for line in table.splitlines()[2:]} for table in tables]
    pairs = [{one, other} for one, other in itertools.combinations(PUBLISHED, 2) if same(one) == same(other)]
    assert pairs
    assert set().union(*beside) == set().union(*pairs)
    assert all(any(pair <= names for names in beside) for pair in pairs)


@pytest.mark.slow
def test_the_pictures_are_there_and_drawn_the_same_twice():
    drawn = pictures(shelf())
    again = pictures([folder for folder in shelf() if folder.config.dataset == "mnist"])
    assert {"curves-mnist.png", "scatter-mnist.png"} == again.keys()
    assert again.items() <= drawn.items()
    assert {path.name for path in (CHECKOUT / "model_cards").glob("*.png")} == set(drawn)


def test_the_list_has_the_numbers_of_the_leaderboard(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    run = Zoo(monkeypatch, capsys)
    board = json.loads((CHECKOUT / "model_cards" / "leaderboard.json").read_text())["models"]
    listed = {row["name"]: row for row in json.loads(run("list", "--pretrained", "--json").out)}
    assert set(listed) == {row["name"] for row in board} == set(PUBLISHED)
    fields = ("dataset", "norm", "parameters", "clean_accuracy", "vra")
    assert all(listed[row["name"]][field] == row[field] for row in board for field in fields)
    lines = run("list", "--pretrained").out.splitlines()
    for row in board:
        line = next(line for line in lines if line.startswith(f"{row['name']} "))
        assert f"{100 * row['clean_accuracy']:.2f} %" in line
        epsilon = ENTRIES[row["name"]].epsilon
        assert f"{100 * row['vra'][epsilon]:.2f} % {epsilon:>6}" in line


def test_a_row_beside_a_paper_says_by_how_much_and_why(folder: Folder):
    (row,) = rows([folder])
    paper, evaluation = row["paper"], folder.evaluation
    if paper is None:
        pytest.skip("stands for no published row")
    assert paper["differences"] or folder.config.recipe["name"] == paper["model"]  # where a run is the row's own
    if paper["epsilon"] in evaluation.vra:
        ours = Decimal(str(evaluation.vra[paper["epsilon"]])) * 100
        assert Decimal(str(paper["vra_difference"])) == ours - Decimal(str(paper["vra"]))


def test_no_attack_leaves_less_than_is_certified(folder: Folder):
    evaluation = folder.evaluation
    assert set(evaluation.pgd_accuracy) == set(evaluation.vra)
    assert evaluation.attacked_vra(ENTRIES[folder.config.name].epsilon) > 0
    for epsilon, rate in evaluation.pgd_accuracy.items():
        assert evaluation.attacked_vra(epsilon) <= rate


def test_the_papers_headline_model_is_exact_and_says_that_it_has_no_weights():
    name = "liresnet-l12w588-imagenet"
    with pytest.raises(UnpublishedModelError, match=f"python -m training {name} .* load 'local-dir:runs/{name}"):
        zoo.load(name)
    with torch.device("meta"):
        network = zoo.load(name, backend="torch", pretrained=False)
    assert sum(weight.numel() for weight in network.parameters()) == ENTRIES[name].parameters
    assert (find(name).epochs, find(name).batch_size) == (400, 1024)


def test_what_is_proved_again_has_every_layer_method_and_composition():
    def steps(name: str) -> set[tuple[str, ...]]:
        folder = fetch(name)
        certificate, norm = folder.certificate, folder.certificate.norm
        with torch.device("meta"):
            kinds = {type(layer).__name__ for layer in folder.architecture.network().modules()}
        methods = {(norm, layer.kind, layer.method) for layer in certificate.layers}
        return {(norm, kind) for kind in kinds} | methods | {(norm, certificate.composition)}

    missing = set().union(*map(steps, PUBLISHED)) - set().union(*map(steps, PROVED))
    assert not missing, "enter a model that has it in PROVED"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "2c2f-mnist" else pytest.mark.slow) for name in PROVED]
)
def test_the_certificate_is_proved_again(name: str, monkeypatch: pytest.MonkeyPatch):
    """And the graphs of the two inside the package exported again; `make models-check` does it for all."""
    if name not in EMBEDDED:
        monkeypatch.setattr("zoo.publication.verify._graph_differences", lambda folder: ())
    assert verify(fetch(name)) == []


def test_the_card_renders_to_the_same_bytes(folder: Folder):
    card = render(folder.config, folder.certificate, folder.evaluation)
    assert (folder.path / "README.md").read_bytes() == card.encode()


def test_a_graph_that_differs_in_words_only_is_a_difference(tmp_path: Path):
    folder = fetch("2c2f-mnist")
    shutil.copytree(folder.path, tmp_path, dirs_exist_ok=True)
    graph = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    graph.graph.doc_string = "as good as the other"
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    digest = hashlib.sha256((tmp_path / "model.onnx").read_bytes()).hexdigest()
    changed = dataclasses.replace(folder, path=tmp_path, digests={**folder.digests, "model.onnx": digest})
    assert any("model.onnx" in line for line in verify(changed))


def test_both_runtimes_agree_to_1e_12(smallest: Folder, model: zoo.Model, in_torch: zoo.Model):
    batch = images(smallest, 16)
    ours, theirs = model.outputs(batch), in_torch.outputs(batch)
    assert (ours.label == theirs.label).all()
    np.testing.assert_allclose(ours.radius, theirs.radius, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(ours.class_radii, theirs.class_radii, rtol=1e-12, atol=1e-15)


def test_the_defaults_of_onnx_runtime_give_the_same_bits_as_our_session(smallest: Folder):
    """Whoever opens `model.onnx` with ONNX Runtime's defaults gets the radii that were proved.

    Without any optimisation nothing is folded, and a product with a matrix that is computed in the run may be added up
    in another order than one with a constant: LipConvNets differ in a last bit there, which the proof allows.
    """
    batch, levels = images(smallest, 2), onnxruntime.GraphOptimizationLevel
    answers = {}
    for level in (levels.ORT_DISABLE_ALL, levels.ORT_ENABLE_BASIC, levels.ORT_ENABLE_ALL):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level, options.intra_op_num_threads = level, 1
        session = onnxruntime.InferenceSession(smallest.path / "model.onnx", options, ["CPUExecutionProvider"])
        answers[level] = Outputs(*session.run(list(Outputs._fields), {"images": batch}))
    unfolded, ours, default = answers.values()
    assert [value.tobytes() for value in default] == [value.tobytes() for value in ours]
    assert (unfolded.label == ours.label).all()
    np.testing.assert_allclose(unfolded.radius, ours.radius, rtol=1e-12, atol=1e-14)


def test_batches_and_threads_agree_within_the_proved_slack(smallest: Folder, in_torch: zoo.Model):
    batch = images(smallest, 16)
    slack = in_torch.module.slack  # type: ignore[union-attr]
    tolerance = float(slack[torch.isfinite(slack)].min()) / 2  # the margin's error at one point
    reference = None
    for threads in (1, 2):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(smallest.path / "model.onnx", options, ["CPUExecutionProvider"])
        whole = Outputs(*session.run(None, {"images": batch}))
        single = Outputs(*session.run(None, {"images": batch[:1]}))
        reference = reference or whole
        assert (whole.label == reference.label).all()
        margins = whole.logits[:, :1] - whole.logits
        assert np.abs(margins - (reference.logits[:, :1] - reference.logits)).max() <= tolerance
        first = single.logits[:, :1] - single.logits
        assert np.abs(first - margins[:1]).max() <= tolerance


def test_the_float32_graph_estimates_and_never_certifies(smallest: Folder, model: zoo.Model):
    batch, fast = images(smallest, 16), zoo.load(smallest.config.name, precision="float32")
    np.testing.assert_allclose(fast.outputs(batch).radius, model.outputs(batch).radius, rtol=1e-3, atol=1e-4)
    assert not any(prediction.certified for prediction in fast.predict(batch, epsilon=0))


def test_a_flipped_bit_is_refused(smallest: Folder, tmp_path: Path):
    copy = shutil.copytree(smallest.path, tmp_path / smallest.path.name)
    for name in FILES:
        content = (copy / name).read_bytes()
        middle = len(content) // 2
        (copy / name).write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        with pytest.raises(ZooError, match=name):
            read_folder(copy)
        (copy / name).write_bytes(content)
    read_folder(copy)


def test_a_forward_pass_ten_times_at_the_certified_radius_keeps_its_label(smallest: Folder, model: zoo.Model):
    """A smoke test only: random directions are no attack. `tests/soundness` has the tests that can fail."""
    batch = images(smallest, 4) * 0.5 + 0.25
    before = model.outputs(batch)
    for seed in range(10):
        noise = np.random.default_rng(seed).standard_normal(batch.shape)
        noise *= (before.radius / np.sqrt(np.square(noise).sum(axis=(1, 2, 3))))[:, None, None, None]
        moved = np.clip(batch + noise, 0, 1).astype(np.float32)
        assert (model.outputs(moved).label == before.label).all()
