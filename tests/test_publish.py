"""A network of one's own as a folder: read, served and proved with nothing but its list of layers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import zoo
from tests.test_layers import own
from tests.toy import write_sums
from zoo.bounds.form import Form
from zoo.bounds.rule import Row
from zoo.bounds.table import TABLE
from zoo.errors import CertificateError, InputError, IntegrityError
from zoo.layers import GroupSort, Pixels
from zoo.publication.folder import Folder, read_folder
from zoo.publication.verify import verify

SHAPE = (1, 4, 4)
LABELS = ("left", "right", "neither")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    torch.manual_seed(0)
    network = nn.Sequential(
        Pixels([0.5], [2.0]),
        nn.Conv2d(1, 6, 3, padding=1, padding_mode="circular"),
        nn.BatchNorm2d(6),
        GroupSort(3),
        nn.Dropout(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 3),
    )
    network(torch.rand(32, *SHAPE))  # in training mode: the statistics are those of some images
    path = tmp_path_factory.mktemp("own") / "sides"
    published = zoo.publish(network, path, SHAPE, LABELS, name="sides")
    image = torch.rand(4, *SHAPE)
    with torch.no_grad():
        expected = network.eval()(image)
    assert np.abs(zoo.load(f"local-dir:{path}").outputs(image.numpy()).logits - expected.numpy()).max() < 1e-5
    return published


def test_the_folder_is_proved_again(folder):
    assert verify(read_folder(folder.path)) == []


def test_words_of_any_language_in_any_locale(tmp_path: Path):
    script = (
        "import sys, zoo; from torch import nn; from zoo.layers import Pixels\n"
        "network = nn.Sequential(Pixels([0.5], [2.0]), nn.Flatten(), nn.Linear(16, 2))\n"
        "zoo.publish(network, sys.argv[1], (1, 4, 4), ('caf\\u00e9', '\\u732b'), name='words')"
    )
    ascii_only = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    subprocess.run([sys.executable, "-c", script, tmp_path / "words"], check=True, env=ascii_only)
    assert read_folder(tmp_path / "words").config.labels == ("caf\u00e9", "\u732b")


def test_both_backends_answer_with_its_labels(folder):
    image = np.full((1, *SHAPE), 0.5, dtype=np.float32)
    source = f"local-dir:{folder.path}"
    one, other = (zoo.load(source, backend=backend).predict(image)[0] for backend in ("onnx", "torch"))
    assert one.label in LABELS
    assert (one.label, one.proved) == (other.label, True)
    assert one.radius == pytest.approx(other.radius, abs=1e-9)


FORGERIES = {
    "another activation": lambda layers: layers[3].update(type="MinMax", pairing="neighbours") or layers[3].pop("size"),
    "smaller groups": lambda layers: layers[3].update(size=2),
    "no Dropout": lambda layers: layers.pop(4),
    "windows that overlap": lambda layers: layers[5].update(stride=[1, 1]),
    "zeros for the torus": lambda layers: layers[1].update(padding_mode="zeros"),
    "another eps": lambda layers: layers[2].update(eps=1.0),
    "other code": lambda layers: layers[3].update(type="os.system"),
    "two names exchanged": lambda layers: (layers[3].update(name="4"), layers[4].update(name="3")),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_list_of_layers_does_not_verify(forgery, folder, tmp_path: Path):
    """In both records, with the sums of the changed files: what is left to find it is the proof itself."""
    for file in folder.files:
        (tmp_path / file).write_bytes((folder.path / file).read_bytes())
    for name in ("config.json", "certificate.json"):
        record = json.loads((tmp_path / name).read_text())
        FORGERIES[forgery](record["architecture"]["layers"])
        (tmp_path / name).write_text(json.dumps(record))
    write_sums(tmp_path)
    try:
        differences = verify(read_folder(tmp_path))
    except (CertificateError, IntegrityError) as error:
        differences = [str(error)]
    assert differences


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("a", "b")}, "2 labels, the network has 3 classes"),
        ({"labels": ("a", "b", "b")}, "different words"),
        ({"name": "../sides"}, "name must be"),
        ({"input_shape": (4, 4)}, "input_shape"),
    ],
)
def test_what_cannot_be_published_is_told_and_leaves_nothing(changes, message, tmp_path: Path):
    arguments = {"input_shape": SHAPE, "labels": LABELS, "name": "sides", **changes}
    with pytest.raises(InputError, match=message):
        zoo.publish(own(), tmp_path / "sides", **arguments)
    assert list(tmp_path.iterdir()) == []


class Keeping(nn.Identity):
    """A layer that keeps numbers in a tensor which is no weight."""

    def __init__(self):
        super().__init__()
        self.order = torch.arange(3)


def test_a_layer_that_keeps_a_tensor_beside_its_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A network that is made again from its list of layers would have that tensor without its numbers."""
    row = Row(**{**vars(TABLE[nn.Identity]), "form": Form(Keeping)})
    monkeypatch.setitem(TABLE, Keeping, row)
    network = nn.Sequential(Pixels([0.5], [1.0]), Keeping(), nn.Flatten(), nn.Linear(16, 3))
    with pytest.raises(CertificateError, match="layer '1' has the tensor 'order' beside its weights"):
        zoo.publish(network.requires_grad_(False).eval(), tmp_path / "kept", (1, 4, 4), LABELS)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is in use"):
        zoo.publish(own(), tmp_path, SHAPE, LABELS)
    assert (tmp_path / "notes.txt").read_text() == "mine"
