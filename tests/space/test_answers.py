"""Attack, plots and texts, without a server."""

from __future__ import annotations

import ast
import dataclasses
import io
import runpy
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="needs the extra [space]")
with warnings.catch_warnings():  # of Gradio's own, when it is imported
    warnings.simplefilter("ignore")
    pytest.importorskip("gradio", reason="needs the extra [space]")

import zoo
import zoo.layers
from tests.space.conftest import ROOT, SAMPLES
from zoo.publication.folder import Folder, read_folder

COLOUR, GREY = "liresnet-l4w32-cifar10-jpeg75", "2c2f-mnist"


@pytest.mark.slow
def test_without_torch_all_but_the_attack_works():
    """And with it, nothing loads it before the first attack."""
    script = (
        "import importlib.util as util, sys; find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "import space.app\n"
        "config = str(space.app.page().get_config_file())\n"
        "print('Attacks need PyTorch' in config, \"'attack'\" in config, \"'certify'\" in config)\n"
        "answer = space.answers.answer(space.app.SAMPLE_FOLDER / 'airplane.png', space.app.DEFAULT)\n"
        "try: space.attack.attack(answer, 1.0)\n"
        "except space.tabs.ZooError as error: print(error)\n"
        "print(sorted({'torch', 'onnx', 'training', 'export'} & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    words, attack, loaded = run.stdout.splitlines()
    assert words == "True False True"
    assert "this needs torch" in attack
    assert loaded == "[]"


def test_make_space_brings_torch_and_opens_the_page():
    made = subprocess.run(["make", "-nB", "space"], cwd=ROOT, capture_output=True, text=True).stdout
    assert "-e '.[space,torch]'" in made
    assert "-m space.app --open" in made


@pytest.mark.parametrize(
    ("platform", "environment", "shown"),
    [
        ("linux", {}, False),
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("darwin", {}, True),
        ("darwin", {"SSH_CONNECTION": "here there"}, False),
    ],
)
def test_a_browser_is_opened_where_it_is_seen(
    platform: str, environment: dict[str, str], shown: bool, monkeypatch: pytest.MonkeyPatch
):
    from space import app

    launched: dict[str, Any] = {}
    monkeypatch.setattr(app, "page", lambda: SimpleNamespace(launch=lambda **options: launched.update(options)))
    monkeypatch.setattr(app, "routes", list)
    monkeypatch.setattr("os.environ", environment)
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO()))
    app.main(show=True)
    assert launched["inbrowser"] is shown
    app.main(show=False)
    assert launched["inbrowser"] is False


def test_without_its_runtime_the_page_in_the_browser_is_not_offered(monkeypatch: pytest.MonkeyPatch):
    from space import app

    for there in (True, False):
        monkeypatch.setattr(app, "BROWSER", there)
        assert ("(browser/)" in app.introduction()) == there


def test_an_example_keeps_a_model_that_suits_it():
    from space.answers import suited

    other = "liresnet-l6w128-cifar10-jpeg75"
    assert [suited("cifar10", name) for name in (COLOUR, other, GREY)] == [COLOUR, other, COLOUR]
    assert [suited("mnist", name) for name in (COLOUR, "4c3f-mnist", GREY)] == [GREY, "4c3f-mnist", GREY]


@pytest.mark.slow
def test_the_examples_are_what_their_models_say():
    """All but two at most: a drawn digit is none of MNIST's."""
    from space.answers import SAMPLES as EXAMPLES

    wrong = []
    for model, pictures in EXAMPLES.values():
        answers = zoo.load(model).predict([SAMPLES / f"{picture}.png" for picture in pictures])
        said = [answer.name for answer in answers]
        wrong += [
            picture
            for picture, name in zip(pictures, said, strict=True)
            if name != picture.removeprefix("digit-").replace("-", " ")
        ]
    assert len(wrong) <= 2, wrong
    assert {name for _, pictures in EXAMPLES.values() for name in pictures} == {path.stem for path in SAMPLES.glob("*")}


@pytest.mark.parametrize(
    "link",
    [
        "#x",
        "#model=local-dir:/etc&epsilon=0.1&picture=",
        "#model=2c2f-mnist&epsilon=-1&picture=",
        "#model=2c2f-mnist&epsilon=1&picture=bm8=",
        "#model=2c2f-mnist&epsilon=1&picture=%",
        "#" + "model=2c2f-mnist&" * 9,
    ],
)
def test_a_link_that_is_none_is_refused(link: str):
    from space import tabs

    with pytest.raises(tabs.ZooError):
        tabs.shared(link)


def test_space_imports_zoo_and_nothing_else_of_ours():
    for path in (ROOT / "space").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & {"training", "export", "tests"}, path


@pytest.mark.parametrize(("name", "picture"), [(COLOUR, "ship"), (GREY, "digit-3")])
def test_the_path_of_an_attack_keeps_its_word(name: str, picture: str):
    torch = pytest.importorskip("torch")
    from space import answers
    from space.attack import attack
    from zoo.attacks import distances

    answer = answers.answer(SAMPLES / f"{picture}.png", name)
    radius = answer.prediction.radius
    path = attack(answer, 1.2 * radius)
    assert path[0].size == 0
    assert np.array_equal(path[0].image, answer.image)
    assert path[-1].margin < 0.8 * path[0].margin  # it is an attack
    for point in path:
        assert point.size <= 1.2 * radius * (1 + 1e-5)
        there, start = (torch.from_numpy(image)[None] for image in (point.image, answer.image))
        assert point.size == float(distances(there, start, "l2"))
        assert 0 <= point.image.min() <= point.image.max() <= 1
        assert point.margin >= point.floor  # what is proved holds, with no tolerance
        if point.size <= radius:
            assert point.margin > 0
            assert zoo.load(name).predict(point.image).index == answer.prediction.index


def test_a_name_is_escaped_and_a_radius_is_rounded_down():
    from space import answers, words

    answer = answers.answer(SAMPLES / "ship.png", COLOUR)
    changed = dataclasses.replace(answer.prediction, name="<b>", radius=0.99999)
    answer = dataclasses.replace(answer, prediction=changed)
    shown = (
        words.verdict(answer, 0.1, 1.6),
        words.compared([answer]),
        words.distances(answer, 0.1),
        words.problem("<b>"),
    )
    assert not any("<b>" in text for text in shown)
    assert "certified radius 0.9999<" in shown[1]
    assert 'data-radius="0.99999"' in shown[0]


def test_what_an_attack_shows_is_what_it_found():
    from space import answers, words
    from space.attack import Point

    answer = answers.answer(SAMPLES / "ship.png", COLOUR)
    radius = answer.prediction.radius
    inside, outside = (Point(answer.image, factor * radius, 1.0, 0.0) for factor in (0.9, 1.1))
    assert "still <b>ship</b>, as proved" in words.attacked(answer, inside, "ship")
    assert "another may not" in words.attacked(answer, outside, "ship")
    assert "now <b>cat</b>" in words.attacked(answer, outside, "cat")
    assert "contradicts the certificate" in words.attacked(answer, inside, "cat")


@pytest.mark.slow
def test_the_folder_to_push_answers_by_itself(tmp_path: Path):
    if not (ROOT / "space" / "static" / "ort").is_dir():
        pytest.skip("needs ONNX Runtime Web: make static, which needs npm")
    subprocess.run([sys.executable, "-m", "space.folder", str(tmp_path / "pushed")], cwd=ROOT, check=True)
    pushed = tmp_path / "pushed"
    assert "app_file: app.py" in (pushed / "README.md").read_text()
    assert "torch" not in (pushed / "requirements.txt").read_text()
    script = (
        "import zoo, space.app; print(zoo.__file__); space.app.page(); "
        "print(sum(map(len, space.answers.samples().values())))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=pushed)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [str(pushed / "zoo" / "__init__.py"), "18"]


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")  # it was imported by other tests
@pytest.mark.parametrize("module", ["space.app", "space.folder", "benchmarks.losses", "benchmarks.bounds"])
def test_arguments_are_read(module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys, "argv", [module, "--x"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module(module, run_name="__main__")
    assert end.value.code == 2
    assert capsys.readouterr() == ("", f"error: No such option: --x. See `python -m {module} --help`.\n")


def test_the_committed_pictures_are_small():
    assert sum(path.stat().st_size for path in SAMPLES.glob("*.png")) < 30_000


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The source of a model that nobody measured, offered as `python -m space.app FOLDER` offers it."""
    torch = pytest.importorskip("torch", reason="needs the extra [torch]")
    from space import answers, app

    torch.manual_seed(0)
    layers = zoo.layers.Pixels([0.5] * 3, [2.0] * 3), torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 3)
    network = torch.nn.Sequential(*layers).requires_grad_(False).eval()
    zoo.publish(network, tmp_path / "shapes", (3, 32, 32), ("circle", "square", "triangle"), name="shapes")
    monkeypatch.setattr(answers, "_added", {})
    monkeypatch.setattr(answers, "folder", cache(answers.folder.__wrapped__))  # which knows no other test's folder
    monkeypatch.setattr(app, "page", lambda: SimpleNamespace(launch=lambda **options: None))
    app.main([str(tmp_path / "shapes")])
    return "shapes"


def test_a_model_of_ones_own_is_shown_like_any_other(own: str, capfd: pytest.CaptureFixture[str]):
    from space import answers, tabs, uploads

    upload = {"path": str(SAMPLES / "ship.png")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploads, "get_upload_folder", lambda: str(SAMPLES))
        verdict, distances = tabs.show_certify(upload, own, 0.1)
        said, curve = tabs.show_comparison(upload, own, COLOUR)
        outcome, path = tabs.show_attack(upload, own, 0.1, lambda *_, **options: None)
    assert 'data-accuracy="null"' in verdict
    assert sum(name in verdict + distances for name in ("circle", "square", "triangle")) == 3
    assert f"{own}: " in said
    assert "zoo-plot" in curve
    assert "zoo-plot" in path
    assert "Original: " in outcome
    row = next(row for row in answers.in_browser() if row["name"] == own)
    assert (row["accuracy"], row["epsilon"], row["limit"]) == (None, 36 / 255, 4 * 36 / 255)
    assert answers.record(own)["clean_accuracy"] is None
    assert "not measured" in answers.card(own)


def test_a_model_is_fetched_once(own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A hub may answer with another revision the next time."""
    from space import answers, attack

    def fetch(source: str, cache_dir: object = None) -> Folder:
        raise AssertionError(f"{source} is fetched again")

    monkeypatch.setattr(answers, "fetch", fetch)
    monkeypatch.setattr("zoo.hub.client.fetch", fetch)
    answer = answers.answer(SAMPLES / "ship.png", own)
    assert answer.model.origin
    assert answer.model.origin.digest == answers.folder(own).digest == read_folder(tmp_path / own).digest
    assert len(attack.attack(answer, 0.1)) == attack.SIZES + 1


def test_what_cannot_be_offered_is_told_in_one_line(own: str, tmp_path: Path):
    from space import answers

    with pytest.raises(zoo.ZooError, match="another model here is called shapes"):
        answers.add(f"local-dir:{tmp_path / 'shapes'}")
    with pytest.raises(zoo.ZooError, match="takes no pictures"):
        answers.add("mlp-two-moons")


def client() -> Any:
    """Asks the routes of the app that are not Gradio's."""
    pytest.importorskip("httpx")
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    from space import app

    return TestClient(Starlette(routes=app.routes()))


def test_of_a_folder_the_published_files_are_served_and_nothing_else(own: str, tmp_path: Path):
    from space import answers

    browser, address = client(), f"/browser/models/{own}"
    for name in answers.folder(own).files:
        answer = browser.get(f"{address}/{name}")
        assert answer.content == (tmp_path / own / name).read_bytes()
        assert answer.headers["x-content-type-options"] == "nosniff"
        kept = browser.get(f"{address}/{name}", headers={"if-none-match": answer.headers["etag"]})
        assert (kept.status_code, kept.content) == (304, b"")
    kinds = {
        "config.json": "application/json",
        "README.md": "text/markdown; charset=utf-8",
        "distance.png": "image/png",
    }
    for name, kind in {**kinds, "SHA256SUMS": "text/plain; charset=utf-8"}.items():
        assert browser.get(f"{address}/{name}").headers["content-type"] == kind
    (tmp_path / own / "evil.html").write_text("<script>")
    (tmp_path / own / ".env").write_text("SECRET=1")
    (tmp_path / own / "config.json").write_text("{}")  # no longer what was checked
    for name in ("evil.html", ".env", "config.json", "", "..%2f..%2fapp.py"):
        assert browser.get(f"{address}/{name}").status_code == 404
    assert browser.get("/browser/models/unknown/config.json").status_code == 404


def test_a_snapshot_of_links_as_the_hub_caches_it_is_served(own: str, tmp_path: Path):
    from space import answers, app

    blobs, snapshot = tmp_path / "m" / "blobs", tmp_path / "m" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (tmp_path / own).rename(blobs)
    for blob in blobs.iterdir():
        (snapshot / blob.name).symlink_to(f"../../blobs/{blob.name}")
    answers._added.clear()
    answers.folder.cache_clear()
    app.main([str(snapshot)])
    assert client().get(f"/browser/models/{own}/model.onnx").content == (blobs / "model.onnx").read_bytes()


@pytest.mark.parametrize("name", ["cost $5_$", "$\\frac{$"])
def test_the_name_of_a_class_is_no_formula(name: str):
    from space import answers, plots

    answer = answers.answer(SAMPLES / "ship.png", COLOUR)
    answer = dataclasses.replace(answer, prediction=dataclasses.replace(answer.prediction, name=name))
    assert f"this picture: {name}" in plots.curves([answer, answer])


ROW = {"model": "m", "clean": None, "vra": 1.0, "epsilon": "36/255", "source": "s", "differences": ["d"]}


@pytest.mark.parametrize(
    ("paper", "said"),
    [
        (ROW, "1.00 at 36/255, m"),
        *((other, "none published") for other in (None, "none", ["none"], {"model": "m"}, {**ROW, "vra": "1"})),
        *(({**ROW, "differences": differences}, "none published") for differences in ("none", [1], None)),
    ],
)
def test_a_paper_in_another_form_is_none(paper: Any, said: str):
    from space import answers, board
    from zoo.publication.card import render

    folder = answers.folder(COLOUR)
    config = dataclasses.replace(folder.config, recipe={**folder.config.recipe, "paper": paper})
    assert board._row(dataclasses.replace(folder, config=config), "36/255")[-1] == said
    card = render(config, folder.certificate, folder.evaluation)
    assert ("Published for comparison" in card) == (paper is ROW)
