"""The certified model as ONNX graphs whose weights are read from `model.safetensors`, or from its shards.

torch.onnx writes the graph; three things are ours:

* A float64 convolution is Pad, Slice, Concat, MatMul, because ONNX Runtime's CPU provider has no float64 Conv. Its
  sums are those of a matrix product, in the model of arithmetic that the certificate states.
* Only exact rewriting: constants are folded and unused nodes removed. The pattern rewriter that torch.onnx runs by
  default compares constants with a tolerance and dropped a multiplication by 1 - 2^-50; it is switched off.
* Every weight is external data that points into a safetensors file (file, offset, length), so one sha256 covers the
  bytes that every runtime reads.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import warnings
from pathlib import Path
from typing import Any

import onnx_ir
import onnxscript
import torch
from onnx_ir.passes import common
from onnxscript import opset20
from onnxscript.optimizer import fold_constants

from zoo.folder import GRAPHS
from zoo.model import CertifiedModel, load_network
from zoo.records import Certificate, ModelConfig, Outputs
from zoo.runtime import NOT_PROVED
from zoo.weights import data_start, header, read_weights

op: Any = opset20
EXPORTER = f"torch {torch.__version__}, onnxscript {onnxscript.__version__}"  # the same give the same bytes


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
        "certificate_sha256": hashlib.sha256((folder / "certificate.json").read_bytes()).hexdigest(),
        "exporter": EXPORTER,
    }
    for precision, dtype, arithmetic in (
        ("float64", torch.float64, certificate.arithmetic),
        ("float32", torch.float32, NOT_PROVED),
    ):
        model = CertifiedModel.of(network, certificate, dtype)
        write_graph(model, folder / GRAPHS[precision], {**metadata, "arithmetic": arithmetic})


def write_graph(model: CertifiedModel, path: Path, metadata: dict[str, str]) -> None:
    """The model as an ONNX file beside its weights, with a dynamic batch; same model, same bytes.

    A float64 model writes the proved graph with the names of `Outputs`. A float32 model writes native convolutions,
    and every radius is called an estimate.
    """
    proved = model.dtype == torch.float64
    names = [name if proved or "radi" not in name else f"{name}_estimate" for name in Outputs._fields]
    lowering = {torch.ops.aten.conv2d.default: _convolution, torch.ops.aten.convolution.default: _convolution}
    example = torch.full((2, *model.input_shape), 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.onnx about itself
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            optimize=False,
            verbose=False,
            input_names=["images"],
            output_names=names,
            dynamic_shapes=({0: torch.export.Dim("N")},),
            custom_translation_table=lowering if proved else {},
        )
    assert program is not None
    graph = program.model
    _simplify(graph)
    _point_into_safetensors(graph, path.parent)
    graph.metadata_props.update(metadata)
    onnx_ir.save(graph, path)


def _convolution(
    images: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    *options: Any,
) -> Any:
    """A zero-padded convolution as one matrix product: [O, I k k] times the windows [N, I k k, H W].

    Windows are stacked tap by tap inside each channel, the order in which the kernel already lies in memory. The
    options that `zoo.bounds` refuses (dilation, groups) cannot occur in a certified model.
    """
    out_channels, in_channels, kernel_rows, kernel_columns = (int(side) for side in weight.shape)
    rows = (int(images.shape[2]) + 2 * padding[0] - kernel_rows) // stride[0] + 1
    columns = (int(images.shape[3]) + 2 * padding[1] - kernel_columns) // stride[1] + 1
    taps = in_channels * kernel_rows * kernel_columns
    if any(padding):
        images = op.Pad(images, _ints(0, 0, *padding, 0, 0, *padding))
    windows = []
    for row, column in itertools.product(range(kernel_rows), range(kernel_columns)):
        last = _ints(row + (rows - 1) * stride[0] + 1, column + (columns - 1) * stride[1] + 1)
        window = op.Slice(images, _ints(row, column), last, _ints(2, 3), _ints(*stride))
        windows.append(op.Unsqueeze(window, _ints(2)))
    flat = op.Reshape(op.Concat(*windows, axis=2), _ints(0, taps, rows * columns))
    maps = op.MatMul(op.Reshape(weight, _ints(out_channels, taps)), flat)
    if bias is not None:
        maps = op.Add(maps, op.Unsqueeze(bias, _ints(1)))
    return op.Reshape(maps, _ints(0, out_channels, rows, columns))


def _ints(*values: int) -> Any:
    return op.Constant(value_ints=list(values))


def _simplify(graph: onnx_ir.Model) -> None:
    """Fold what depends on no weight and no table, drop what is unused and every trace of the source's paths."""
    stored = {value for value in graph.graph.initializers.values() if len(value.shape or ()) > 0}

    def reads_no_weight(node: onnx_ir.Node) -> bool | None:
        return False if stored.intersection(node.inputs) else None

    common.CommonSubexpressionEliminationPass()(graph)  # first: it sees that constants are equal, not that tensors are
    fold_constants(graph, should_fold=reads_no_weight, onnx_shape_inference=False)
    for simplify in (
        common.IdentityEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.ClearMetadataAndDocStringPass(),
    ):
        simplify(graph)


def _point_into_safetensors(graph: onnx_ir.Model, folder: Path) -> None:
    """Make each weight a reference to its bytes in a safetensors file; tables and constants stay in the graph."""
    for file, weights in read_weights(folder).items():
        for name, entry in header(weights).items():
            value = graph.graph.initializers.get(f"network.{name}")
            if value is None:
                continue
            first, last = entry["data_offsets"]
            value.const_value = onnx_ir.ExternalTensor(
                file,
                offset=data_start(weights) + first,
                length=last - first,
                dtype=onnx_ir.DataType.FLOAT,
                shape=onnx_ir.Shape(entry["shape"]),
                name=f"network.{name}",
                base_dir=folder,
            )
