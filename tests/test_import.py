"""What is loaded when: a rule of the design, held by looking at `sys.modules` in a fresh process."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import training
import zoo
from zoo.cli.hub import hub
from zoo.cli.proofs import verify
from zoo.cli.server import serve
from zoo.data.datasets import DATASETS
from zoo.data.parquet import ParquetFiles, label_names
from zoo.errors import PACKAGES, MissingPackageError
from zoo.hub.client import fetch
from zoo.publication.signing import check_signature, sign

HEAVY = {"numpy", "onnxruntime", "onnx", "torch", "PIL", "huggingface_hub", "safetensors", "pyarrow"}
PACKAGE = Path(zoo.__file__).parent
# A room imports the rooms before it, no other: nothing leads back, also where an import stands in a function.
ROOMS = (
    *("layers", "lowering", "bounds", "architectures", "certificate", "data", "publication"),
    *("inference", "hub", "serve", "integrations", "cli"),
)
LOOSE = {"attacks", "errors", "epsilon", "files", "records", "figures", "citations", "machine", "shelves", "registry"}
LOOSE |= {"guard", "web"}
PROOFS = (
    "lowering/",
    "bounds/",
    "certificate/",
    "integrations/",
    "layers/",
    "timm.py",
    "attacks.py",
)  # these need torch
PROOFS += tuple(f"publication/{name}.py" for name in ("graph", "network", "publish", "verify"))
FILES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))
TORCH_FREE = [name for name in FILES if not name.startswith(PROOFS)]


def loaded_by(script: str, *arguments: str) -> set[str]:
    """The top-level modules that a fresh process has loaded at the end of the script."""
    script += "\nimport sys; print('\\n' + ' '.join({name.partition('.')[0] for name in sys.modules}))"
    process = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    assert process.returncode == 0, process.stderr
    return set(process.stdout.splitlines()[-1].split())


def command_line(*arguments: str) -> set[str]:
    return loaded_by("import zoo.cli\ntry: zoo.cli.main()\nexcept SystemExit as end: assert not end.code", *arguments)


def test_import_zoo_loads_nothing_heavy():
    assert loaded_by("import zoo; zoo.__version__; dir(zoo); zoo.list_models('*-cifar10')").isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["predict", "--help"], ["serve", "--help"], ["list", "*-mnist"], ["info", "2c2f-mnist"]]
)
def test_help_and_listing_load_nothing_heavy(arguments: list[str]):
    assert command_line(*arguments).isdisjoint(HEAVY)


def test_prediction_loads_no_torch(toy: Path, tmp_path: Path):
    image = tmp_path / "image.png"
    Image.fromarray(np.zeros((28, 28), dtype=np.uint8)).save(image)
    loaded = command_line("predict", f"local-dir:{toy}", str(image))
    assert {"numpy", "onnxruntime", "PIL"} <= loaded
    assert loaded.isdisjoint({"torch", "onnx", "safetensors", "pyarrow", "huggingface_hub"})


def test_no_torch_at_module_level():
    for name in TORCH_FREE:
        assert _at_module_level(name).isdisjoint({"torch", "onnxruntime", "onnx", "safetensors", "pyarrow"}), name


def _at_module_level(name: str) -> set[str]:
    """The packages that importing a file of `zoo` imports by itself."""
    tree = ast.parse((PACKAGE / name).read_text())
    checking = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    inside = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    return {
        (alias.name if isinstance(node, ast.Import) else node.module or "").partition(".")[0]
        for statement in tree.body
        if statement not in checking
        for node in ast.walk(statement)
        if isinstance(node, (ast.Import, ast.ImportFrom)) and node not in inside
        for alias in node.names
    }


def imported_by(name: str) -> set[str]:
    """The rooms and loose modules of `zoo` that a file of it imports anywhere."""
    names = set()
    for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "zoo":
            names |= {f"zoo.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
    return {name.split(".")[1] for name in names if name.startswith("zoo.")} - {"__version__"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_the_rooms_before_it_alone(room: str):
    before = {*ROOMS[: ROOMS.index(room) + 1], *LOOSE} - ({"registry"} if room in ROOMS[:7] else set())
    for name in FILES:
        if name.startswith(f"{room}/"):
            assert imported_by(name) <= before, name


def test_loose_modules_import_one_another_and_the_registry_what_it_merges():
    for name in LOOSE - {"registry"}:
        assert imported_by(f"{name}.py") <= LOOSE - {"registry"}, name
    assert imported_by("registry.py") <= {*LOOSE, "architectures", "data"}
    assert {name.removesuffix(".py") for name in FILES if "/" not in name} == {*LOOSE, "__init__", "__main__", "timm"}


def test_nothing_in_zoo_imports_what_runs_from_a_checkout():
    for name in FILES:
        source = (PACKAGE / name).read_text()
        assert not re.search(r"^\s*(from|import) (training|export|space|tests|benchmarks)\b", source, re.MULTILINE), (
            name
        )


def test_nothing_imports_torchs_exporter():
    """The graph is written by `zoo.publication.graph`, and the exporter takes seconds to load."""
    for folder in ("zoo", "training", "export", "space", "tests", "benchmarks"):
        for path in (PACKAGE.parent / folder).rglob("*.py"):
            source = path.read_text()
            assert not re.search(
                r"^\s*(import|from) (torch\.onnx|onnxscript)\b|\btorch\.onnx\.\w", source, re.MULTILINE
            ), path


@pytest.mark.parametrize("command", ["training --list", "export runs/nothing"])
def test_without_torch_a_command_names_the_extra_in_one_line(command, tmp_path):
    script = "import runpy, sys; sys.modules['torch'] = None; sys.argv = sys.argv[1:]\n"
    script += "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
    root = Path(__file__).parents[1]
    result = subprocess.run([sys.executable, "-c", script, *command.split()], capture_output=True, text=True, cwd=root)
    extra = command.partition(" ")[0].replace("training", "train")
    assert result.stderr == f"error: this needs torch: run pip install -e '.[{extra}]' in a checkout\n"
    assert result.returncode == 2


def calls(extra: str) -> list[Callable[[], object]]:
    """What needs the extra: public names, functions and commands."""
    name, folder = "2c2f-mnist", Path("no such folder")
    checked = fetch(name)
    return {
        "onnx": [lambda: zoo.load(name)],
        "torch": [
            lambda: zoo.certify,
            lambda: zoo.CertifiedModel,
            lambda: zoo.load(name, backend="torch"),
            lambda: zoo.load(name, backend="torch", pretrained=False),
        ],
        "data": [lambda: ParquetFiles([], DATASETS["mnist"]), lambda: label_names([])],
        "train": [lambda: training.train("no such recipe", folder)],
        "export": [lambda: zoo.publish, lambda: zoo.push(name, "org/name"), lambda: verify(name)],
        "serve": [lambda: serve([name])],
        "hub": [lambda: hub(folder)],
        "sign": [lambda: sign(checked, folder), lambda: check_signature(checked, folder)],
    }[extra]


@pytest.mark.parametrize(("extra", "package"), [(extra, name) for extra in PACKAGES for name in PACKAGES[extra]])
def test_whichever_package_is_missing_the_extra_is_named(extra: str, package: str, monkeypatch: pytest.MonkeyPatch):
    for runs in ("zoo.serve.server.run_server", "zoo.hub.server.serve_hub"):
        monkeypatch.setattr(runs, lambda *arguments: None)
    needing = calls(extra)
    monkeypatch.setitem(sys.modules, package, None)
    for call in needing:
        with pytest.raises(MissingPackageError) as told:
            call()
        assert str(told.value) == f"this needs {package}: run pip install -e '.[{extra}]' in a checkout"


def test_the_packages_of_the_extras_are_those_of_pyproject():
    """Those without which an extra's commands do not work; the others of an extra stand here."""
    extras = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    others = {
        "train": {"pyarrow", "tensorboard"},  # asked for when they are used
        "export": {"pyarrow", "tensorboard", "accelerate", "matplotlib", "timm", "tqdm"},  # `require("train")` asks
        "serve": {"uvloop"},  # uvicorn does without
    }
    names = {"pyopenssl": {"OpenSSL"}, "tritonclient[grpc]": {"tritonclient", "grpc"}}

    def imported(extra: str) -> set[str]:
        found: set[str] = set()
        for requirement in extras[extra]:
            package = re.split("[>;]", requirement)[0]
            if package.startswith("certified-zoo["):
                for inner in package.removeprefix("certified-zoo[").removesuffix("]").split(","):
                    found |= imported(inner)
            else:
                found |= names.get(package, {package.replace("-", "_")})
        return found

    assert {extra: imported(extra) - others.get(extra, set()) for extra in PACKAGES} == {
        extra: set(packages) for extra, packages in PACKAGES.items()
    }
    assert set(extras) - set(PACKAGES) == {"onnx-gpu", "space", "docs", "dev"}  # another onnxruntime; no code of zoo's


@pytest.mark.parametrize(("call", "missing"), [("onnx", "torch"), ("torch", "onnxruntime"), ("torch", "onnx")])
def test_a_backend_asks_for_its_own_packages_alone(call: str, missing: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, missing, None)
    assert zoo.load("2c2f-mnist", backend=call).backend == call


def test_the_public_names_are_these():
    assert sorted(zoo.__all__) == zoo.__all__
    assert dir(zoo) == zoo.__all__
    for name in zoo.__all__:
        assert getattr(zoo, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        zoo.nothing  # noqa: B018
