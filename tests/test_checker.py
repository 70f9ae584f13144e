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

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save
from torch import nn

import zoo
from tests import checker
from tests.checker.layers import Needs
from tests.checker.norms import norm as checker_norm
from zoo.bounds.rule import Context
from zoo.bounds.table import TABLE, bound_layer
from zoo.certificate.certify import certify
from zoo.layers import MinMax, Pixels, Residual, SelfAttention
from zoo.publication.weights import weights_sha256

from .soundness.test_linf import SOUND as LINF
from .soundness.test_rules import SOUND, Case

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
                "lipconvnet-5w8-cifar10-jpeg75",
                "loopresnet-d2w8-mnist",
            )
        ),
    ],
)
def test_a_published_folder_holds(name: str):
    assert checker.check(SHELF / name).startswith("holds")


def test_a_network_of_ones_own_holds_whatever_its_head_is_called(tmp_path: Path):
    torch.manual_seed(0)
    network = nn.Sequential(Pixels([0.5], [2.0]), nn.Flatten(), nn.Linear(16, 6), MinMax(), nn.Linear(6, 3))
    zoo.publish(network.requires_grad_(False).eval(), tmp_path / "own", (1, 4, 4), ("a", "b", "c"), name="own")
    assert checker.check(tmp_path / "own").startswith("holds: 4 layers")


def test_the_checker_imports_nothing_of_ours():
    code = (
        "import sys, runpy; sys.argv = ['checker', sys.argv[1]]\n"
        "try: runpy.run_module('tests.checker', run_name='__main__')\n"
        "finally: assert not {'zoo', 'torch', 'onnx', 'safetensors', 'scipy'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code, str(SMALL)], cwd=SHELF.parent, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, f"{SMALL}: holds: 14 layers, K and T of 2 classes\n")


def test_what_the_checker_cannot_check_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def rename(certificate: dict[str, Any]) -> None:
        certificate["layers"][3]["kind"] = "BatchNorm2d"

    assert checker.main([str(sealed(tmp_path / "folder", rename))]) == 1
    assert "NOT CHECKED: dense1_activation: BatchNorm2d cannot be checked here" in capsys.readouterr().out


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


@pytest.mark.parametrize(("layer", "told"), [(0, "first layer"), (2, "has no weights bias, weight")])
def test_a_layer_that_is_given_another_kind(tmp_path: Path, layer: int, told: str):
    def rename(certificate: dict[str, Any]) -> None:
        certificate["layers"][layer]["kind"] = "MinMax"

    with pytest.raises(checker.Failed, match=told):
        checker.check(sealed(tmp_path / "folder", rename))


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
        layer = next(layer for layer in certificate["layers"] if layer["name"] == "dense2")
        layer[field] = type(layer[field])(layer[field] * share)

    with pytest.raises(checker.Failed, match=f"dense2: ({field}|a rounding)"):
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


UNCHECKED = {
    "AdaptiveAvgPool2d", "AvgPool2d", "BatchNorm2d", "ChannelShuffle", "ConvTranspose2d", "Hardtanh", "LeakyReLU",
    "MaxPool2d", "Unflatten",
}  # fmt: skip


def plain(layer: nn.Module) -> bool:
    """Whether a certificate tells all that its convolution does, but for the least padding by zeros that fits."""
    if not isinstance(layer, nn.Conv2d):
        return True
    return layer.groups == 1 and layer.dilation == (1, 1) and layer.padding != (4, 0) and layer.padding_mode == "zeros"


def cases() -> list[Any]:
    loop = Residual(nn.Conv2d(2, 3, 4, 2, 1), nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1), skip=nn.Conv2d(2, 3, 2, 2))
    dense = Residual(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
    mixed = Residual(SelfAttention(4, 2), nn.Conv2d(4, 4, 1))
    block = Residual(nn.Conv2d(4, 4, 3, padding=1), MinMax("halves"), nn.Conv2d(4, 4, 3, padding=1))
    more = [
        Case(loop, (2, 4, 4)),
        Case(dense, (3,)),
        Case(mixed, (4, 2, 3)),
        Case(block, (4, 8, 8)),
    ]
    found = [case for kind, all_of in SOUND.items() for case in all_of if kind.__name__ not in UNCHECKED]
    found = [case for case in [*found, *more] if plain(case.layer)]
    return [pytest.param(case, id=f"{type(case.layer).__name__} {list(case.shape)}") for case in found]


def record_of(case: Case, norm: str = "l2") -> tuple[dict[str, Any], dict[str, Any]]:
    """What the zoo proves of a layer, and its weights, as a folder has them."""
    record = {**vars(bound_layer(case.layer, Context("layer", case.shape, norm=norm))), "name": "layer"}
    record |= {"kind": type(case.layer).__name__, "input_shape": list(case.shape)}
    record["output_shape"] = list(record["output_shape"])
    return record, {f"layer.{key}": value.double().numpy() for key, value in case.layer.state_dict().items()}


def test_every_kind_of_layer_is_checked_or_named():
    assert {kind.__name__ for kind, row in TABLE.items() if row.l2} - UNCHECKED == set(checker.layers.L2)
    linf = {kind.__name__ for kind, row in TABLE.items() if row.linf}
    assert linf - UNCHECKED - {"Residual"} == set(checker.layers.LINF)


@pytest.mark.parametrize("case", cases())
def test_the_checker_agrees_with_every_rule_and_sees_each_smaller_number(case: Case):
    record, weights = record_of(case)
    checker.check_layer(record, weights, linf=False)
    rounds = record["fan_in"] > 0
    lower = {"lipschitz_bound": 1 - 1e-6, "offset_norm": 0.0 if record["offset_norm"] > 1e-100 else None}
    lower |= {"absolute_norm": 0.05, "fan_in": 0.0} if rounds else {}
    lower |= {"range_norm": 1 - 1e-6} if record["range_norm"] is not None else {}
    for field, share in lower.items():
        if share is None:
            continue
        with pytest.raises(checker.Failed, match="layer: "):
            checker.check_layer({**record, field: type(record[field])(record[field] * share)}, weights, linf=False)
    with pytest.raises(checker.Failed, match="range_norm"):
        checker.check_layer({**record, "range_norm": 1e-9}, weights, linf=False)


@pytest.mark.parametrize("kind", sorted(set(checker.layers.LINF) - {"Dropout", "SpatialShift"}))
def test_the_checker_agrees_with_rules_in_linf(kind: str):
    layer, shape = next(cases for known, cases in LINF.items() if known.__name__ == kind)[0]
    record, weights = record_of(Case(layer, shape), "linf")
    checker.check_layer(record, weights, linf=True)
    for field in ("lipschitz_bound", *(["absolute_norm"] if record["fan_in"] else [])):
        with pytest.raises(checker.Failed, match=f"layer: .*{field}"):
            checker.check_layer({**record, field: record[field] * 0.1}, weights, linf=True)


@pytest.mark.parametrize("change", [{"groups": 2}, {"padding_mode": "circular"}], ids=str)
def test_what_a_certificate_does_not_tell_of_a_convolution(monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]):
    monkeypatch.setattr("zoo.bounds.convolution.DENSE_COST", 0.0)  # so that a small one is bounded on a torus
    record, weights = record_of(Case(nn.Conv2d(2, 2, 3, padding=1, **change), (2, 4, 4)))
    with pytest.raises(checker.Unchecked, match="layer: "):
        checker.check_layer(record, weights, linf=False)


def test_constants_of_class_pairs_that_are_too_small():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 3, 2, 1), nn.ReLU(), nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten()]
    net = nn.Sequential(Pixels([0.5], [2.0]), *layers, nn.Linear(36, 6), nn.ReLU())
    net.add_module("head", nn.Linear(6, 3))
    certificate = asdict(certify(net.requires_grad_(False).eval(), (1, 6, 6)))
    weights = {key: value.double().numpy() for key, value in net.state_dict().items()}
    needed = checker.pair_constants(certificate["layers"], weights)[np.tril_indices(3, -1)]
    given = np.array(certificate["pairwise"])
    assert (given >= needed).all()
    assert (given * (1 - 1e-6) < needed).all()


@pytest.mark.parametrize("size", [1e-200, 1e-160, 1e-80, 1.0, 1e50])
def test_a_norm_is_never_below_the_largest_singular_value(size: float):
    assert checker_norm(np.full((4, 9), size)) >= 6 * size


def test_other_bytes_than_the_sums_name(tmp_path: Path):
    folder = sealed(tmp_path / "folder", lambda certificate: None)
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\0")
    with pytest.raises(checker.Failed, match=r"model\.onnx is not the file"):
        checker.check(folder)


def test_a_file_that_no_sum_names_is_not_read(tmp_path: Path):
    """The weights that the certificate speaks of, beside ten times as large ones, which are those that are named."""
    folder = sealed(tmp_path / "folder", lambda certificate: None)
    weights = folder / "model.safetensors"
    shutil.copy(weights, folder / "z.safetensors")
    larger = {key: value * np.float32(10) for key, value in load(weights.read_bytes()).items()}
    weights.write_bytes(save(larger))
    seal(folder, weights)
    with pytest.raises(checker.Failed, match="not those that the certificate names"):
        checker.check(folder)
    certificate = folder / "certificate.json"
    named = {**json.loads(certificate.read_text()), "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}
    certificate.write_text(json.dumps(named))
    seal(folder, certificate)
    with pytest.raises(checker.Failed, match="pixels: "):  # the numbers are not those of the weights that are read
        checker.check(folder)


@pytest.mark.parametrize("name", ["certificate.json", "model.onnx", "model.safetensors"])
def test_sums_that_leave_a_file_out(tmp_path: Path, name: str):
    folder = sealed(tmp_path / "folder", lambda certificate: None)
    sums = folder / "SHA256SUMS"
    sums.write_text("".join(f"{line}\n" for line in sums.read_text().splitlines() if not line.endswith(f"  {name}")))
    told = "no weights" if name == "model.safetensors" else f"does not name {name}"
    with pytest.raises(checker.Failed, match=told):
        checker.check(folder)
    sums.write_text("")
    with pytest.raises(checker.Failed, match="does not name certificate"):
        checker.check(folder)


def test_weights_in_shards_hold_and_no_tensor_stands_in_two(tmp_path: Path):
    """By the sha256 of the shards' lines, as the zoo has it."""
    folder = sealed(tmp_path / "folder", lambda certificate: None)
    whole = load((folder / "model.safetensors").read_bytes())
    (folder / "model.safetensors").unlink()
    sums = folder / "SHA256SUMS"
    sums.write_text("".join(f"{line}\n" for line in sums.read_text().splitlines() if ".safetensors" not in line))
    head = {key: value for key, value in whole.items() if key.startswith("head.")}
    body = {key: value for key, value in whole.items() if key not in head}

    def shard(*parts: dict[str, np.ndarray]) -> None:
        digests = {}
        for number, part in enumerate(parts, 1):
            path = folder / f"model-{number:05}-of-{len(parts):05}.safetensors"
            path.write_bytes(save(part))
            seal(folder, path)
            digests[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        path = folder / "certificate.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "weights_sha256": weights_sha256(digests)}))
        seal(folder, path)

    shard(body, head)
    assert checker.check(folder).startswith("holds")
    shard(body, whole)
    with pytest.raises(checker.Failed, match="stands in two files"):
        checker.check(folder)


def test_a_number_that_is_none_fails_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = sealed(tmp_path / "folder", lambda certificate: certificate.update(feature_norm=float("inf")))
    assert checker.main([str(folder)]) == 1
    assert ": FAILS: " in capsys.readouterr().out


def test_what_underflows_on_the_way_through_a_branch_is_paid_for():
    """Nine layers of norm 1e-36, then nine of 1e36: binary64 multiplies the first nine to 0."""
    needs = Needs(1.0, 1e-30, 1e-30, 1e-30)
    for norm in [1e-36] * 9 + [1e36] * 9:
        needs = needs.then(Needs(norm))
    assert needs.lipschitz >= 1.0
    assert min(needs.offset, needs.slope, needs.constant) >= 1e-30
