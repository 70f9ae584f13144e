"""The files that an ONNX file refers to, found without the onnx package.

ONNX Runtime reads tensors from any file that a graph names. The zoo checks the weights of the published folder only, so
its graphs may name these and no others.
"""

from __future__ import annotations

from collections.abc import Iterator

# The fields of onnx.proto that lead from a model to its tensors: message -> field number -> message.
MESSAGE_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "initializer"},
    "node": {5: "attribute"},
    "attribute": {5: "constant", 10: "constant"},
    "initializer": {13: "external"},  # external_data: pairs of key (1) and value (2)
}
# Parts that no graph of the zoo has, through which ONNX Runtime could read other files than those it was given.
REFUSED: dict[str, dict[int, str]] = {
    "model": {20: "a training graph", 25: "a function"},
    "graph": {15: "a sparse tensor"},
    "attribute": {6: "an inner graph", 11: "an inner graph", 22: "a sparse tensor", 23: "a sparse tensor"},
    "constant": {13: "a constant in another file"},
}
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # protobuf wire types


def external_files(model: bytes) -> set[str]:
    """The name of every file that an initializer of the ONNX model is read from, as the model writes it.

    Raises ValueError where the bytes are no ONNX model, or it has a part that could name other files (`REFUSED`).
    """
    if model[4:8] == b"ORTM":  # ONNX Runtime's own format, which it knows by this
        raise ValueError("it is in ORT format")
    files = set()
    waiting = [("model", memoryview(model))]
    while waiting:
        message, data = waiting.pop()
        if message == "external":
            pair = {number: bytes(value).decode("utf-8", "replace") for number, value in _messages(data)}
            if pair.get(1) == "location":
                files.add(pair.get(2, ""))
            continue
        inner, refused = MESSAGE_FIELDS.get(message, {}), REFUSED.get(message, {})
        for number, value in _messages(data):
            if number in refused:
                raise ValueError(f"it has {refused[number]}")
            if number in inner:
                waiting.append((inner[number], value))
    return files


def _messages(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The length-delimited fields of one protobuf message: number and bytes."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        if not 8 <= tag < 2**32:  # other readers drop the higher bits, and would find another field
            raise ValueError("its protobuf is damaged")
        wire = tag & 7
        if wire == VARINT:
            _, position = _varint(data, position)
            continue
        length = {FIXED64: 8, FIXED32: 4}.get(wire, -1)
        if wire == BYTES:
            length, position = _varint(data, position)
        if not 0 <= length <= len(data) - position:
            raise ValueError("its protobuf is damaged")
        if wire == BYTES:
            yield tag >> 3, data[position : position + length]
        position += length


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    """The number that starts at `position`, and the position after it."""
    value = 0
    for index, byte in enumerate(data[position : position + 10]):
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            return value, position + index + 1
    raise ValueError("its protobuf is damaged")
