"""The command line as a user meets it: what it prints in 80 columns, how it ends, and that it shows no traceback."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import replace
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image, ImageOps

import zoo
from zoo import shelves
from zoo.data.samples import digit
from zoo.figures import bound_text, radius_text
from zoo.registry import ENTRIES

from .command import Zoo, names

# A published model of each data set of pictures and norm.
ONE_OF_EACH = {
    (ENTRIES[name].dataset, ENTRIES[name].norm): name
    for name in zoo.list_models(pretrained=True)
    if ENTRIES[name].dataset != "two-moons"
}.values()


class TestList:
    def test_every_model_is_listed_in_80_columns(self, run: Zoo):
        result = run("list")
        assert result.code == 0
        assert all(len(line) <= 80 for line in result.out.splitlines())
        assert all(re.search(rf"^{re.escape(name)} ", result.out, re.MULTILINE) for name in zoo.list_models())

    def test_published_models_come_first(self, run: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        name = "liresnet-l6w64-mnist"
        (tmp_path / name).mkdir()
        monkeypatch.setattr(shelves, "SHELVES", (*shelves.SHELVES, tmp_path))
        monkeypatch.setitem(
            ENTRIES, name, replace(ENTRIES[name], digest="0" * 64, clean_accuracy=0.5, vra={"0.3": 0.25}, epsilon="0.3")
        )
        published = zoo.list_models(pretrained=True)
        assert name in published
        others = [name for name in zoo.list_models() if name not in published]
        assert [row["name"] for row in json.loads(run("list", "--json").out)] == published + others
        listed = [word for word in re.findall(r"^(\S+) ", run("list").out, re.MULTILINE) if word in ENTRIES]
        assert sorted(listed[: len(published)]) == sorted(published)
        assert sorted(listed) == sorted(published + others)

    def test_a_wheel_lists_what_it_can_load_and_what_is_elsewhere(
        self, run: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """What it ships and what the hub's cache has, if that is what the registry pins."""
        shipped, pulled, stale = "2c2f-mnist", "4c3f-mnist", "4c3f-relu-mnist"
        monkeypatch.setattr(shelves, "SHELVES", (tmp_path / "embedded",))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        (tmp_path / "embedded" / shipped).mkdir(parents=True)
        for name in (pulled, stale):
            repository = tmp_path / "hub" / f"models--certified-zoo--{name}"
            for file, text in (("refs/main", "0" * 40), (f"snapshots/{'0' * 40}/SHA256SUMS", name)):
                (repository / file).parent.mkdir(parents=True)
                (repository / file).write_text(text)
        pinned = sha256(pulled.encode()).hexdigest()
        monkeypatch.setitem(ENTRIES, pulled, replace(ENTRIES[pulled], digest=pinned))
        assert zoo.list_models(pretrained=True) == [shipped, pulled]
        elsewhere = sum(entry.digest is not None for entry in ENTRIES.values()) - 2
        for options in ((), ("--pretrained",)):
            out = run("list", *options).out
            assert (stale in out) == (not options)
            assert f"\nPublished elsewhere: {elsewhere}, in a checkout's model_cards/" in out
            assert all(len(line) <= 80 for line in out.splitlines())
        rows = {row["name"]: row for row in json.loads(run("list", "--json").out)}
        assert [(rows[name]["pretrained"], rows[name]["published"]) for name in (shipped, stale)] == [
            (True, True),
            (False, True),
        ]
        assert "no model with weights here matches" in run.fails("list", stale, "--pretrained")
        assert "did you mean 2c2f-mnist, " in run.fails("info", "2c2f-mnis")

    def test_every_row_has_data_set_norm_and_parameters(self, run: Zoo):
        out = run("list").out
        published, others = out.split("without weights")
        for name, entry in ENTRIES.items():
            if entry.digest:  # below its data set
                pattern, text = rf"^{entry.dataset} *\n(\S.*\n)*{re.escape(name)} +{entry.norm} +[\d.]+ [kM]", published
            else:
                pattern, text = rf"^{re.escape(name)} +{entry.dataset} +{entry.norm} +[\d.]+ [kM]", others
            assert re.search(pattern, text, re.MULTILINE), name
        assert f"Models: {len(ENTRIES)}, with weights: {len(zoo.list_models(pretrained=True))}." in out

    def test_families_head_their_models_and_small_comes_before_large(self, run: Zoo):
        lines = [line.split(" ")[0] for line in run("list", "*net-l*w256-cifar10").out.splitlines()]
        names = [line for line in lines if line == "LiResNet" or line.startswith("liresnet")]
        assert names == ["LiResNet", *(f"liresnet-l{depth}w256-cifar10" for depth in (6, 12, 18, 24, 30, 36))]

    def test_patterns_and_json(self, run: Zoo):
        rows = json.loads(run("list", "6c2f*-cifar10", "--json").out)
        assert [row["name"] for row in rows] == zoo.list_models("6c2f*-cifar10")
        (plain,) = (row for row in rows if row["name"] == "6c2f-cifar10")
        assert plain["architecture"]["family"] == "ConvNet"
        pretrained = json.loads(run("list", "--pretrained", "--json").out)
        assert [row["name"] for row in pretrained] == zoo.list_models(pretrained=True)
        assert all(row["clean_accuracy"] > 0 for row in pretrained)
        assert "matches 'nothing*'" in run.fails("list", "nothing*")

    def test_the_best_model_for_an_epsilon_comes_first(self, run: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        chosen = ("list", "--dataset", "cifar10", "--norm", "l2", "--epsilon", "1")  # the copy counts, and 1 is 1.0
        rows = json.loads(run(*chosen, "--json").out)
        rates = [row["vra"]["1.0"] for row in rows]
        assert rates == sorted(rates, reverse=True)
        published = {name for name, entry in ENTRIES.items() if entry.digest and entry.norm == "l2"}
        assert {row["name"] for row in rows} == {name for name in published if "-cifar10-" in name}
        out = run(*chosen).out
        assert re.findall(r"^(\S+) .* now *$", out, re.MULTILINE) == [row["name"] for row in rows]
        assert f"{100 * rates[0]:.2f} %" in out
        assert all(len(line) <= 80 for line in out.splitlines())
        monkeypatch.setattr(shelves, "SHELVES", (tmp_path,))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        assert re.findall(r"^(\S+) .* pull *$", run(*chosen).out, re.MULTILINE) == [row["name"] for row in rows]
        told = run.fails("list", "--epsilon", "0.7")
        assert told == "zoo: no such model was measured at 0.7; nearest: l2 108/255, 0.5; linf 0.1, 0.3\n"
        told = run.fails("list", "--dataset", "mnist", "--norm", "linf", "--epsilon", "1.58")
        assert told.endswith("measured at 1.58; nearest: linf 0.1, 0.3\n")
        assert "no data set is called 'cifar'" in run.fails("list", "--dataset", "cifar")
        assert "--norm must be l2 or linf" in run.fails("list", "--norm", "l1")
        assert "no model matches '*' of two-moons of linf" in run.fails(
            "list", "--dataset", "two-moons", "--norm", "linf"
        )


class TestInfo:
    def test_a_folder(self, run: Zoo, toy: Path):
        result = run("info", names(toy))
        assert result.code == 0
        for text in ("4c3f-mnist", "1 x 28 x 28", "unit", "ACR", "VRA", "50.00 %", "pixels", "1.000000"):
            assert text in result.out
        assert all(len(line) <= 80 for line in result.out.splitlines())

    def test_a_published_model_says_how_it_was_trained(self, run: Zoo):
        assert re.search(
            r"^training +gloro trades for 0\.3, 300 epochs *$", run("info", "2c2f-mnist").out, re.MULTILINE
        )

    def test_a_model_without_weights_shows_the_command_that_trains_it(self, run: Zoo):
        name = next(name for name, entry in ENTRIES.items() if entry.digest is None and entry.has_recipe)
        result = run("info", name)
        assert result.code == 0
        assert "python -m training" in " ".join(result.out.split())

    def test_a_model_without_weights_shows_its_layers_at_full_size(self, run: Zoo):
        pytest.importorskip("torch")
        result = run("info", "liresnet-l12w588-imagenet")
        assert all(len(line) <= 80 for line in result.out.splitlines())
        lines = [" ".join(line.split()) for line in result.out.splitlines()]
        assert "stem Conv2d 3 x 224 x 224 588 x 16 x 16 346,332" in lines
        assert "head Linear 2048 1000 2,049,000" in lines
        assert "parameters 89,344,940" in lines

    def test_without_torch_the_layer_table_is_one_line(self, run: Zoo, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("zoo.errors.find_spec", lambda package: None)
        result = run("info", "sll-xl-cifar10")
        assert (result.code, result.err) == (0, "")
        assert result.out.splitlines()[-1] == (
            "No layer table: this needs torch: run pip install -e '.[torch]' in a checkout"
        )

    def test_an_unknown_name_gets_the_near_ones(self, run: Zoo):
        assert " olsa-ffn-l12w256-cifar10 (no weights here)" in run.fails("info", "olsa-ffn-l12w256-cifar")
        assert "`zoo list` shows all names" in run.fails("info", "@@@")
        assert "no model matches 'vgg*'" in run.fails("list", "vgg*")
        assert "no model matches 'vgg'" in run.fails("list", "vgg", "--json")

    @pytest.mark.parametrize("name", zoo.list_models(pretrained=True))
    def test_published_models(self, run: Zoo, name: str):
        result = run("info", name)
        assert result.code == 0
        assert all(len(line) <= 80 for line in result.out.splitlines())


class TestPredict:
    def test_an_epsilon_that_no_image_can_reach_is_told(self, run: Zoo, toy: Path, pictures: list[Path]):
        assert "farther apart" not in run("predict", names(toy), pictures[0], "--epsilon", "27.9").out
        told = run("predict", names(toy), pictures[0], "--epsilon", "36").out
        assert told.endswith("\nNo two images lie farther apart than 28: epsilon is in pixels of [0, 1].\n")
        assert all(len(line) <= 80 for line in told.splitlines())

    def test_certified_and_abstaining(self, run: Zoo, toy: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch):
        monkeypatch.chdir(pictures[0].parent)
        pictures = [Path(path.name) for path in pictures]
        radii = sorted(zoo.load(names(toy)).predict(path).radius for path in pictures)
        epsilon = f"{(radii[0] + radii[1]) / 2:.4f}"
        result = run("predict", names(toy), *pictures, "--epsilon", epsilon)
        assert result.code == 0
        assert (result.out.count("CERTIFIED"), result.out.count("ABSTAIN")) == (2, 1 + 1)  # and the line about it
        assert all(str(path) in result.out for path in pictures)
        assert f"at {epsilon}" in result.out
        assert len(re.findall(r" \(class \d+\) .* ABSTAIN", result.out)) == result.out.count("(class") == 1
        last = "ABSTAIN: radius not above epsilon; a label in parentheses is not certified."
        assert result.out.splitlines()[-1] == last
        assert "(class" not in run("predict", names(toy), *pictures).out
        assert "Radii: l2, in pixels of [0, 1], over the whole 1 x 28 x 28 input; rounded down." in result.out
        assert "right: it is right for 90.00 % of 10 test images.\n" in result.out

    def test_fractions_are_epsilons(self, run: Zoo, toy: Path, pictures: list[Path]):
        assert "at 36/255" in run("predict", names(toy), pictures[0], "--epsilon", "36/255").out

    def test_float32_never_certifies(self, run: Zoo, toy: Path, pictures: list[Path]):
        result = run("predict", names(toy), pictures[0], "--epsilon", "0", "--precision", "float32", "--top-k", "2")
        assert result.code == 0
        assert "CERTIFIED" not in result.out
        assert "rounded down" not in result.out
        assert "ABSTAIN" not in result.out
        for text in ("NOT PROVED", "radius estimate", "top-k radius estimate", "estimates, not proved"):
            assert text in result.out

    def test_top_k_names_the_nearest_classes(self, run: Zoo, colour_toy: Path, pictures: list[Path]):
        prediction = zoo.load(names(colour_toy)).predict(pictures[0])
        nearest = sorted((radius, index) for index, radius in enumerate(prediction.class_radii))[:3]
        out = run("predict", names(colour_toy), pictures[0], "--top-k", "3").out
        for rank, (radius, index) in enumerate(nearest, start=1):
            assert re.search(rf"{rank} +{re.escape(radius_text(radius))} +class {index}\b", out)
        assert "--top-k must be at most 5" in run.fails("predict", names(colour_toy), pictures[0], "--top-k", "6")

    def test_json_is_exact(self, run: Zoo, toy: Path, pictures: list[Path]):
        model = zoo.load(names(toy))
        answer = json.loads(run("predict", names(toy), *pictures, "--json", "--epsilon", "1/255").out)
        assert (answer["model"], answer["proved"], answer["unit"]) == (model.name, True, model.certificate.unit)
        for row, path in zip(answer["predictions"], pictures, strict=True):
            assert row == {"image": str(path), **model.predict(path, "1/255").to_json()} | {
                "class_radii": row["class_radii"],
                "topk_radius": row["topk_radius"],
            }
            assert row["class_radii"][row["index"]] is None

    def test_a_bad_image_does_not_void_the_others(
        self, run: Zoo, toy: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.chdir(tmp_path)
        Path("text.png").write_text("no image")
        for path in pictures:
            shutil.copy(path, path.name)
        files = [Path(name) for name in ("0.png", "text.png", "1.png", "gone.png")]
        result = run("predict", names(toy), *files, "--epsilon", "0", "--top-k", "1")
        assert result.code == 1
        assert result.err.startswith("zoo: 2 of 4 images cannot be read\n")
        rows = [line.split()[0] for line in result.out.splitlines() if ".png" in line]
        assert rows == [*map(str, files), "0.png", "1.png"]
        assert re.search(r"^text.png +not a PNG, JPEG or WebP image", result.out, re.MULTILINE)
        assert re.search(r"^gone.png +No such file or directory", result.out, re.MULTILINE)
        result = run("predict", names(toy), *files, "--json")
        assert result.code == 1
        rows = json.loads(result.out)["predictions"]
        assert [row["image"] for row in rows] == list(map(str, files))
        assert rows[3] == {"image": "gone.png", "error": "No such file or directory"}
        assert rows[2]["certified"] is None  # no epsilon was asked for

    def test_a_folder_means_its_pictures(self, run: Zoo, toy: Path, pictures: list[Path], tmp_path: Path):
        for name, content in (("b.PNG", pictures[0]), ("a.png", pictures[1]), (".hidden.png", pictures[2])):
            shutil.copy(content, tmp_path / name)
        (tmp_path / "notes.txt").write_text("no picture")
        result = run("predict", names(toy), tmp_path, pictures[2], "--json")
        assert result.err.startswith(f"zoo: {tmp_path}: left out, as no picture: notes.txt\n")
        rows = json.loads(result.out)["predictions"]
        assert [row["image"] for row in rows] == [f"{tmp_path}/a.png", f"{tmp_path}/b.PNG", str(pictures[2])]
        (tmp_path / "empty").mkdir()
        assert "empty: no PNG, JPEG or WebP file in this folder" in run.fails("predict", names(toy), tmp_path / "empty")

    def test_what_looks_like_no_digit_on_black_is_told(self, run: Zoo, toy: Path, tmp_path: Path):
        digit(3).save(tmp_path / "3.png")
        ImageOps.invert(digit(3)).save(tmp_path / "ink.png")
        assert run("predict", names(toy), tmp_path / "3.png").err == ""
        told = run("predict", names(toy), tmp_path)
        assert told.code == 0
        assert told.err.startswith(f"zoo: {tmp_path}/ink.png: not light on black like mnist: label means little, ")
        assert told.err.count("\n") == 1
        assert len(told.err.replace(str(tmp_path), "p")) <= 80
        assert "mnist; light on a black ground" in run("info", names(toy)).out

    def test_mistakes_take_one_line(self, run: Zoo, toy: Path, pictures: list[Path], tmp_path: Path):
        model, image = names(toy), pictures[0]
        text = tmp_path / "text.png"
        text.write_text("no image")
        for arguments, message in (
            ((model, text), "text.png: not a PNG, JPEG or WebP image"),
            ((model, tmp_path / "missing.png"), "missing.png: No such file or directory"),
            ((model, tmp_path / "missing.png", text), "no image can be read: "),
            ((model, tmp_path.joinpath("a" * 300)), "File name too long"),
            ((model, "https://a.org/b.png"), "https://a.org/b.png: a URL; fetch the picture"),
            ((model, image, "--epsilon", "-1"), "epsilon must be finite and not negative"),
            ((model, image, "--epsilon", "abc"), "epsilon must be a number such as 36/255"),
            ((model, image, "--backend", "jax"), "backend must be"),
            ((model, image, "--precision", "half"), "precision must be"),
            ((model, image, "--top-k", "0"), "--top-k"),
            ((model,), "Missing argument 'IMAGE'"),
            ((model, image, "--bogus"), "No such option: --bogus. See `zoo predict --help`."),
            ((model, image, "--epsilon"), "requires an argument. See `zoo predict --help`."),
            ((model, image, "--epsilon", "0,3"), "got '0,3': write 0.3"),
            ((toy, image), f"is a folder: write local-dir:{toy}\n"),
            ((image, "4c3f-mnist"), f"is a file: the model comes first, as in `zoo predict 2c2f-mnist {image}`"),
            (("4C3F-MNIST", image), "did you mean 4c3f-mnist"),
            (("4c3f-minst", image), "did you mean 4c3f-mnist"),
            ((f"local-dir:{tmp_path}", image), "has no certificate.json"),
        ):
            assert message in run.fails("predict", *arguments)
        assert "No such command 'bogus'" in run.fails("bogus")

    def test_markup_and_control_characters_in_names_are_shown_as_text(self, run: Zoo, toy: Path, tmp_path: Path):
        path = tmp_path / "[red]\x1b[31m.png"
        Image.new("L", (28, 28)).save(path)
        out = run("predict", names(toy), path).out
        assert "\x1b" not in out
        assert "[red]?[31m.png" in out.replace("\n", "")

    def test_control_characters_of_a_folder_and_of_an_error_do_not_reach_the_terminal(self, run: Zoo, own_toy: Path):
        evil = "\x1b[2Kzoo: all well\x07"
        assert run.fails("predict", names(own_toy), f"{evil}.png").startswith(
            "zoo: ?[2Kzoo: all well?.png: No such file"
        )
        folder = own_toy.rename(own_toy.parent / evil)
        (folder / "model.onnx").write_bytes(b"")
        out = run("verify", folder).out
        assert "\x1b" not in out
        assert "?[2Kzoo: all well?/model.onnx: its sha256 is not" in out

    @pytest.mark.parametrize("name", ONE_OF_EACH)  # tests/test_runtime.py asks every published model
    def test_published_models(self, run: Zoo, name: str, pictures: list[Path]):
        result = run("predict", name, *pictures, "--epsilon", "36/255")
        assert result.code == 0
        assert len(re.findall(r"(CERTIFIED|ABSTAIN) *$", result.out, re.MULTILINE)) == 3


class TestVerify:
    def test_differences_end_with_1(self, run: Zoo, own_toy: Path):
        pytest.importorskip("torch")
        result = run("verify", own_toy)  # its weights are those of no network
        assert result.code == 1
        assert result.out.startswith("differs: the weights do not fit")
        weights = bytearray((own_toy / "model.safetensors").read_bytes())
        weights[-1] ^= 1
        (own_toy / "model.safetensors").write_bytes(weights)
        result = run("verify", names(own_toy))
        assert result.code == 1
        assert "model.safetensors: its sha256 is not" in result.out

    def test_what_cannot_be_verified_is_a_mistake(self, run: Zoo, toy: Path, own_toy: Path):
        (own_toy / "certificate.json").unlink()
        assert "has no certificate.json: a published model is what" in run.fails("verify", own_toy)
        shutil.copytree(toy, own_toy / "published")  # where `python -m export RUN` puts it
        assert f"has no certificate.json: {own_toy / 'published'} has" in run.fails("verify", own_toy)
        assert "no model is called" in run.fails("verify", "nothing")

    def test_a_published_model_holds(self, run: Zoo):
        pytest.importorskip("torch")
        result = run("verify", "2c2f-mnist")
        assert result.code == 0, result.out
        assert "VERIFIED: the certificate of 2c2f-mnist holds" in result.out


class TestSamples:
    def test_the_pictures_are_drawn_and_nothing_else_is_overwritten(self, run: Zoo, tmp_path: Path):
        for _ in range(2):
            assert run("samples", tmp_path).code == 0
        assert len(list(tmp_path.iterdir())) == 18
        (tmp_path / "digit-0.png").unlink()
        (tmp_path / "ship.png").write_bytes(b"mine")
        assert "ship.png is there already, and is something else" in run.fails("samples", tmp_path)
        assert (tmp_path / "ship.png").read_bytes() == b"mine"
        assert not (tmp_path / "digit-0.png").exists()

    def test_a_run_that_was_interrupted_leaves_no_half_of_a_picture(
        self, run: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        def half(path: Path, content: bytes) -> int:
            path.write_text("half")
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", half)
            assert "No space left" in run.fails("samples", tmp_path)
        assert run("samples", tmp_path).code == 0

    def test_a_folder_must_be_named(self, run: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.chdir(tmp_path)
        assert "FOLDER is empty: name the folder" in run.fails("samples", "")
        assert not [*tmp_path.iterdir()]


class TestDoctor:
    def test_all_well_here(self, run: Zoo):
        result = run("doctor")
        assert (result.code, result.err) == (0, "")
        for text in ("certified-zoo", "python", "onnxruntime", "torch", "ZOO_DATA", "All well."):
            assert text in result.out

    def test_problems_end_with_1(self, run: Zoo, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("zoo.cli.doctor._version", lambda package: "1.0" if package != "rich" else None)
        monkeypatch.setattr("zoo.cli.doctor.shipped", lambda name: False)  # all models load, above
        monkeypatch.setenv("ZOO_DATA", "/no/such/folder")
        result = run("doctor")
        assert result.code == 1
        for text in ("both are installed: uninstall both, then install one", "no such folder", "pip install rich"):
            assert text in result.out


class TestNumbers:
    def test_radii_are_rounded_down_and_bounds_up(self):
        for value in (0.12345678, 0.1, 1e-9, 0.99999999, 3.0, 123456.78901, math.nextafter(0.2, 0), 2**-1074):
            assert 0 <= Fraction(value) - Fraction(radius_text(value)) < Fraction(1, 10**4)
            assert 0 <= Fraction(bound_text(value)) - Fraction(value) < Fraction(1, 10**6)
        assert radius_text(math.nextafter(0.2, 0)) == "0.1999"
        assert (radius_text(0.0), radius_text(math.inf), radius_text(math.nan)) == ("0.0000", "inf", "0.0000")
