"""The Open Inference Protocol over REST and gRPC: its tensors to arrays and back, and its metadata of a model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import orjson
from pydantic import ValidationError
from tritonclient.grpc import service_pb2

from zoo import __version__
from zoo.errors import InputError, UnknownModelError, one_line
from zoo.inference.images import unit_interval
from zoo.inference.runtime import CHUNK
from zoo.records import Outputs
from zoo.serve.documents import InferenceRequest
from zoo.serve.routes import FEW, few, mistake
from zoo.serve.service import Served, Service

pb: Any = service_pb2  # its classes are made when it is imported, unseen by a type checker
VERSION = "1"
INPUTS = {"FP32": np.dtype("<f4"), "UINT8": np.dtype("u1")}
CONTENTS = {"FP32": "fp32_contents", "UINT8": "uint_contents"}  # the fields of gRPC's InferTensorContents
OUTPUTS = {"<f8": "FP64", "<i8": "INT64"}
MAX_FLOAT64 = float(np.finfo(np.float64).max)  # stands for infinity, which JSON lacks
SERVER = {
    "name": "certified-zoo",
    "version": __version__,
    "extensions": ["binary_tensor_data", "model_configuration", "model_repository", "statistics", "trace", "logging"],
}


@dataclass(frozen=True)
class Tensor:
    """An input, whose values are the bytes of an array, or numbers in lists, nested or not."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Mapping[str, Any]
    content: bytes | Sequence[Any] | None


@dataclass(frozen=True)
class Asked:
    """A request for inference, over REST or gRPC."""

    identity: str
    tensors: list[Tensor]
    outputs: dict[str, bool]  # by name whether it goes as bytes; empty for all outputs
    binary: bool  # whether outputs go as bytes if none is named


def find(service: Service, name: str, version: str) -> Served:
    """The model of this name; an empty version means the only one. Raises UnknownModelError and NotReadyError."""
    if version not in ("", VERSION):
        raise UnknownModelError(f"{name[:80]} has version {VERSION} only, got {version[:20]!r}")
    return service.find(name)


def metadata(served: Served) -> dict[str, Any]:
    """The protocol's metadata of a model, in which -1 is the number of images, or of ranks."""
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


def read_request(body: bytes, json_length: str | None, served: Served) -> Asked:
    """The request in a REST body: JSON, of `json_length` bytes where tensors follow it. Raises InputError."""
    most = FEW + 2 * CHUNK * math.prod(served.model.input_shape)  # a value, and a list where each is nested
    try:
        start = len(body) if json_length is None else int(json_length)
        if not 0 < start <= len(body):
            raise ValueError(f"a JSON header of {start} bytes in a body of {len(body)}")
        few(body[:start], most)
        asked = InferenceRequest.model_validate_json(body[:start])
        tensors = []
        for tensor in asked.inputs:
            parameters, content = tensor.parameters or {}, tensor.data
            if (size := parameters.get("binary_data_size")) is not None:
                if not (type(size) is int and 0 <= size <= len(body) - start):
                    raise ValueError(f"binary_data_size {size!r:.40} where {len(body) - start} bytes follow")
                content = body[start : start + size]
                start += size
            tensors.append(Tensor(tensor.name, tensor.datatype, tensor.shape, parameters, content))
        if start != len(body):
            raise ValueError(f"{len(body) - start} bytes too many follow")
    except ValidationError as error:
        raise InputError(f"not an inference request: {mistake(error)}") from error
    except ValueError as error:
        raise InputError(f"not an inference request: {one_line(error)}") from error
    binary = bool((asked.parameters or {}).get("binary_data_output"))
    wanted = [(output.name, output.parameters or {}) for output in asked.outputs or ()]
    return Asked(asked.id or "", tensors, _wanted(wanted, binary), binary)


def read_message(message: Any) -> Asked:
    """The request in a gRPC message. Raises InputError."""
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise InputError(f"{len(message.inputs)} inputs with {len(raw)} raw contents: give one for each")
    tensors = []
    for place, tensor in enumerate(message.inputs):
        if raw and tensor.contents.ByteSize():
            raise InputError(f"input {tensor.name[:40]!r} has contents and raw contents: give one of them")
        content = raw[place] if raw else getattr(tensor.contents, CONTENTS.get(tensor.datatype, "bytes_contents"))
        tensors.append(Tensor(tensor.name, tensor.datatype, list(tensor.shape), _parameters(tensor), content))
    wanted = [(output.name, _parameters(output)) for output in message.outputs]
    return Asked(message.id, tensors, _wanted(wanted, True), True)


def _parameters(message: Any) -> dict[str, Any]:
    return {name: getattr(value, value.WhichOneof("parameter_choice") or "string_param")
            for name, value in message.parameters.items()}  # fmt: skip


def _wanted(outputs: Sequence[tuple[str, Mapping[str, Any]]], binary: bool) -> dict[str, bool]:
    """The outputs asked for, as `Asked.outputs`. Raises InputError for an unknown one, or a form not offered."""
    for name, parameters in outputs:
        if name not in Outputs._fields:
            raise InputError(f"no output is called {name[:40]!r}, expected {', '.join(Outputs._fields)}")
        if strange := sorted({"classification", "shared_memory_region"} & set(parameters)):
            told = "ask /models/NAME for named classes" if strange[0] == "classification" else "it comes as a tensor"
            raise InputError(f"output {name!r}: {strange[0]} is not offered; {told}")
    return {name: bool(parameters.get("binary_data", binary)) for name, parameters in outputs}


def read_images(asked: Asked, served: Served) -> np.ndarray:
    """The tensor `images`, at most CHUNK of them, values in [0, 1]. Raises InputError."""
    if [tensor.name for tensor in asked.tensors] != ["images"]:
        names = ", ".join(tensor.name[:40] for tensor in asked.tensors[:3])
        raise InputError(f"expected one input, images, got {names or 'none'}")
    tensor, input_shape = asked.tensors[0], list(served.model.input_shape)
    if "shared_memory_region" in tensor.parameters:
        raise InputError("images must be in the request: the server reads no shared memory")
    if tensor.datatype == "BYTES":
        raise InputError(
            "images must be FP32 or UINT8, got BYTES: "
            f"a PNG, JPEG or WebP file goes to /v1/models/{served.model.name}/certify"
        )
    if tensor.datatype not in INPUTS:
        raise InputError(f"images must be FP32, in [0, 1], or UINT8, got {tensor.datatype[:20]}")
    shape = tensor.shape
    if len(shape) != 4 or shape[1:] != input_shape or not 0 < shape[0] <= CHUNK:
        raise InputError(
            f"images must have shape [N, {str(input_shape)[1:-1]}], N from 1 to {CHUNK}, got {shape!s:.80}"
        )
    return unit_interval(_array(tensor).reshape(shape))


def _array(tensor: Tensor) -> np.ndarray:
    """The values, as many as the shape says. Raises InputError."""
    dtype, count = INPUTS[tensor.datatype], math.prod(tensor.shape)
    if isinstance(tensor.content, bytes):
        if len(tensor.content) != count * dtype.itemsize:
            raise InputError(
                f"images cannot be read: {len(tensor.content)} bytes, expected {count * dtype.itemsize} of this shape"
            )
        return np.frombuffer(tensor.content, dtype)
    numbers = _numbers(tensor.content or (), {int} if dtype.kind == "u" else {int, float})
    if numbers is None:
        raise InputError(
            f"images cannot be read: data must be numbers, {tensor.datatype} each, flat or in lists of equal lengths"
        )
    if len(numbers) != count:
        raise InputError(f"images cannot be read: {len(numbers)} values, expected {count} of this shape")
    try:
        array = np.fromiter(numbers, np.float64, count)
    except OverflowError as error:
        raise InputError(f"images cannot be read: {one_line(error)}") from error
    if dtype.kind == "u" and not (array.min() >= 0 and array.max() <= 255):
        raise InputError("images cannot be read: UINT8 values must lie between 0 and 255")
    with np.errstate(over="ignore"):  # becomes infinity, which is refused
        return array.astype(dtype)


def _numbers(content: Sequence[Any], kinds: set[type]) -> Sequence[float] | None:
    """What is in the lists, nested or not, of equal lengths: None unless all of it is of these kinds.

    It is looked at before NumPy sees it, which would make room for the longest string at every place.
    """
    while (found := set(map(type, content))) == {list} and len(set(map(len, content))) == 1:
        content = list(chain.from_iterable(content))
    return content if found <= kinds else None


def rest_answer(asked: Asked, served: Served, outputs: Outputs, identity: str) -> tuple[bytes, int | None]:
    """The body of an answer, and the number of bytes of its JSON if binary tensors follow it."""
    tensors: list[dict[str, Any]] = []
    follow: list[bytes] = []
    for name, array, binary in _chosen(asked, outputs):
        tensor: dict[str, Any] = {"name": name, "shape": array.shape, "datatype": OUTPUTS[array.dtype.str]}
        if binary:
            follow.append(array.tobytes())
            tensor["parameters"] = {"binary_data_size": len(follow[-1])}
        else:
            tensor["data"] = (
                (np.nan_to_num(array, posinf=MAX_FLOAT64) if array.dtype.kind == "f" else array).ravel().tolist()
            )
        tensors.append(tensor)
    answer = {
        "model_name": served.model.name,
        "model_version": VERSION,
        "id": asked.identity or identity,
        "parameters": {"model_digest": served.digest},
        "outputs": tensors,
    }
    told = orjson.dumps(answer)
    return b"".join([told, *follow]), len(told) if follow else None


def message_answer(asked: Asked, served: Served, outputs: Outputs, identity: str) -> Any:
    """The answer over gRPC, its tensors as bytes, as Triton sends them."""
    chosen = list(_chosen(asked, outputs))
    return pb.ModelInferResponse(
        model_name=served.model.name,
        model_version=VERSION,
        id=asked.identity or identity,
        parameters={"model_digest": pb.InferParameter(string_param=served.digest)},
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(name=name, datatype=OUTPUTS[array.dtype.str], shape=array.shape)
            for name, array, _ in chosen
        ],
        raw_output_contents=[array.tobytes() for _, array, _ in chosen],
    )


def _chosen(asked: Asked, outputs: Outputs) -> Iterator[tuple[str, np.ndarray, bool]]:
    """The name, array and form (whether bytes) of each output that was asked for, or of all."""
    for name in asked.outputs or Outputs._fields:
        yield name, getattr(outputs, name), asked.outputs.get(name, asked.binary)
