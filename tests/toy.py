"""A published folder small enough to make in milliseconds: real files, a real graph, a network that knows nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper
from safetensors.numpy import save

from zoo.architectures import describe
from zoo.publication.folder import RECORDS, SUMS
from zoo.publication.weights import WEIGHTS
from zoo.records import GRAPH_FORMAT, NOT_PROVED, Certificate, Evaluation, LayerBound, ModelConfig, Outputs, dumps
from zoo.registry import ENTRIES

CLASSES = 10
LISTED = (*RECORDS, WEIGHTS)
FILES = (SUMS, *LISTED)


def write_sums(folder: Path) -> None:
    weights = sorted(path.name for path in folder.glob("model*.safetensors*"))
    lines = [f"{sha256(folder / name)}  {name}\n" for name in (*RECORDS, *weights)]
    (folder / "SHA256SUMS").write_text("".join(lines))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_graph(folder: Path, name: str, shape: tuple[int, ...], metadata: dict[str, str], external: str) -> None:
    """logits = images @ weight in float64; every radius is a difference of logits; the names are those of Outputs."""
    size, suffix = int(np.prod(shape)), "_estimate" if "float32" in name else ""
    number = TensorProto.FLOAT if suffix else TensorProto.DOUBLE
    names = [output + suffix if "radi" in output else output for output in Outputs._fields]
    weight = TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[size, CLASSES])
    weight.data_location = TensorProto.EXTERNAL
    offset = 8 + int.from_bytes((folder / "model.safetensors").read_bytes()[:8], "little")
    for key, value in {"location": external, "offset": str(offset), "length": str(4 * size * CLASSES)}.items():
        weight.external_data.add(key=key, value=value)
    constants = [
        helper.make_tensor("flat", TensorProto.INT64, [2], [-1, size]),
        helper.make_tensor("six", TensorProto.INT64, [1], [6]),
        helper.make_tensor("splits", TensorProto.INT64, [2], [1, 5]),
        helper.make_tensor("infinity", number, [], [float("inf")]),
        helper.make_tensor("last", TensorProto.INT64, [1], [1]),
    ]
    nodes = [
        helper.make_node("Reshape", ["images", "flat"], ["pixels"]),
        helper.make_node("Cast", ["pixels"], ["x"], to=number),
        helper.make_node("Cast", ["weight"], ["w"], to=number),
        helper.make_node("MatMul", ["x", "w"], [names[0]]),
        helper.make_node("ArgMax", [names[0]], [names[1]], axis=1, keepdims=0),
        helper.make_node("TopK", [names[0], "six"], ["best", "order"]),
        helper.make_node("Split", ["best", "splits"], ["first", "others"], axis=1),
        helper.make_node("Sub", ["first", "others"], [names[4]]),
        helper.make_node("ReduceMin", [names[4], "last"], [names[2]], keepdims=0),
        helper.make_node("Sub", ["first", names[0]], ["gaps"]),
        helper.make_node("Equal", [names[0], "first"], ["mine"]),
        helper.make_node("Where", ["mine", "infinity", "gaps"], [names[3]]),
    ]
    shapes = (["N", CLASSES], ["N"], ["N"], ["N", CLASSES], ["N", 5])
    kinds = (number, TensorProto.INT64, number, number, number)
    outputs = [helper.make_tensor_value_info(*value) for value in zip(names, kinds, shapes, strict=True)]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", *shape])
    graph = helper.make_graph(nodes, "toy", [images], outputs, [weight, *constants])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, metadata)
    (folder / name).write_bytes(model.SerializeToString())


def make_folder(
    folder: Path,
    name: str = "4c3f-mnist",
    metadata: dict[str, str] | None = None,
    external: str = "model.safetensors",
    padding: int = 0,
    seed: int = 0,
) -> Path:
    """A folder whose records and hashes agree; its graph is linear, and proves nothing.

    padding: bytes of a tensor that nothing reads, after the weight.
    """
    entry = ENTRIES[name]
    shape = entry.architecture.input_shape
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    weight = (rng.standard_normal((int(np.prod(shape)), CLASSES)) / 10).astype(np.float32)
    unread = {"zeros": np.zeros(padding // 4, dtype=np.float32)} if padding else {}
    (folder / "model.safetensors").write_bytes(save({"weight": weight, **unread}))
    weights_sha256 = sha256(folder / "model.safetensors")
    labels = tuple(f"class {index}" for index in range(CLASSES))
    config = ModelConfig(name, describe(entry.architecture), entry.dataset, "l2", shape, labels, {}, "apache-2.0")
    layer = LayerBound("pixels", "Pixels", shape, shape, 1.0, 1.0, "scale", {}, 0, 1.0, 0.0, None)
    certificate = Certificate(
        name, "toy", "l2", "l2, pixels", "[0, 1]", "binary64", "product", config.architecture, weights_sha256,
        (layer,), 1.0, 1.0, 0.0, "0" * 64, {}, graph_format=GRAPH_FORMAT,
    )  # fmt: skip
    (folder / "config.json").write_text(dumps(config))
    (folder / "certificate.json").write_text(dumps(certificate))
    says = {
        "name": name,
        "norm": "l2",
        "unit": "l2, pixels",
        "dataset": entry.dataset,
        "labels": json.dumps(labels),
        "weights_sha256": weights_sha256,
        "certificate_sha256": sha256(folder / "certificate.json"),
    }
    for file, arithmetic in (("model.onnx", "binary64"), ("model.float32.onnx", NOT_PROVED)):
        write_graph(folder, file, shape, {**says, "arithmetic": arithmetic, **(metadata or {})}, external)
    evaluation = Evaluation(
        entry.dataset, "test", "", 10, 0.9, {"36/255": 0.5}, 0.25, ((0.0, 0.9),), 1.0, "a machine",
        sha256(folder / "model.onnx"),
    )  # fmt: skip
    (folder / "evaluation.json").write_text(dumps(evaluation))
    (folder / "README.md").write_text("# Toy\n")
    write_sums(folder)
    return folder
