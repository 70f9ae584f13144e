"""The road from a recipe to a prediction, on random images; and what `python -m export` refuses."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file, save_file

import zoo
from export import check
from export.__main__ import main
from export.check import differences
from export.origin import beside, command_of, cost, epochs_made
from export.publish import publish, run_settings
from tests.parquet import make_split
from tests.short import shorten
from tests.toy import FILES
from tests.training.small import narrow, small_network
from training.loop import train
from training.recipes import RECIPES, find
from training.recipes.cll import UNLIKE
from training.start import find_start
from zoo.bounds import convolution
from zoo.cli.shell import run_script
from zoo.data.datasets import DATASETS
from zoo.errors import InputError, UnknownModelError
from zoo.publication.card import render
from zoo.publication.folder import Folder, read_folder
from zoo.publication.picture import PICTURE
from zoo.records import Evaluation
from zoo.registry import ENTRIES, list_models

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(autouse=True)
def torus_for_all_but_the_smallest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact norm of a materialised convolution takes seconds, and tests/soundness has it."""
    monkeypatch.setattr(convolution, "DENSE_COST", 1e8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `data`, and `run`, a run of one step on it."""
    folder = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_DATA", str(folder / "data"))
        shorten(patch)
        make_split(folder / "data", "mnist", 24)
        make_split(folder / "data", "mnist", 24, split="test")
        train(find("2c2f-mnist"), folder / "run", steps=1)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run for one test to publish or damage."""
    monkeypatch.setenv("ZOO_DATA", str(trained / "data"))
    return shutil.copytree(trained / "run", tmp_path / "run")


@pytest.fixture(scope="module")
def published(trained: Path) -> Folder:
    """The run as it is published, to be read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_DATA", str(trained / "data"))
        shorten(patch)
        return publish(trained / "run", trained / "out", limit=None, attack_images=4, command="test")


# One recipe of each kind of network that has no published model, and of three others; how it trains changes nothing on
# this road. What is published went it, and tests/test_models.py proves it again. tests/test_linf.py has those in linf.
OTHERS = {"2c2f-mnist", "2c2f-relu-mnist", "liresnet-l4w32-cifar10-jpeg75"}
WENT = {small_network(name) for name in list_models(pretrained=True)} - OTHERS
NETWORKS = {
    small_network(name): name
    for name, recipe in RECIPES.items()
    if ENTRIES[name].norm == "l2" and not recipe.generated and small_network(name) not in WENT
}


@pytest.mark.slow  # test_presets.py has every network, and the tests below this road with one
@pytest.mark.parametrize(("name", "recipe"), NETWORKS.items(), ids=NETWORKS)
def test_every_small_network_ends_in_a_verified_folder_that_predicts(
    name: str,
    recipe: str,
    write_split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    narrow(name, monkeypatch)
    dataset = ENTRIES[name].dataset
    write_split(dataset, 24)
    write_split(dataset, 24, split=DATASETS[dataset].test_split)
    chosen = replace(find(recipe), name=name, mixed_precision="no")  # a process has one precision
    train(chosen, tmp_path / "run", steps=2)
    folder = publish(tmp_path / "run", tmp_path / "out" / name, limit=None, attack_images=2, command="test")
    said = r"the attack on 2 images takes about \d+ (s|min) at most; --attack-images N shortens it, 0 leaves it out"
    assert re.search(said, capsys.readouterr().out)
    drawn = set() if dataset == "two-moons" else {PICTURE}  # what epsilon is, on one image
    assert {path.name for path in folder.path.iterdir()} == set(FILES) | drawn
    assert list(differences(folder)) == []
    assert folder.evaluation.images == (2000 if dataset == "two-moons" else 24)  # those are made, not read
    model = zoo.load(f"local-dir:{folder.path}")
    images = np.random.default_rng(1).random((3, *model.input_shape), dtype=np.float32)
    predictions = model.predict(images, epsilon="36/255")
    assert [prediction.certified for prediction in predictions] == [p.radius > 36 / 255 for p in predictions]
    assert min(prediction.radius for prediction in predictions) >= 0


def test_publishing_again_replaces_the_folder_and_gives_the_same_card(run: Path, tmp_path: Path):
    first = publish(run, tmp_path / "out", limit=8, attack_images=0, command="test")
    again = publish(run, tmp_path / "out", limit=8, attack_images=0, command="test")
    card = again.read("README.md").decode()
    assert "On the split `test[:8]` it is right" in card
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["model-index"][0]["results"][0]["dataset"]["split"] == "test[:8]"
    for name in ("certificate.json", "model.onnx", "model.float32.onnx", "model.safetensors", "config.json"):
        assert first.digests[name] == again.digests[name]
    assert (tmp_path / "out" / "README.md").read_text() == render(again.config, again.certificate, again.evaluation)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


def test_a_run_without_weights_or_with_anothers_is_refused(run: Path, tmp_path: Path):
    def refused(match: str) -> None:
        with pytest.raises(InputError, match=match):
            publish(run, tmp_path / "out", limit=8, attack_images=0, command="test")

    settings = json.loads((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(json.dumps({**settings, "name": "4c3f-mnist"}))
    refused("does not hold the weights of 4c3f-mnist")
    save_file(load_file(run / "weights.safetensors"), run / "weights.safetensors")
    refused("holds no weights that say how far they were trained")
    (run / "weights.safetensors").write_bytes(b"not safetensors")
    refused("holds no weights")
    assert not (tmp_path / "out").exists()


def test_the_settings_of_another_version_are_told(tmp_path: Path):
    (tmp_path / "recipe.json").write_text('{"name": "2c2f-mnist"}')
    with pytest.raises(
        InputError,
        match="is not what this `python -m training` writes: export it with the version that made it, or train again",
    ):
        run_settings(tmp_path)


def test_a_folder_that_holds_something_else_is_left_alone(run: Path, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="in use"):
        publish(run, tmp_path / "mine", limit=8, attack_images=0, command="test")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"


def test_the_command_says_a_mistake_in_one_line_and_exits_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for run in (tmp_path / "nowhere", tmp_path):
        monkeypatch.setattr(sys, "argv", ["export", str(run)])
        with pytest.raises(SystemExit) as end:
            run_script(main, "python -m export")
        assert end.value.code == 2
        assert re.fullmatch(r"error: [^\n]+\n", capsys.readouterr().err)


def test_graphs_carry_no_paths_of_the_machine(published: Folder):
    for name in FILES:
        content = (published.path / name).read_bytes()
        assert str(Path(zoo.__file__).parents[1]).encode() not in content
        assert b"stack_trace" not in content
    assert json.loads((published.path / "config.json").read_text())["recipe"]["seed"] == 0
    assert read_folder(published.path) == published


def test_a_record_that_the_model_does_not_answer_is_found(
    published: Folder, trained: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = published
    monkeypatch.setenv("ZOO_DATA", str(trained / "data"))
    monkeypatch.setattr(check, "verify", lambda folder: [])

    def found(**changes: object) -> str:
        evaluation = replace(folder.evaluation, **changes)
        return "; ".join(differences(replace(folder, evaluation=evaluation)))

    stored = folder.evaluation
    radii = stored.radii
    assert len(radii) == 24
    assert sum(radii) / 24 == pytest.approx(stored.acr, rel=1e-12)
    assert "not the card" in found(acr=0.5)
    for wrong in ((*radii[:23], radii[23] + 1e-9), (1.0, *radii[1:])):
        assert "is off by" in found(radii=wrong)
    assert "has 24 images and 23 radii, expected 24 and 24" in found(radii=radii[:23])
    assert "has 48 images and 24 radii, expected 24 and 24" in found(images=48)
    assert "of mnist, test[:24], expected mnist, test" in found(split="test[:24]")
    assert "measured on data of sha256 another" in found(revision="another")
    assert "leaves fewer images right than are certified" in found(radii=(1.0,) * 24, pgd_accuracy={"0.3": 0.75})
    off = 1 / 24  # one image
    for changes, what in (
        ({"clean_accuracy": stored.clean_accuracy + off}, "clean accuracy"),
        ({"vra": {**stored.vra, "0.3": stored.vra["0.3"] + off}}, "VRA at 0.3 is"),
        ({"acr": stored.acr + 1e-6}, "ACR"),
        ({"curve": ((0.0, stored.curve[0][1] + off), *stored.curve[1:])}, "the curve at 0.0 is"),
        ({"curve": stored.curve[:-1]}, "the curve at"),
        ({"curve": stored.curve[:1]}, "the curve at 0.05 is 0.0"),
        ({"curve": (*stored.curve[:1], (0.07, off))}, "the epsilons of its curve"),
    ):
        assert f"evaluation.json: {what}" in found(**changes)


def test_the_first_images_bound_the_rates_of_all():
    stored = Evaluation("mnist", "test", "", 10, 0.9, {"0.3": 0.5}, 0.25, ((0.0, 0.9), (0.05, 0.8)), 1.0, "", "")
    grid = [0.0, 0.05, 0.5]

    def wrong(**changes: object) -> list[str]:
        right, radii = np.array([True, True, False, True]), np.array([0.4, 0.2, 0.4, 0.3])
        return [line.split(",")[0] for line in check.wrong_rates(replace(stored, **changes), grid, right, radii, 1e-12)]

    assert wrong() == []
    assert wrong(vra={"0.3": 0.1}) == wrong(vra={"0.3": 0.8}) == []  # one or two of four, of six no one knows
    assert wrong(vra={"0.3": 0.9}) == ["VRA at 0.3 is 0.9"]
    assert wrong(vra={"0.3": 0.0}) == ["VRA at 0.3 is 0.0"]
    assert wrong(clean_accuracy=0.2) == ["clean accuracy 0.2"]
    assert wrong(clean_accuracy=1.0) == ["clean accuracy 1.0"]
    assert wrong(acr=0.08) == ["ACR 0.08"]  # 0.9 is the sum of the first
    assert wrong(acr=9.0) == ["ACR 9.0"]


def test_a_folder_that_the_registry_does_not_have(toy: Path):
    folder = read_folder(toy)
    assert "not what `python -m export.cards` writes" in "".join(check.unpinned(folder))
    unpublished = replace(folder, config=replace(folder.config, name="liresnet-l12w588-imagenet"))
    assert list(check.unpinned(unpublished)) == [
        "published.json: has no such model, `python -m export.cards` enters it"
    ]
    with pytest.raises(UnknownModelError, match="no model is called 'mine'"):
        list(check.unpinned(replace(folder, config=replace(folder.config, name="mine"))))


def test_what_a_run_cost_is_read_from_its_metrics(tmp_path: Path):
    assert cost(tmp_path, 10) == {"hours": None, "hardware": None}
    rows = [{"step": 10, "seconds": 1440.0}, {"step": 40, "seconds": 2160.0, "hardware": "a machine"}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert cost(tmp_path, 40) == {"hours": 1.0, "hardware": "a machine"}
    assert cost(tmp_path, 10) == {"hours": 0.4, "hardware": None}  # the later epoch left no weights
    assert cost(tmp_path, 50) == {"hours": None, "hardware": "a machine"}  # 10 steps of an epoch that was not ended


def test_the_row_of_a_paper_and_what_differs_from_it():
    settings = {**find("liresnet-l4w32-cifar10-jpeg75").describe(), "epochs": 5, "seed": 3, "limit": None}
    settings |= {"train_images": 45_000, "validation_images": 5_000}
    row = beside(ENTRIES["liresnet-l4w32-cifar10-jpeg75"], settings)
    assert row
    assert (row["model"], row["clean"], row["vra"], row["epsilon"]) == ("liresnet-l6w128-cifar10", 78.7, 64.4, "36/255")
    assert "data CIFAR-10 re-encoded as JPEG 75, not CIFAR-10" in row["differences"]
    assert {"depth 4, not 6", "width 32, not 128", "epochs 5, not 800"} < set(row["differences"])
    assert {"other training epsilon", "learning rate 0.006, not 0.001", "other augmentation"} < set(row["differences"])
    assert not any(word in line for line in row["differences"] for word in ("input", "loss", "optimizer", "clip"))
    *same, images = row["differences"]
    assert images == "45,000 training images (5,000 more for validation), not 50,000"
    part = beside(ENTRIES["liresnet-l4w32-cifar10-jpeg75"], {**settings, "train_images": 4_000, "data": "mine"})
    assert part
    assert part["differences"] == [
        "data the folder mine, not CIFAR-10",
        *same[1:],
        "4,000 training images (5,000 more for validation, 41,000 unused), not 50,000",
    ]
    assert beside(ENTRIES["loopresnet-d2w8-mnist"], settings) is None


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"optimizer": "adam", "optimizer_options": {}}, "optimizer adam, not adamw"),
        ({"optimizer_options": {"weight_decay": 1e-3}}, "optimizer weight decay 0.001, not by default"),
        ({"loss_options": {"p": 0.1, "weight": 1e-4}}, "loss p 0.1, not 0.3"),
        ({"clip_norm": 3.0}, "clip norm 3, not none"),
        ({"augment": []}, "no augmentation"),
        ({"generated": {"ratio": 1, "augment": []}}, "added generated images"),
        ({"rate": {"schedule": "Cosine", "warmup": 0.0}}, "other learning rate schedule"),
        ({"training_epsilon": {"schedule": "Points", "points": [[0.0, 0.5]]}}, "training epsilon 0.5, not 0.15"),
    ],
)
def test_every_setting_that_changes_training_is_compared(changes: dict[str, object], difference: str):
    own = {**find("4c3f-cll-cifar10").describe(), "train_images": 45_000, "validation_images": 5_000}
    always = [*UNLIKE, "45,000 training images (5,000 more for validation), not 50,000"]
    for settings, expected in ((own, always), ({**own, **changes}, [difference, *always])):
        row = beside(ENTRIES["4c3f-cll-cifar10"], settings)
        assert row
        assert row["differences"] == expected


def test_the_images_of_a_row_that_kept_some_for_validation_are_the_same():
    settings = {**find("4c3f-relu-crm-mnist").describe(), "train_images": 54_000, "validation_images": 6_000}
    row = beside(ENTRIES["4c3f-relu-crm-mnist"], settings)
    assert row
    assert row["differences"] == ["the rate decays by the step, not by the epoch"]


def test_of_a_row_whose_settings_are_not_known_only_data_and_sizes_are_compared():
    settings = {**find("linfdist-mlp-5x256-mnist").describe(), "train_images": 60_000, "validation_images": 0}
    row = beside(ENTRIES["linfdist-mlp-5x256-mnist"], settings)
    assert row
    assert row["differences"] == ["width 256, not 5120", "the row's own settings are not known"]


def test_the_command_has_what_is_not_the_recipes_own():
    settings = {**find("2c2f-mnist").describe(), "seed": 0, "limit": None, "data": None}
    assert command_of(settings) == "python -m training 2c2f-mnist --output runs/2c2f-mnist"
    assert command_of({**settings, "epochs": 5, "seed": 3}).endswith("/2c2f-mnist --epochs 5 --seed 3")
    assert command_of({**settings, "limit": 9, "data": "my images"}, 7).endswith(
        " --limit 9 --data 'my images' --steps 7"
    )


def test_epochs_are_those_that_were_made():
    assert epochs_made(60, 25, 1080) == 1.39
    assert str(epochs_made(60, 36, 1080)) == "2"
    assert str(epochs_made(60, 1080, 1080)) == "60"


def test_a_run_that_was_stopped_is_not_called_whole(tmp_path: Path):
    train(find("mlp-two-moons"), tmp_path / "run", steps=25)
    folder = publish(tmp_path / "run", tmp_path / "out", limit=8, attack_images=0, command="test")
    recipe = folder.config.recipe
    assert recipe["epochs"] == 1.39
    assert recipe["command"].endswith("/mlp-two-moons --steps 25")
    assert "epochs 1.39, not 60" in recipe["paper"]["differences"]


def test_a_run_that_goes_on_from_a_model_begins_half_way_and_says_so(tmp_path: Path):
    recipe, start = find("mlp-two-moons"), find_start("mlp-two-moons")
    train(recipe, tmp_path / "run", steps=18, start=start)
    metrics = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert metrics["learning_rate"] == recipe.learning_rate * recipe.rate(0.5 + 0.5 * 18 / 1080)
    assert metrics["epsilon"] == recipe.training_epsilon(0.5 + 0.5 * 17 / 1080)
    folder = publish(tmp_path / "run", tmp_path / "out", limit=8, attack_images=0, command="test")
    config, before = folder.config, start.folder.config.took("epochs")
    assert config.recipe["schedules_from"] == 0.5
    assert config.recipe["command"].endswith(" --init mlp-two-moons --steps 18")
    assert config.took("epochs") == 1 + before
    differences = config.recipe["paper"]["differences"]
    assert f"begun with the weights of mlp-two-moons, trained for {before} epochs" in differences
    weights = start.folder.certificate.weights_sha256
    card = (folder.path / "README.md").read_text()
    assert f"weights of `mlp-two-moons` with sha256\n`{weights}`, after {before} epochs" in card


def test_every_row_of_a_paper_is_of_the_same_norm_and_data_and_has_a_recipe_where_settings_are_known():
    for name, recipe in RECIPES.items():
        if recipe.paper:
            row, ours = ENTRIES[recipe.paper.model], ENTRIES[name]
            assert (row.norm, row.dataset) == (ours.norm, ours.dataset.removesuffix("-jpeg75"))
            if recipe.paper.settings_known:
                assert RECIPES[recipe.paper.model].paper == recipe.paper
