"""What is loaded when: a rule of the design, held by looking at `sys.modules` in a fresh process."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo

HEAVY = {"numpy", "onnxruntime", "onnx", "torch", "PIL", "huggingface_hub", "safetensors", "pyarrow"}
TORCH_FREE = (
    *("records", "errors", "epsilon", "registry", "shelves", "datasets", "folder", "graph", "hub", "images", "runtime"),
    *("class_folders", "parquet", "splits", "evaluate", "results", "card", "citations", "tables", "display", "doctor"),
    *("hubstore", "hubserver", "signing", "threads"),
    *(f"architectures/{path.stem}" for path in Path(zoo.__file__).parent.glob("architectures/*.py")),
    *(f"cli/{name}" for name in ("__init__", "shell", "models", "proofs", "measure", "server", "hub")),
)  # fmt: skip


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


@pytest.mark.parametrize("name", TORCH_FREE)
def test_no_torch_at_module_level(name: str):
    tree = ast.parse((Path(zoo.__file__).parent / f"{name}.py").read_text())
    checking = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imported = {
        (alias.name if isinstance(node, ast.Import) else node.module or "").partition(".")[0]
        for statement in tree.body
        if statement not in checking
        for node in ast.walk(statement)
        if isinstance(node, (ast.Import, ast.ImportFrom)) and not _inside_function(tree, node)
        for alias in node.names
    }
    assert imported.isdisjoint({"torch", "onnxruntime", "onnx", "safetensors", "pyarrow"})


def _inside_function(tree: ast.Module, node: ast.AST) -> bool:
    functions = [item for item in ast.walk(tree) if isinstance(item, ast.FunctionDef)]
    return any(node is inner for function in functions for inner in ast.walk(function))


@pytest.mark.parametrize("command", ["training --list", "export runs/nothing"])
def test_without_torch_a_command_names_the_extra_in_one_line(command, tmp_path):
    script = "import runpy, sys; sys.modules['torch'] = None; sys.argv = sys.argv[1:]\n"
    script += "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
    root = Path(__file__).parents[1]
    result = subprocess.run([sys.executable, "-c", script, *command.split()], capture_output=True, text=True, cwd=root)
    extra = command.partition(" ")[0].replace("training", "train")
    assert result.stderr == f"error: this needs torch: run pip install -e '.[{extra}]' in a checkout\n"
    assert result.returncode == 2


def test_the_public_names_are_these():
    assert sorted(zoo.__all__) == zoo.__all__
    assert dir(zoo) == zoo.__all__
    for name in zoo.__all__:
        assert getattr(zoo, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        zoo.nothing  # noqa: B018
