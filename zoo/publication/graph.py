"""The certified model as ONNX graphs whose weights are read from `model.safetensors`, or from its shards.

The bytes of a graph follow from the network's layers, the certificate and the graph format alone. Every weight is
external data that points into a safetensors file (file, offset, length), so that every runtime reads the same bytes,
which one sha256 covers. Whatever follows from the weights is computed in the graph.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from onnx import ModelProto, TensorProto, helper
from torch import nn

from zoo.bounds.table import TABLE
from zoo.certificate.model import CertifiedModel
from zoo.files import sha256
from zoo.lowering.intervals import least_margins
from zoo.lowering.layers import normalise
from zoo.lowering.nodes import Nodes
from zoo.lowering.values import Value
from zoo.publication.folder import GRAPHS
from zoo.publication.network import load_network
from zoo.publication.weights import data_start, header, read_headers, read_weights
from zoo.records import GRAPH_FORMAT, NOT_PROVED, Certificate, ModelConfig, output_names, ranks

OPSET, IR_VERSION = 20, 10


def write_graphs(folder: Path, config: ModelConfig, certificate: Certificate) -> None:
    """Write both ONNX graphs beside the weights and the `certificate.json` in the folder."""
    network = load_network(read_weights(folder), certificate)
    metadata = {
        "name": config.name,
        "norm": config.norm,
        "unit": certificate.unit,
        "dataset": config.dataset,
        "labels": json.dumps(config.labels),
        "license": config.license,
        "weights_sha256": certificate.weights_sha256,
        "certificate_sha256": sha256(folder / "certificate.json"),
        "graph_format": str(GRAPH_FORMAT),
    }
    for precision, arithmetic in (("float64", certificate.arithmetic), ("float32", NOT_PROVED)):
        model = CertifiedModel.of_loaded(network, certificate, getattr(torch, precision))
        write_graph(model, folder / GRAPHS[precision], {**metadata, "arithmetic": arithmetic})


def write_graph(model: CertifiedModel, path: Path, metadata: dict[str, str]) -> None:
    """Write the model as an ONNX file beside its weights, for batches of any size.

    The graph of a float64 model is the proved one. That of a float32 model has ONNX's own convolutions, and calls every
    radius an estimate.
    """
    graph = certified_graph(model, stored_tensors(read_headers(path.parent)))
    helper.set_model_props(graph, metadata)
    path.write_bytes(graph.SerializeToString(deterministic=True))


def stored_tensors(headers: Mapping[str, bytes]) -> dict[str, TensorProto]:
    """Each tensor of safetensors files, given their headers, as external data: file, offset, length."""
    tensors = {}
    for file, content in headers.items():
        for name, entry in header(content).items():
            first, last = entry["data_offsets"]
            tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=entry["shape"])
            tensor.data_location = TensorProto.EXTERNAL
            place = {"location": file, "offset": data_start(content) + first, "length": last - first}
            for key, value in place.items():
                tensor.external_data.add(key=key, value=str(value))
            tensors[name] = tensor
    return tensors


def certified_graph(model: CertifiedModel, stored: Mapping[str, TensorProto]) -> ModelProto:
    """The graph that answers `Outputs`; `stored` are the network's weights by their names in its state dict."""
    precision = str(model.dtype).removeprefix("torch.")
    network, shape, levels = model.network, model.input_shape, model.levels
    nodes = Nodes(precision, stored, TABLE, model.norm)
    logits, label, radius, class_radii, topk_radius = output_names(precision)
    (first, _), *body, (name, head) = network._modules.items()
    assert isinstance(head, nn.Linear)
    clamped = nodes.add(
        "Clip", "images", nodes.constant(np.array(np.float32(0))), nodes.constant(np.array(np.float32(1)))
    )
    outside = nodes.add("ReduceL1", nodes.add("Sub", "images", clamped), nodes.ints(1, 2, 3), keepdims=1)
    inside = nodes.add("LessOrEqual", nodes.reshape(outside, -1, 1), nodes.constant(np.array(np.float32(0))))
    with nodes.scope(first):
        x = normalise(nodes, first, Value(nodes.cast(clamped), shape))
    x = nodes.through(body, x)
    nodes.add("Gemm", x.name, nodes.weight(f"{name}.weight"), nodes.weight(f"{name}.bias"), output=logits, transB=1)
    nodes.add("ArgMax", logits, output=label, axis=1, keepdims=0)
    margins = nodes.add("Sub", nodes.add("ReduceMax", logits, nodes.ints(1), keepdims=1), logits)
    total = nodes.add("ReduceSum", margins, nodes.ints(1), keepdims=1)  # a sum keeps a NaN
    admissible = nodes.add("And", inside, nodes.add("Less", total, nodes.numbers(math.inf)))
    margins = nodes.add("Where", admissible, margins, nodes.numbers(0))
    tables = {name: getattr(model, name).numpy(force=True) for name in ("slack", "margin_lipschitz")}
    slack, lipschitz = (
        nodes.add("Gather", nodes.constant(table, name), label, axis=0) for name, table in tables.items()
    )
    quotients = nodes.add("Div", nodes.add("Sub", margins, slack), lipschitz)
    if levels:
        images = nodes.cast("images")
        least = least_margins(nodes, network, images, shape, label, levels)
        proved = nodes.add("Greater", least, nodes.add("Mul", slack, nodes.numbers(2)))
        proved = nodes.add("And", proved, admissible)
        reached = nodes.add("Where", proved, nodes.reshape(nodes.numbers(levels), -1, 1, 1), nodes.numbers(0))
        reached = nodes.add("ReduceMax", reached, nodes.ints(0), keepdims=0)
        nodes.add("Max", nodes.add("Relu", quotients), reached, output=class_radii)
    else:
        nodes.add("Relu", quotients, output=class_radii)
    count = nodes.ints(ranks(head.out_features))
    nodes.add_many("TopK", class_radii, count, outputs=[topk_radius, "nearest"], axis=1, largest=0, sorted=1)
    nodes.add("Gather", topk_radius, nodes.constant(np.array(0)), output=radius, axis=1)
    return _model(nodes, shape, head.out_features)


def _model(nodes: Nodes, shape: tuple[int, ...], classes: int) -> ModelProto:
    shapes = (("N", classes), ("N",), ("N",), ("N", classes), ("N", ranks(classes)))
    kinds = (nodes.data_type, TensorProto.INT64, nodes.data_type, nodes.data_type, nodes.data_type)
    outputs = [
        helper.make_tensor_value_info(name, kind, sides)
        for name, kind, sides in zip(output_names(nodes.precision), kinds, shapes, strict=True)
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ("N", *shape))
    graph = helper.make_graph(nodes.nodes, "certified", [images], outputs, list(nodes.initializers.values()))
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="certified-zoo")
