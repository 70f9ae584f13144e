"""Sources, and the check of every byte of what they lead to."""

from __future__ import annotations

import json
import os
import pickle
import re
from dataclasses import replace
from pathlib import Path

import pytest

import zoo
from tests.toy import FILES, LISTED, make_folder, sha256, write_sums
from zoo import registry, shelves
from zoo.errors import CertificateError, InputError, IntegrityError, UnknownModelError, UnpublishedModelError
from zoo.hub.client import fetch, load
from zoo.publication.folder import read_folder
from zoo.records import ModelConfig, dumps, loads


class TestSources:
    def test_a_local_folder(self, toy: Path):
        folder = fetch(f"local-dir:{toy}")
        assert folder.path == toy
        assert folder.config.name == folder.certificate.name == "4c3f-mnist"
        assert set(folder.digests) == set(LISTED)

    def test_unknown_names_offer_near_ones(self):
        with pytest.raises(UnknownModelError, match="did you mean 4c3f-mnist"):
            fetch("4c3f-minst")
        with pytest.raises(UnknownModelError, match="`zoo list` shows all names"):
            fetch("?" * 5000)

    @pytest.mark.parametrize("typo", ["lipconvnet-5-cifar10-jpeg", "LiResNet-L12W256", "olsa-ffn-l12w256-cifar"])
    def test_of_the_near_ones_those_that_can_be_loaded_come_first(self, typo: str):
        with pytest.raises(UnknownModelError) as refusal:
            fetch(typo)
        offered = str(refusal.value).partition("did you mean ")[2].removesuffix("?").split(", ")
        here = [name for name in offered if name in zoo.list_models(pretrained=True)]
        assert here
        assert offered[: len(here)] == here
        assert all(name.endswith(" (no weights here)") for name in offered[len(here) :])

    def test_a_model_without_weights_advises_what_there_is(self):
        """Its recipe where it has one; or else how to have it untrained, and models that can be loaded."""
        entries = [entry for entry in registry.ENTRIES.values() if entry.digest is None]
        assert {entry.has_recipe for entry in entries} == {False, True}
        for entry in entries:
            with pytest.raises(UnpublishedModelError) as refusal:
                fetch(entry.name)
            told = str(refusal.value)
            assert (f"python -m training {entry.name} --output runs/{entry.name}" in told) == entry.has_recipe
            assert ("python -m" in told) == entry.has_recipe
            if not entry.has_recipe:
                assert f"zoo.load({entry.name!r}, backend='torch', pretrained=False)" in told
                (offered,) = re.findall(r"untrained; (.*) can be loaded$", told)
                assert set(offered.split(", ")) <= set(zoo.list_models(pretrained=True))

    def test_a_bare_path_or_repository_names_both_fixes(self, toy: Path):
        with pytest.raises(InputError, match="local-dir:org/name for a folder, hf-hub:org/name for the hub"):
            fetch("org/name")
        for source in (str(toy), "zoo"):
            with pytest.raises(InputError, match=f"'{source}' is a folder: write local-dir:{source}$"):
                fetch(source)

    def test_folders_that_are_not_there(self, tmp_path: Path):
        for source in (tmp_path / "missing", __file__, "x" * 5000, "~nobody-has-this-name/x", "a\0b", ""):
            with pytest.raises((InputError, CertificateError)):
                fetch(f"local-dir:{source}")

    def test_a_source_that_is_no_name_is_refused(self, toy: Path):
        for source, message in (
            (None, "named by a str, got NoneType"),
            (5, "named by a str, got int"),
            (b"2c2f-mnist", "named by a str, got bytes"),
            (toy, f"got PosixPath: write 'local-dir:{toy}' for a folder"),
            ("", "the name of the model is empty"),
            ("local-dir:", "'local-dir:' is empty after the colon"),
            ("hf-hub:", "'hf-hub:' is empty after the colon"),
            ("hf-hub:a/b@", "the revision is empty"),
            *((f"hf-hub:{name}", "write hf-hub:ORG/NAME$") for name in ("foo", "a/b/c", "foo@main", "/b", "a/")),
            ("hf-hub:@main", "the repository or the revision is empty"),
        ):
            for call in (fetch, load):
                with pytest.raises(InputError, match=message) as refusal:
                    call(source)  # type: ignore[arg-type]
                assert "\n" not in str(refusal.value)
        with pytest.raises(InputError, match="named by a str"):
            load(None, backend="torch", pretrained=False)  # type: ignore[call-overload]

    def test_an_embedded_model_is_pinned_by_the_registry(self, own_toy: Path, monkeypatch: pytest.MonkeyPatch):
        name = "4c3f-mnist"
        shelf = own_toy.rename(own_toy.parent / name).parent
        entry = registry.ENTRIES[name]
        pinned = replace(entry, digest=sha256(shelf / name / "SHA256SUMS"))
        monkeypatch.setitem(registry.ENTRIES, name, pinned)
        monkeypatch.setattr(shelves, "SHELVES", (shelf / "empty", shelf))
        assert load(name).name == name
        (shelf / name / "README.md").write_text("other words\n")
        write_sums(shelf / name)
        told = f"not the one that the registry pins: fetch the folder again, or load local-dir:{shelf / name}"
        with pytest.raises(IntegrityError, match=re.escape(told)):
            load(name)

    def test_a_folder_of_another_name_than_the_registrys(self, own_toy: Path, monkeypatch: pytest.MonkeyPatch):
        name = "2c2f-mnist"
        folder = own_toy.rename(own_toy.parent / name)
        pinned = replace(registry.ENTRIES[name], digest=sha256(folder / "SHA256SUMS"))
        monkeypatch.setitem(registry.ENTRIES, name, pinned)
        monkeypatch.setattr(shelves, "SHELVES", (folder.parent,))
        with pytest.raises(
            IntegrityError, match="name is '4c3f-mnist', expected '2c2f-mnist': install certified-zoo again"
        ):
            load(name)


class TestPull:
    def test_a_copy_is_the_whole_folder(self, toy: Path, tmp_path: Path):
        assert zoo.pull(f"local-dir:{toy}") == toy
        copy = zoo.pull(f"local-dir:{toy}", tmp_path / "new" / "copy")
        assert sorted(path.name for path in copy.iterdir()) == sorted(FILES)
        assert all((copy / name).read_bytes() == (toy / name).read_bytes() for name in FILES)
        assert [path.name for path in copy.parent.iterdir()] == ["copy"]

    def test_a_copy_fills_the_folder_where_one_stands(self, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.chdir(tmp_path)
        assert zoo.pull(f"local-dir:{toy}", ".") == tmp_path
        assert sorted(path.name for path in Path().iterdir()) == sorted(FILES)  # not of a folder that took its place
        assert fetch(f"local-dir:{tmp_path}").digest == fetch(f"local-dir:{toy}").digest

    def test_a_copy_does_not_replace_what_is_there(self, toy: Path, tmp_path: Path):
        (tmp_path / "empty").mkdir()
        zoo.pull(f"local-dir:{toy}", tmp_path / "empty")
        for place in (tmp_path, tmp_path / "empty", Path(__file__)):
            with pytest.raises(InputError, match="is there already"):
                zoo.pull(f"local-dir:{toy}", place)
        with pytest.raises(InputError, match="cannot be written"):
            zoo.pull(f"local-dir:{toy}", Path(__file__) / "below")


class TestOptions:
    def test_untrained_networks(self):
        nn = pytest.importorskip("torch.nn")
        network = load("4c3f-mnist", backend="torch", pretrained=False)
        assert type(network) is nn.Sequential
        with pytest.raises(InputError, match="backend='torch'"):
            load("4c3f-mnist", pretrained=False)
        with pytest.raises(UnknownModelError):
            load("local-dir:/tmp", backend="torch", pretrained=False)

    def test_options_of_the_other_backend(self, toy: Path):
        with pytest.raises(InputError, match="device='cuda' is for backend='torch'"):
            load(f"local-dir:{toy}", device="cuda")
        with pytest.raises(InputError, match="providers are for backend='onnx'"):
            load(f"local-dir:{toy}", backend="torch", providers=["CPUExecutionProvider"])

    def test_misspelt_options(self, toy: Path):
        with pytest.raises(InputError, match="backend must be 'onnx' or 'torch', got 'jax'"):
            load(f"local-dir:{toy}", backend="jax")
        with pytest.raises(InputError, match="precision must be 'float64' or 'float32', got 'half'"):
            load(f"local-dir:{toy}", precision="half")


class TestIntegrity:
    @pytest.mark.parametrize("name", FILES)
    def test_one_flipped_bit_is_refused(self, name: str, own_toy: Path):
        data = bytearray((own_toy / name).read_bytes())
        for position in {0, len(data) // 2, len(data) - 1}:
            data[position] ^= 1
            (own_toy / name).write_bytes(data)
            with pytest.raises(IntegrityError):
                load(f"local-dir:{own_toy}")
            data[position] ^= 1

    @pytest.mark.parametrize("name", FILES)
    def test_a_truncated_or_missing_file_is_named(self, name: str, own_toy: Path):
        data = (own_toy / name).read_bytes()
        (own_toy / name).write_bytes(data[:-1] if name != "SHA256SUMS" else data[:-70])
        with pytest.raises(IntegrityError, match=name):
            load(f"local-dir:{own_toy}")
        (own_toy / name).unlink()
        with pytest.raises((IntegrityError, CertificateError), match=name):
            load(f"local-dir:{own_toy}")

    def test_a_folder_without_a_certificate_is_no_published_model(self, own_toy: Path):
        (own_toy / "certificate.json").unlink()
        with pytest.raises(CertificateError, match=r"has no certificate\.json"):
            load(f"local-dir:{own_toy}")

    def test_weights_and_certificates_of_another_model_are_named(self, own_toy: Path, tmp_path: Path):
        other = make_folder(tmp_path / "other", seed=1)
        weights = (own_toy / "model.safetensors").read_bytes()
        for name in ("model.safetensors", "certificate.json"):
            mine = (own_toy / name).read_bytes()
            (own_toy / name).write_bytes((other / name).read_bytes())
            with pytest.raises(IntegrityError, match=f"{name}: its sha256 is not the one in SHA256SUMS"):
                load(f"local-dir:{own_toy}")
            write_sums(own_toy)
            with pytest.raises(IntegrityError, match=r"certificate\.json: weights_sha256"):
                load(f"local-dir:{own_toy}")
            (own_toy / name).write_bytes(mine)
        assert len((other / "model.safetensors").read_bytes()) == len(weights)

    @pytest.mark.parametrize("name", FILES)
    def test_a_link_out_of_the_folder_is_refused(self, name: str, own_toy: Path, tmp_path: Path):
        outside = (own_toy / name).rename(tmp_path / "outside")
        (own_toy / name).symlink_to(outside)
        with pytest.raises(IntegrityError, match=f"{name}: a link out of its folder, to {outside}"):
            load(f"local-dir:{own_toy}")
        (own_toy / name).unlink()
        (own_toy / name).symlink_to(name)
        with pytest.raises((IntegrityError, CertificateError), match=name):
            load(f"local-dir:{own_toy}")

    def test_a_signature_that_links_elsewhere_is_refused(self, own_toy: Path, tmp_path: Path):
        """It is in no sum, and `pull`, `push` and a hub would hand the file on."""
        (tmp_path / "secret").write_text("secret")
        (own_toy / "model.sig").symlink_to(tmp_path / "secret")
        with pytest.raises(IntegrityError, match=r"model\.sig: a link out of its folder"):
            load(f"local-dir:{own_toy}")
        (own_toy / "model.sig").unlink()
        os.mkfifo(own_toy / "model.sig")
        with pytest.raises(IntegrityError, match=r"model\.sig: not a regular file"):
            load(f"local-dir:{own_toy}")

    def test_a_norm_that_nobody_knows_and_no_layers_are_refused(self, own_toy: Path):
        for name, change, told in (("config", {"norm": "l1"}, "norm 'l1'"), ("certificate", {"layers": []}, "layers")):
            path = own_toy / f"{name}.json"
            before = path.read_text()
            path.write_text(json.dumps({**json.loads(before), **change}))
            write_sums(own_toy)
            with pytest.raises(IntegrityError, match=rf"{name}\.json: {told} is "):
                load(f"local-dir:{own_toy}")
            path.write_text(before)

    def test_a_link_inside_the_folder_and_a_link_to_the_folder_are_files(self, own_toy: Path, tmp_path: Path):
        (own_toy / "model.onnx").rename(own_toy / "graph")
        (own_toy / "model.onnx").symlink_to("graph")
        (tmp_path / "link").symlink_to(own_toy)
        assert load(f"local-dir:{tmp_path / 'link'}").name == "4c3f-mnist"

    def test_what_is_no_file_is_refused_and_not_waited_for(self, own_toy: Path):
        (own_toy / "README.md").unlink()
        os.mkfifo(own_toy / "README.md")
        with pytest.raises(IntegrityError, match=r"README\.md: not a regular file"):
            load(f"local-dir:{own_toy}")

    def test_no_pickle_is_opened(self, own_toy: Path, tmp_path: Path):
        class Canary:
            def __reduce__(self) -> tuple[object, tuple[str]]:
                return os.mkdir, (str(tmp_path / "opened"),)

        for name in ("pytorch_model.bin", "model.safetensors"):
            (own_toy / name).write_bytes(pickle.dumps(Canary()))
        text = (own_toy / "certificate.json").read_text()
        before = json.loads(text)["weights_sha256"]
        (own_toy / "certificate.json").write_text(text.replace(before, sha256(own_toy / "model.safetensors")))
        write_sums(own_toy)
        for backend, error in (("torch", CertificateError), ("onnx", IntegrityError)):
            with pytest.raises(error):
                load(f"local-dir:{own_toy}", backend=backend)
        assert not (tmp_path / "opened").exists()

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (f"{'0' * 64}  ../../etc/passwd\n", "lists '../../etc/passwd'"),
            (f"{'0' * 64}  pytorch_model.bin\n", "lists 'pytorch_model.bin'"),
            (f"{'0' * 64}  README.md\n", "lists 'README.md'"),
            (f"{'0' * 64} *model.onnx\n", "lists 'a malformed line'"),
            ("\n", "lists 'a malformed line'"),
            ("\xff\xfe\n", "lists 'a malformed line'"),
            (f"{'0' * 64}  README.md", "its last line has no end"),
            ("x" * 10_000, "its last line has no end"),
        ],
    )
    def test_a_listing_of_anything_else_is_refused(self, line: str, message: str, own_toy: Path):
        sums = own_toy / "SHA256SUMS"
        sums.write_text(sums.read_text() + line, encoding="latin-1")
        with pytest.raises(IntegrityError, match=f"SHA256SUMS: {message}.*; fetch the folder again$"):
            load(f"local-dir:{own_toy}")

    @pytest.mark.parametrize(
        ("name", "old", "new"),
        [
            ("certificate.json", '"name": "4c3f-mnist"', '"name": "6c2f-mnist"'),
            ("certificate.json", '"norm": "l2"', '"norm": "linf"'),
            ("certificate.json", '"plan": "4c3f"', '"plan": "2c2f"'),
            ("certificate.json", '"weights_sha256": "', '"weights_sha256": "00'),
            ("config.json", '"class 9"', '"class 9", "class 10"'),
            ("config.json", "28,\n  28", "28,\n  29"),
            ("config.json", '"input_size": 28', '"input_size": 32'),
            ("evaluation.json", '"graph_sha256": "', '"graph_sha256": "00'),
        ],
    )
    def test_records_that_contradict_each_other_are_refused(self, name: str, old: str, new: str, own_toy: Path):
        text = (own_toy / name).read_text()
        assert old in text
        (own_toy / name).write_text(text.replace(old, new))
        write_sums(own_toy)
        with pytest.raises(IntegrityError, match=r"(certificate|config|evaluation)\.json: .*; fetch the folder again$"):
            load(f"local-dir:{own_toy}")

    @pytest.mark.parametrize(
        "text",
        ["", "null", "[]", "{}", "[" * 100_000, '{"format": 2}', '{"format": 1}', "\xff", '{"format": 1, "labels": 1}'],
        ids=range(9),
    )
    @pytest.mark.parametrize("name", ["config.json", "certificate.json", "evaluation.json"])
    def test_records_that_cannot_be_read_are_refused(self, name: str, text: str, own_toy: Path):
        (own_toy / name).write_text(text, encoding="latin-1")
        write_sums(own_toy)
        with pytest.raises(CertificateError, match=name):
            read_folder(own_toy)

    def test_a_record_of_another_version_names_the_way_out(self):
        told = "config has format 2, this zoo reads format 1: use the version of certified-zoo that wrote it"
        with pytest.raises(CertificateError, match=told):
            loads(ModelConfig, '{"format": 2}', "config")

    def test_hostile_values_are_refused(self, own_toy: Path):
        evaluation = json.loads((own_toy / "evaluation.json").read_text())
        for acr in (10**400, "0.5", True, None, [0.5]):
            (own_toy / "evaluation.json").write_text(json.dumps({**evaluation, "acr": acr}))
            write_sums(own_toy)
            with pytest.raises(CertificateError, match="acr"):
                read_folder(own_toy)
        for rates in ({"clean_accuracy": 1.9915}, {"vra": {"0.3": -0.1}}):
            (own_toy / "evaluation.json").write_text(json.dumps({**evaluation, **rates}))
            write_sums(own_toy)
            with pytest.raises(IntegrityError, match=r"a rate is not between 0 and 1; fetch the folder again$"):
                read_folder(own_toy)
        (own_toy / "evaluation.json").write_text(json.dumps(evaluation).replace("0.25", "NaN"))
        write_sums(own_toy)
        with pytest.raises(CertificateError, match="NaN is no number"):
            read_folder(own_toy)

    @pytest.mark.parametrize("count", [10**400, 2**63, -(2**63), 1.0, "1", True, None])
    def test_a_count_that_no_machine_has_is_refused(self, count: object, own_toy: Path):
        certificate = json.loads((own_toy / "certificate.json").read_text())
        certificate["layers"][-1]["fan_in"] = count
        (own_toy / "certificate.json").write_text(json.dumps(certificate))
        write_sums(own_toy)
        with pytest.raises(CertificateError, match="fan_in"):
            read_folder(own_toy)

    def test_json_that_readers_may_differ_about_is_refused(self):
        for text, message in (
            ('{"format": 1, "recipe": {"a": 1, "b": 2, "a": 1}}', "the key 'a' occurs twice"),
            ('{"format": 1, "recipe": {"a": [Infinity]}}', "Infinity is no number"),
            ('{"format": 1, "recipe": {"a": -Infinity}}', "-Infinity is no number"),
            (" " * (16 * 2**20) + "1", "larger than 16 MiB"),
        ):
            for form in (text, text.encode()):
                with pytest.raises(CertificateError, match=f"config.json.*{message}"):
                    loads(ModelConfig, form, "config.json")

    def test_an_unknown_architecture_is_refused(self, own_toy: Path):
        folder = read_folder(own_toy)
        for family in ("Pickle", ["ConvNet"], None):
            config = dumps(folder.config).replace('"ConvNet"', json.dumps(family))
            (own_toy / "config.json").write_text(config)
            write_sums(own_toy)
            with pytest.raises(CertificateError, match="unknown architecture family"):
                read_folder(own_toy)
