"""What is loaded when: a rule of the design, held by looking at `sys.modules` in a fresh process."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo
from zoo.errors import MissingPackageError

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


@pytest.mark.parametrize(
    ("name", "missing", "extra"),
    [("certify", "torch", "torch"), ("CertifiedModel", "torch", "torch"), ("publish", "onnx", "export")],
)
def test_without_its_package_a_public_name_tells_the_extra(
    name: str, missing: str, extra: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("zoo.errors.find_spec", lambda package: None if package == missing else object())
    with pytest.raises(MissingPackageError, match=rf"this needs {missing}: run pip install -e '.\[{extra}\]'"):
        getattr(zoo, name)


def test_the_public_names_are_these():
    assert sorted(zoo.__all__) == zoo.__all__
    assert dir(zoo) == zoo.__all__
    for name in zoo.__all__:
        assert getattr(zoo, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        zoo.nothing  # noqa: B018
