"""The independent checker agrees with published folders, and refuses numbers that are too small."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from tests import checker
from zoo.certificate.certify import certify
from zoo.layers import MinMax, Pixels, Residual

SHELF = Path(__file__).parents[1] / "model_cards"
SMALL = SHELF / "mlp-two-moons"


@pytest.mark.parametrize(
    "name",
    [
        "mlp-two-moons",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                "2c2f-mnist",
                "cpl-xs-cifar10-jpeg75",
                "linfdist-mlp-5x256-mnist",
                "resnet-l4w32-cifar10-jpeg75",
                "lipconvnet-5w8-cifar10-jpeg75",
            )
        ),
    ],
)
def test_a_published_folder_holds(name: str):
    assert checker.check(SHELF / name).startswith("holds")


def test_the_checker_imports_nothing_of_ours():
    code = (
        "import sys, runpy; sys.argv = ['checker', sys.argv[1]]\n"
        "try: runpy.run_path('tests/checker.py', run_name='__main__')\n"
        "finally: assert not {'zoo', 'torch', 'onnx', 'safetensors', 'scipy'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code, str(SMALL)], cwd=SHELF.parent, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, f"{SMALL}: holds: 14 layers, K and T of 2 classes\n")


def test_what_the_checker_cannot_check_is_said(capsys: pytest.CaptureFixture[str]):
    assert checker.main([str(SHELF / "loopresnet-d2w8-mnist")]) == 1
    assert "NOT CHECKED: block1: Residual cannot be checked here" in capsys.readouterr().out


def sealed(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of the small folder with another certificate, and sums that fit it."""
    shutil.copytree(SMALL, folder)
    path = folder / "certificate.json"
    certificate = json.loads(path.read_text())
    change(certificate)
    path.write_text(json.dumps(certificate))
    seal(folder, path)
    return folder


def seal(folder: Path, path: Path) -> None:
    sums = folder / "SHA256SUMS"
    lines = [line for line in sums.read_text().splitlines() if not line.endswith(path.name)]
    sums.write_text("\n".join([*lines, f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}"]) + "\n")


@pytest.mark.parametrize("field", ["body_lipschitz", "feature_norm", "feature_error"])
def test_a_constant_of_the_body_that_is_too_small(tmp_path: Path, field: str):
    def lower(certificate: dict[str, Any]) -> None:
        certificate[field] *= 1 - 1e-6

    with pytest.raises(checker.Failed, match=field):
        checker.check(sealed(tmp_path / "folder", lower))


@pytest.mark.parametrize(
    ("field", "share"),
    [("lipschitz_bound", 1 - 1e-6), ("offset_norm", 1 - 1e-6), ("absolute_norm", 0.5), ("fan_in", 0.5)],
)
def test_a_number_of_a_layer_that_is_too_small(tmp_path: Path, field: str, share: float):
    def lower(certificate: dict[str, Any]) -> None:
        layer = next(layer for layer in certificate["layers"] if layer["kind"] == "Linear")
        layer[field] = type(layer[field])(layer[field] * share)

    with pytest.raises(checker.Failed, match=f"dense1: ({field}|a rounding)"):
        checker.check(sealed(tmp_path / "folder", lower))


@pytest.mark.parametrize(("table", "told"), [(0, "^K of"), (1, "^T of")])
def test_a_table_that_is_too_small(tmp_path: Path, table: int, told: str):
    folder = sealed(tmp_path / "folder", lambda certificate: None)
    graph = folder / "model.onnx"
    content, values = graph.read_bytes(), checker.margin_tables(folder, 2)[table]
    lower = values.copy()
    lower[0, 1] *= 1 - 1e-9
    assert content.count(values.tobytes()) == 1
    graph.write_bytes(content.replace(values.tobytes(), lower.tobytes()))
    seal(folder, graph)
    with pytest.raises(checker.Failed, match=told):
        checker.check(folder)


@pytest.mark.parametrize("field", ["lipschitz_bound", "absolute_norm", "offset_norm", "fan_in"])
def test_a_number_of_a_residual_block_that_is_too_small(field: str):
    branch = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), MinMax("halves"), nn.Conv2d(4, 4, 3, padding=1))
    block = Residual(*branch)
    net = nn.Sequential(Pixels([0.0] * 4, [1.0] * 4), block, nn.Flatten(), nn.Linear(4 * 64, 2))
    record = asdict(certify(net.requires_grad_(False).eval(), (4, 8, 8)).layers[1])
    weights = {f"1.{key}": value.double().numpy() for key, value in block.state_dict().items()}
    checker.check_layer(record, weights, linf=False)
    record[field] = type(record[field])(record[field] * (1 - 1e-6 if field == "lipschitz_bound" else 0.05))
    with pytest.raises(checker.Failed, match=f"1: .*{field}"):
        checker.check_layer(record, weights, linf=False)


def test_other_bytes_than_the_sums_name(tmp_path: Path):
    folder = sealed(tmp_path / "folder", lambda certificate: None)
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\0")
    with pytest.raises(checker.Failed, match=r"model\.onnx is not the file"):
        checker.check(folder)
