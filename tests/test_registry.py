"""The registry is what the files of the families say, and a new file is all that a new family needs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import zoo.architectures
from zoo.architectures import FAMILIES, NETWORKS, PRESETS
from zoo.registry import ENTRIES

ROOT = Path(__file__).parents[1]
FAMILY = '''"""A family that nothing else of the repository knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from zoo.architectures.preset import Preset, Reported

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class StrangeNet:
    citation: ClassVar[str] = "A. Stranger 2027, Strange networks"

    width: int
    input_size: int = 32
    channels: int = 3
    classes: int = 10

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (self.channels, self.input_size, self.input_size)

    def network(self) -> nn.Sequential:
        raise AssertionError("the registry builds no network")


NETWORKS = {"strangenet-w8": StrangeNet(8)}
PRESETS = {"strangenet-w8-mnist": Preset("strangenet-w8", "mnist", Reported(99.0, 90.0, "0.3", "its table 1"))}
'''
STRANGER = """
import sys
sys.modules["torch"] = None  # where it is missing, `zoo info` has no layers to show
from pathlib import Path
from typer.testing import CliRunner
from tests.toy import make_folder
import zoo, zoo.cli
from zoo.publication.card import render
from zoo.publication.folder import read_folder

name = "strangenet-w8-mnist"
path = make_folder(Path("folder"), name)
assert zoo.list_models("strange*") == [name]
for arguments in (["list", "strange*"], ["info", name], ["info", "local-dir:folder"]):
    print(CliRunner().invoke(zoo.cli.app, arguments, catch_exceptions=False).output)
model = zoo.load("local-dir:folder")
print(model.name, model.certificate.architecture)
folder = read_folder(path)
print(render(folder.config, folder.certificate, folder.evaluation))
"""


def test_a_family_in_one_file_is_listed_shown_loaded_and_cited(tmp_path: Path):
    shutil.copytree(ROOT / "zoo", tmp_path / "zoo", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "zoo" / "architectures" / "strange.py").write_text(FAMILY)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "COLUMNS": "120"}
    process = subprocess.run(
        [sys.executable, "-c", STRANGER], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert process.returncode == 0, process.stderr
    for words in (
        "StrangeNet",  # the heading of the list
        "family StrangeNet, width 8, input_size 28, channels 1, classes 10",
        "strangenet-w8-mnist {'family': 'StrangeNet', 'width': 8, 'input_size': 28, 'channels': 1, 'classes': 10}",
        "* Network: A. Stranger 2027, Strange networks",
    ):
        assert words in process.stdout


def test_no_name_stands_twice():
    files = {path.stem for path in Path(zoo.architectures.__file__).parent.glob("*.py")}
    families = [import_module(f"zoo.architectures.{name}") for name in files - {"__init__", "layers", "preset"}]
    assert sum(len(family.NETWORKS) for family in families) == len(NETWORKS)
    assert sum(len(family.PRESETS) for family in families) == len(PRESETS)


def test_a_name_is_network_training_and_data_set():
    for name, entry in ENTRIES.items():
        assert name == "-".join(filter(None, (entry.network, entry.training, entry.dataset)))
    assert ENTRIES["4c3f-cll-p0.4-cifar10"].training == "p0.4"
    assert ENTRIES["4c3f-cll-cifar10-jpeg75"].training == ""
    assert ENTRIES["2c2f-cll-mnist"].training == "cll"


def test_every_network_is_a_model_and_every_family_says_whose_work_it_is():
    assert {preset.network for preset in PRESETS.values()} == set(NETWORKS)
    for family in FAMILIES.values():
        assert re.search(r"\b(19|20)\d\d\b", family.citation)


def test_a_name_can_be_grepped():
    source = "".join(path.read_text() for path in Path(zoo.architectures.__file__).parent.glob("*.py"))
    assert all(f'"{name}": ' in source for name in (*NETWORKS, *PRESETS))
