"""The zoo through timm and through huggingface_hub's mixin: what is checked there, and what is refused."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import PyTorchModelHubMixin
from safetensors.torch import load_file, save_file

import zoo
from tests.toy import FILES, write_sums
from zoo.architectures import NETWORKS
from zoo.errors import CertificateError, InputError, IntegrityError, UnpublishedModelError
from zoo.integrations.mixin import HubModel
from zoo.integrations.timm import TAGS


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "folder"))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).random((3, 1, 8, 8), dtype=np.float32))


def damage(folder: Path) -> None:
    body = bytearray((folder / "model.safetensors").read_bytes())
    body[-1] ^= 1
    (folder / "model.safetensors").write_bytes(body)


class TestTimm:
    def test_the_readme_s_import_makes_a_model(self):
        """In a process of its own: timm changes a module that registers models while it is imported."""
        lines = "import timm, zoo.timm; timm.create_model('2c2f.mnist', pretrained=True)"
        subprocess.run([sys.executable, "-c", lines], check=True)

    def test_every_architecture_is_known(self):
        names = {network.replace("-", "_") for network in NETWORKS}
        assert names <= set(timm.list_models())
        assert "liresnet_l12w512" in timm.list_models("liresnet*")
        published = set(zoo.list_models(pretrained=True))
        assert {entry.name for entry in TAGS.values()} == published
        assert set(TAGS) <= set(timm.list_models(pretrained=True))

    def test_untrained(self):
        network = timm.create_model("liresnet_l4w32", num_classes=7, in_chans=1, img_size=28)
        assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 7)
        assert network.num_classes == 7
        assert timm.create_model("2c2f.mnist")(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
        with pytest.raises(InputError, match="takes num_classes, in_chans, img_size, got 'drop_rate'"):
            timm.create_model("liresnet_l4w32", drop_rate=0.1)

    def test_the_network_of_two_moons_has_one_size(self):
        for name, pretrained in (("mlp", False), ("mlp.two_moons", True)):
            assert timm.create_model(name, pretrained=pretrained).num_classes == 2
            with pytest.raises(InputError, match="mlp takes no options, got 'num_classes'"):
                timm.create_model(name, pretrained=pretrained, num_classes=2)

    def test_what_timm_is_told_of_a_layer_is_so(self):
        for name in ("2c2f", "liresnet_l4w32", "cpl_xs", "mlp", "linfdist_5x256"):
            network = timm.create_model(name)
            assert network.pretrained_cfg["first_conv"] is None  # nothing adapts it to other channels
            assert isinstance(network.get_submodule(network.pretrained_cfg["classifier"]), torch.nn.Linear)

    def test_published_weights_and_their_images(self, images: torch.Tensor, folder: Path):
        ours = zoo.load(f"local-dir:{folder}", backend="torch", precision="float32").outputs(images).logits
        overlay = {"file": str(folder)}
        network = timm.create_model("2c2f", pretrained=True, pretrained_cfg_overlay=overlay).eval()
        assert (network(images).detach().numpy() == ours).all()
        assert all(parameter.requires_grad for parameter in network.parameters())

    @pytest.mark.parametrize("tag", sorted(TAGS))
    def test_a_tag_is_a_published_model(self, tag: str):
        network = timm.create_model(tag, pretrained=True)
        data, shape = timm.data.resolve_model_data_config(network), TAGS[tag].architecture.input_shape
        assert (data["mean"], data["std"], data["input_size"]) == ((0.0,) * shape[0], (1.0,) * shape[0], shape)

    def test_an_overlay_over_the_weights_is_refused(self, folder: Path):
        overlay = {"file": str(folder)}
        with pytest.raises(InputError, match="its certificate allows no change"):
            timm.create_model("2c2f", pretrained=True, pretrained_cfg_overlay=overlay, num_classes=11)
        with pytest.raises(InputError, match="no 4c3f"):
            timm.create_model("4c3f", pretrained=True, pretrained_cfg_overlay=overlay)
        with pytest.raises(UnpublishedModelError, match=r"`zoo list 'liresnet-l12w512-\*'`"):
            timm.create_model("liresnet_l12w512", pretrained=True)
        damage(folder)
        with pytest.raises(IntegrityError, match=r"model\.safetensors"):
            timm.create_model("2c2f", pretrained=True, pretrained_cfg_overlay={"file": str(folder)})

    def test_timms_own_prefix_loads_nothing(self, folder: Path):
        with pytest.raises(AttributeError):  # timm expects a str: not our message, but no weights either
            timm.create_model(f"local-dir:{folder}", pretrained=True)


class TestMixin:
    def test_from_pretrained_and_back(self, folder: Path, whole: Path, images: torch.Tensor, tmp_path: Path):
        model = HubModel.from_pretrained(folder)
        assert isinstance(model, PyTorchModelHubMixin)
        ours = zoo.load(f"local-dir:{folder}", backend="torch").outputs(images)
        assert (model(images).radius.numpy() == ours.radius).all()
        assert HubModel.from_pretrained(folder, precision="float32")(images).radius.dtype == torch.float32
        for target in (tmp_path / "saved", folder):
            model.save_pretrained(target)
            assert all((target / name).read_bytes() == (whole / name).read_bytes() for name in FILES)

    def test_what_another_model_left_is_gone(self, folder: Path, tmp_path: Path):
        for name in ("model.sig", "model-00001-of-00002.safetensors", "notes.txt"):
            (tmp_path / name).write_text("of another model")
        HubModel.from_pretrained(folder, map_location=torch.device("cpu")).save_pretrained(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} - {"folder", "notes.txt"} == {*FILES}

    def test_half_of_the_tensors_is_none(self, folder: Path):
        tensors = load_file(folder / "model.safetensors")
        save_file(dict(list(tensors.items())[::2]), folder / "model.safetensors")
        with pytest.raises(IntegrityError, match=r"model\.safetensors"):
            HubModel.from_pretrained(folder)
        write_sums(folder)
        with pytest.raises(IntegrityError, match="weights_sha256"):
            HubModel.from_pretrained(folder)

    def test_no_pickle(self, folder: Path):
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))
        with pytest.raises(IntegrityError, match=r"model\.safetensors: No such file"):
            HubModel.from_pretrained(folder)

    def test_options_that_would_loosen_it(self, folder: Path):
        for options, message in (
            ({"strict": False}, "strict must be True"),
            ({"depth": 3}, "takes no option 'depth'"),
            ({"precision": "float16"}, "precision must be"),
            ({"map_location": "cuda"}, "float64 is proved on the CPU only: use precision='float32' on cuda"),
            ({"map_location": "nowhere"}, "PyTorch has no device 'nowhere' here"),
            ({"map_location": 1.5}, "PyTorch has no device '1.5' here"),
        ):
            with pytest.raises(InputError, match=message):
                HubModel.from_pretrained(folder, **options)

    def test_changed_weights_are_not_saved_as_the_published_ones(self, folder: Path, tmp_path: Path):
        model = HubModel.from_pretrained(folder)
        next(model.network.parameters()).add_(1)
        for call in (lambda: model.save_pretrained(tmp_path / "saved"), lambda: model.push_to_hub("me/x")):
            with pytest.raises(CertificateError, match="the weights were changed"):
                call()
        assert not (tmp_path / "saved").exists()
        for call in (
            lambda: model.save_pretrained(tmp_path, push_to_hub=True),
            lambda: model.push_to_hub("a/b", branch="x"),
        ):
            with pytest.raises(InputError, match="has no option"):
                call()
