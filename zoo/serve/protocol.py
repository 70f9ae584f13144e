"""Tensors of the Open Inference Protocol to arrays and back; its documents are KServe's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import orjson

from zoo.errors import InputError, one_line
from zoo.images import unit_interval
from zoo.records import Outputs
from zoo.runtime import CHUNK
from zoo.serve.service import Served


@contextmanager
def _no_arguments() -> Iterator[None]:
    """KServe reads `sys.argv` when it is imported, and would take our options for its own."""
    arguments, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = arguments


with _no_arguments():
    from kserve.protocol.infer_type import InferInput, InferOutput, InferRequest, InferResponse, RequestedOutput

VERSION = "1"
TYPES = {"<f8": "FP64", "<i8": "INT64"}
LARGEST = float(np.finfo(np.float64).max)  # stands for infinity in JSON, which has none, and is below it


def metadata(served: Served) -> dict[str, Any]:
    """What the protocol tells of a model: -1 for the number of images, and of ranks."""
    classes = len(served.model.labels)
    shapes = {"logits": [-1, classes], "label": [-1], "radius": [-1], "class_radii": [-1, classes]}
    return {
        "name": served.model.name,
        "versions": [VERSION],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, *served.model.input_shape]}],
        "outputs": [
            {"name": name, "datatype": "INT64" if name == "label" else "FP64", "shape": shapes.get(name, [-1, -1])}
            for name in Outputs._fields
        ],
    }


def read_request(body: bytes, json_length: str | None, name: str) -> InferRequest:
    """The request in a REST body: JSON, of `json_length` bytes where tensors follow it. Raises InputError.

    KServe's own reader makes a Python number of each binary value.
    """
    try:
        length = len(body) if json_length is None else int(json_length)
        if not 0 < length <= len(body):
            raise ValueError(f"a JSON header of {length} bytes in a body of {len(body)}")
        header, start = orjson.loads(body[:length]), length
        inputs = []
        for value in header["inputs"]:
            parameters = value.get("parameters") or {}
            if not all(type(side) is int for side in value["shape"]):
                raise ValueError(f"a shape must be a list of integers, got {value['shape']!s:.40}")
            tensor = InferInput(value["name"], value["shape"], value["datatype"], value.get("data"), parameters)
            if (size := parameters.get("binary_data_size")) is not None:
                if not (isinstance(size, int) and 0 <= size <= len(body) - start):
                    raise ValueError(f"binary_data_size {size!r:.40} where {len(body) - start} bytes follow")
                tensor._raw_data = body[start : start + size]
                start += size
            inputs.append(tensor)
        if start != len(body):
            raise ValueError(f"{len(body) - start} bytes too many follow")
        outputs = [RequestedOutput(value["name"], value.get("parameters")) for value in header.get("outputs") or ()]
        if not all(isinstance(output.name, str) and isinstance(output.parameters or {}, dict) for output in outputs):
            raise ValueError("an output's name or parameters of the wrong type")
        identity, parameters = header.get("id"), header.get("parameters") or {}
        if not (isinstance(identity, str | None) and isinstance(parameters, dict)):
            raise ValueError("an id or parameters of the wrong type")
        return InferRequest(name, inputs, identity, parameters=parameters, request_outputs=outputs)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"not an inference request: {_told(error)}") from error


def read_images(request: InferRequest, input_shape: tuple[int, int, int]) -> np.ndarray:
    """The tensor `images`, at most CHUNK of them, values in [0, 1]. Raises InputError."""
    if [tensor.name for tensor in request.inputs] != ["images"]:
        names = ", ".join(str(tensor.name)[:40] for tensor in request.inputs[:3])
        raise InputError(f"expected one input, images, got {names or 'none'}")
    tensor = request.inputs[0]
    if tensor.datatype != "FP32":
        raise InputError(f"images must be FP32, got {tensor.datatype[:20]}")
    shape = list(tensor.shape)
    if len(shape) != 4 or shape[1:] != list(input_shape) or not 0 < shape[0] <= CHUNK:
        raise InputError(
            f"images must have shape [N, {str(input_shape)[1:-1]}], N from 1 to {CHUNK}, got {shape!s:.80}"
        )
    try:
        array = tensor.as_numpy()
    except Exception as error:  # KServe's and NumPy's, of no common class
        raise InputError(f"images cannot be read: {_told(error)}") from error
    return unit_interval(array.reshape(shape))


def rest_answer(request: InferRequest, served: Served, outputs: Outputs, identity: str) -> tuple[bytes, int | None]:
    """The body of an answer, and the bytes of its JSON where binary tensors follow it.

    KServe's own writer takes a third of what the server spends on a request. Raises InputError as `_chosen` does.
    """
    tensors: list[dict[str, Any]] = []
    follow: list[bytes] = []
    for name, array, binary in _chosen(request, outputs):
        tensor: dict[str, Any] = {"name": name, "shape": array.shape, "datatype": TYPES[array.dtype.str]}
        if binary:
            follow.append(array.tobytes())
            tensor["parameters"] = {"binary_data_size": len(follow[-1])}
        else:
            tensor["data"] = (
                (np.nan_to_num(array, posinf=LARGEST) if array.dtype.kind == "f" else array).ravel().tolist()
            )
        tensors.append(tensor)
    answer = {
        "model_name": served.model.name,
        "model_version": VERSION,
        "id": request.id or identity,
        "parameters": {"model_digest": served.digest},
        "outputs": tensors,
    }
    told = orjson.dumps(answer)
    return b"".join([told, *follow]), len(told) if follow else None


def grpc_answer(request: InferRequest, served: Served, outputs: Outputs, identity: str) -> Any:
    """The answer as KServe writes it. Raises InputError as `_chosen` does."""
    tensors, requested = [], []
    for name, array, binary in _chosen(request, outputs):
        tensor = InferOutput(name, list(array.shape), TYPES[array.dtype.str], array)
        tensor.set_data_from_numpy(array, binary)  # KServe's own conversion fails on an array
        tensors.append(tensor)
        requested.append(RequestedOutput(name, {"binary_data": binary}))
    return InferResponse(
        request.id or identity,
        served.model.name,
        tensors,
        VERSION,
        parameters={"model_digest": served.digest},
        use_binary_outputs=request.use_binary_outputs,
        requested_outputs=requested,
    ).to_grpc()


def _chosen(request: InferRequest, outputs: Outputs) -> Iterator[tuple[str, np.ndarray, bool]]:
    """The outputs that were asked for, or all, and whether each goes as bytes.

    Raises InputError for an output that there is not.
    """
    asked = {output.name: output.parameters or {} for output in request.request_outputs or ()}
    if strangers := sorted(set(asked) - set(Outputs._fields)):
        raise InputError(f"no output is called {strangers[0][:40]!r}, expected {', '.join(Outputs._fields)}")
    for name in asked or Outputs._fields:
        yield name, getattr(outputs, name), bool(asked.get(name, {}).get("binary_data", request.use_binary_outputs))


def _told(error: BaseException) -> str:
    return f"no field {error}" if isinstance(error, KeyError) else one_line(error)
