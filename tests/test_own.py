"""A data set of somebody's own, from pictures in a folder to a published model that knows their names."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import onnx
import pytest
import yaml

import zoo
from export.__main__ import main as export_command
from export.publish import publish, unfinished
from tests.cli.command import Zoo
from tests.once import once
from tests.shapes import SHAPES, draw_shapes
from tests.short import shorten
from training import train
from training.__main__ import main as training_command
from training.own import own_data, own_recipe
from training.plan import plan
from zoo.bounds import convolution
from zoo.cli.shell import run_script
from zoo.data.datasets import dataset_of
from zoo.epsilon import parse_epsilon
from zoo.errors import InputError
from zoo.publication.card import render
from zoo.publication.folder import Folder, read_folder
from zoo.publication.verify import verify

TORUS = (convolution, "DENSE_COST", 1e8)  # the exact norm takes seconds, and tests/soundness has it


@pytest.fixture(autouse=True)
def torus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*TORUS)


def make(folder: Path) -> None:
    """Two runs of a small network on nine pictures: `measured` on three others, and `unmeasured`."""
    draw_shapes(folder / "My shapes", 3)
    draw_shapes(folder / "test", 1, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        patch.setattr(*TORUS)
        for name, test in (("measured", folder / "test"), ("unmeasured", None)):
            run, options = folder / name, {"license": "cc-by-4.0", "epsilon": "0.3"} if test else {"name": "other"}
            assert train("2c2f", run, data=folder / "My shapes", test=test, size=28, epochs=2, **options)
            publish(run, attack_images=2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return once(tmp_path_factory, "own", make)


@pytest.fixture
def zoo_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Zoo:
    return Zoo(monkeypatch, capsys)


def published(runs: Path, name: str) -> Folder:
    return read_folder(runs / name / "published")


def test_names_and_licence_travel_into_every_record(runs: Path):
    folder = published(runs, "measured")
    config = folder.config
    assert (config.name, config.dataset, config.license) == ("2c2f-my-shapes", "my-shapes", "cc-by-4.0")
    assert config.labels == SHAPES
    assert config.input_shape == (3, 28, 28)
    for precision in ("float64", "float32"):
        graph = onnx.load(folder.graph(precision), load_external_data=False)
        metadata = {entry.key: entry.value for entry in graph.metadata_props}
        assert json.loads(metadata["labels"]) == list(SHAPES)
        assert (metadata["dataset"], metadata["license"]) == ("my-shapes", "cc-by-4.0")
    assert (folder.evaluation.dataset, folder.evaluation.split, folder.evaluation.images) == ("my-shapes", "test", 3)
    assert list(folder.evaluation.vra) == ["36/255", "72/255", "0.3", "108/255", "1.0"]
    assert "It was made for 0.3;" in folder.read("README.md").decode()
    card = folder.read("README.md").decode()
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "cc-by-4.0"
    assert front["model-index"][0]["results"][0]["dataset"]["name"] == "my-shapes"
    assert "The classes are circle, square, triangle." in card
    assert (
        "`python -m training 2c2f --output runs/2c2f-my-shapes --epochs 2 --data 'My shapes' --test test --name "
        "my-shapes --license cc-by-4.0 --size 28 --epsilon 0.3`" in card
    )
    assert str(runs) not in card + folder.read("config.json").decode()  # paths of a machine are nobody's business


def test_the_folder_verifies_loads_and_answers_by_name(runs: Path, zoo_command: Zoo):
    folder = published(runs, "measured")
    assert verify(folder) == []
    model = zoo.load(f"local-dir:{folder.path}")
    assert model.predict(str(runs / "test" / "circle" / "0000.png")).name in SHAPES
    shown = zoo_command("predict", f"local-dir:{folder.path}", runs / "test" / "circle")
    assert shown.code == 0
    result = zoo_command("evaluate", f"local-dir:{folder.path}", runs / "test")
    assert result.code == 0
    assert "3 of test, folder" in result.out
    assert dataset_of(folder.config).labels == SHAPES


def test_without_test_pictures_nothing_is_measured_and_everything_says_so(runs: Path, zoo_command: Zoo):
    folder = published(runs, "unmeasured")
    assert (folder.config.name, folder.config.license) == ("2c2f-other", "unknown")
    assert not folder.evaluation.measured
    assert folder.evaluation.vra == {}
    card = folder.read("README.md").decode()
    assert "Not measured: there was no test set." in card
    assert "model-index" not in card
    assert render(folder.config, folder.certificate, folder.evaluation) == card
    source = f"local-dir:{folder.path}"
    assert "Not measured: there was no test set." in zoo_command("info", source).out
    shown = " ".join(zoo_command("predict", source, runs / "test" / "circle").out.split())
    assert "how often it is was not measured: there was no test set." in shown
    assert verify(folder) == []


def test_a_run_that_was_stopped_goes_on_with_its_data(runs: Path, tmp_path: Path, quick):
    options = {"data": runs / "My shapes", "test": runs / "test", "size": 28, "epochs": 2, "license": "cc-by-4.0"}
    options |= {"epsilon": 0.3}
    train("2c2f", tmp_path / "run", steps=1, **options)
    train("2c2f", tmp_path / "run", resume=True, **options)
    whole = runs / "measured" / "weights.safetensors"
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == whole.read_bytes()
    with pytest.raises(InputError, match="describes another run"):
        train(
            "2c2f", tmp_path / "run", resume=True, **{**options, "data": draw_shapes(tmp_path / "My shapes", 2, seed=2)}
        )


def test_export_of_an_unfinished_run_names_the_command_that_goes_on(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], quick
):
    run = tmp_path / "a run"
    train("2c2f", run, data=runs / "My shapes", size=28, epochs=2, steps=1)
    monkeypatch.setattr("export.publish.publish", lambda *arguments: published(runs, "measured"))
    capsys.readouterr()
    export_command(run, attack_images=0)
    (line,) = capsys.readouterr().err.splitlines()
    told, command, rest = line.split("`")
    assert (told, rest) == (f"{run} is unfinished, at epoch 1 of 2: ", " goes on")
    monkeypatch.setattr(sys, "argv", shlex.split(command)[2:])
    with pytest.raises(SystemExit) as end:
        run_script(training_command, "python -m training")
    assert end.value.code == 0
    assert unfinished(run) == ""
    capsys.readouterr()
    export_command(run, attack_images=0)
    assert capsys.readouterr().err == ""


def test_small_data_take_many_passes_and_large_data_few(runs: Path):
    entry = own_data("liresnet-l4w32", str(runs / "test"))[0].entry
    steps = [own_recipe(entry, images).epochs for images in (60, 500, 5_000, 50_000)]
    assert steps == [1040, 160, 52, 41]
    assert own_recipe(entry, 500).batch_size < own_recipe(entry, 50_000).batch_size


@pytest.mark.parametrize(("network", "refused", "taken"), [("2c2f", "36", "1.58"), ("linfdist-5x256", "8", "8/255")])
def test_an_epsilon_that_was_not_divided_by_255_is_refused(runs: Path, network, refused, taken):
    with pytest.raises(InputError, match=f" {refused} can turn most pictures grey: --epsilon is in pixels from 0 to 1"):
        plan(network, data=runs / "test", epsilon=refused)
    assert plan(network, data=runs / "test", epsilon=taken).recipe.epsilon == parse_epsilon(taken)


def test_pictures_are_brought_to_a_size_of_the_network(runs: Path, tmp_path: Path):
    assert own_data("liresnet-l4w32", str(draw_shapes(tmp_path / "large", 1, side=(70, 99))))[0].input_shape[1] == 64
    assert own_data("liresnet-l4w32", str(draw_shapes(tmp_path / "small", 1, side=(8, 20))))[0].input_shape[1] == 28
    assert own_data("lipconvnet-5w8", str(tmp_path / "small"))[0].input_shape[1] == 32
    assert plan("liresnet-l4w32", data=runs / "test", size=224).summary.endswith(
        "resized to 224 x 224: the certificate speaks of that size"
    )


def test_a_recipe_for_another_data_set_keeps_its_settings(runs: Path):
    planned = plan("2c2f-mnist", data=runs / "test", name="shapes")
    assert (planned.recipe.name, planned.recipe.epsilon, planned.recipe.paper) == ("2c2f-shapes", 0.3, None)
    assert plan("6c2f-cll-cifar10", data=runs / "test", name="shapes").recipe.name == "6c2f-cll-shapes"


def test_the_radius_to_train_for_is_given_to_a_network_alone(runs: Path):
    named = {
        "2c2f": (36 / 255, 1.5 * 36 / 255),
        "2c2f-relu-linf": (2 / 255, 3 / 255),
        "linfdist-5x256": (8 / 255, 8 / 255),
    }
    for network, (usual, trained) in named.items():
        for epsilon, size in ((None, usual), ("0.1", 0.1)):
            recipe = plan(network, data=runs / "test", epsilon=epsilon).recipe
            assert recipe.epsilon == size
            assert recipe.training_epsilon(1.0) == pytest.approx(trained / usual * size)
    thresholds = [
        plan("linfdist-5x256", data=runs / "test", epsilon=size).recipe.loss_options["threshold"] for size in (0.1, 0.2)
    ]
    assert thresholds[1] == pytest.approx(2 * thresholds[0])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"model": "liresnet-l4w32"}, r"is a network: .* is a recipe for it, --data FOLDER trains it"),
        ({"model": "2c2f-mnist", "test": "test"}, "--test needs --data"),
        ({"model": "2c2f-mnist", "data": "test", "size": 32}, "--size is for data of your own: give --name as well"),
        ({"model": "mlp", "data": "test"}, "mlp takes no pictures"),
        ({"model": "liresnet-l4w33", "data": "test"}, "no recipe or network is called 'liresnet-l4w33': did you mean"),
        ({"model": "liresnet-l4w32", "data": "test", "size": 48}, "does not take 48 x 48 pixels: give --size 28 or 32"),
        ({"model": "liresnet-l4w32", "data": "test", "name": "mnist"}, "another --name than 'mnist'.* the zoo knows"),
        ({"model": "liresnet-l4w32", "data": "test", "name": "a b/c"}, "another --name than 'a b/c'"),
        ({"model": "liresnet-l12w512", "data": "test", "name": "ddpm-cifar10"}, "is a registered model"),
        ({"model": "2c2f", "data": "test", "license": "do: what\nyou"}, "is no licence"),
        ({"model": "2c2f-mnist", "epsilon": "0.3"}, "--epsilon needs --data"),
        (
            {"model": "2c2f-mnist", "data": "test", "name": "x", "epsilon": "0.3"},
            "give 2c2f instead of 2c2f-mnist",
        ),
        ({"model": "2c2f", "data": "test", "epsilon": "0"}, "--epsilon must be above 0"),
        ({"model": "2c2f", "data": "test", "epsilon": "wide"}, "must be a number such as 36/255"),
        ({"model": "2c2f", "data": "nothing"}, "no such folder or file"),
        ({"model": "2c2f", "data": "test", "test": "My shapes/circle"}, "is in no class folder"),
        ({"model": "2c2f", "data": "test", "test": "test"}, "3 of the 3 test pictures are training pictures too"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(runs: Path, arguments: dict, line: str):
    places = {key: runs / value for key, value in arguments.items() if key in ("data", "test")}
    with pytest.raises(InputError, match=line) as raised:
        plan(**{**arguments, **places})
    assert "\n" not in str(raised.value)


def test_a_test_set_that_is_gone_is_named(runs: Path, tmp_path: Path, quick):
    test = draw_shapes(tmp_path / "test", 1, seed=2)
    train("2c2f", tmp_path / "run", data=runs / "My shapes", test=test, size=28, steps=1)
    test.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="test: no such folder or file"):
        publish(tmp_path / "run")


@pytest.mark.slow
def test_sixty_pictures_become_a_model_that_calls_a_circle_circle(tmp_path: Path, quick):
    """A smaller network than the README's, and fewer epochs than the 1,040 of so few pictures."""
    data, test = draw_shapes(tmp_path / "shapes", 20), draw_shapes(tmp_path / "test", 20, seed=1)
    assert train("2c2f", tmp_path / "run", data=data, test=test, size=28, epochs=100)
    publish(tmp_path / "run", attack_images=2)
    folder = read_folder(tmp_path / "run" / "published")
    assert verify(folder) == []
    model = zoo.load(f"local-dir:{folder.path}")
    assert model.evaluation.clean_accuracy > 0.75
    answers = [model.predict(str(path)).name for path in sorted((test / "circle").iterdir())]
    assert answers.count("circle") > 12  # of 20; a guess makes 7
