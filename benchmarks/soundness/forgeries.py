"""Forged and damaged folders: none loads that is damaged, none verifies that lies, and none breaks the reader.

A mutant is a small folder with one thing changed, by its structure (a number of the certificate, a tensor, a node of
the graph) or by its bytes, and then sealed again: every sha256 that anything has of anything is made to fit. It must be
refused in a line, by `read_folder`, by the session of its graph, or by `verify`. One that verifies must be as good as
the original: its proved files are the same bytes, or `tests/checker`, which shares no code with the zoo, holds it as
well. A tenth of the mutants is not sealed: these are damage, and may not even be read.

Mutants are made and judged in a fork, with limits of time and memory; where it dies, that is found.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
import resource
import signal
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from safetensors import SafetensorError

from tests import checker
from zoo.errors import CertificateError, IntegrityError, ZooError
from zoo.inference.runtime import onnx_model
from zoo.publication.folder import SUMS, parse_sums, read_folder
from zoo.publication.network import load_weights
from zoo.publication.references import external_files
from zoo.publication.verify import verify
from zoo.records import Certificate, Evaluation, ModelConfig, loads

Files = dict[str, bytes]
PROVED = ("model.safetensors", "model.onnx", "model.float32.onnx", "certificate.json")
GRAPHS = ("model.onnx", "model.float32.onnx")
FUZZED = 4  # files that are fuzzed for each mutant
SECONDS, MIB = 60, 1024  # that one mutant may take; that a fork's address space may grow by
RECORDS = {"certificate.json": Certificate, "config.json": ModelConfig, "evaluation.json": Evaluation}
PARSED = (*GRAPHS, "model.safetensors", SUMS, *RECORDS)


class Forgery(NamedTuple):
    """What was changed, and the folder's files since."""

    what: str
    files: Files
    sealed: bool


# Making --------------------------------------------------------------------------------------------------------------


def forge(original: Files, seed: str) -> Forgery:
    """The mutant of a seed."""
    draw = random.Random(seed)
    what, change = draw.choice(CHANGES)
    files = dict(original)
    change(files, draw)
    sealed = draw.random() >= 0.1
    return Forgery(what, seal(files, original) if sealed else files, sealed)


def seal(files: Files, original: Files) -> Files:
    """The files with every sha256 of one another made to fit, as far as they can still be read."""
    files = dict(files)
    weights = sha256(files["model.safetensors"])
    if weights != sha256(original["model.safetensors"]):
        _edit(files, "certificate.json", lambda record: record.update(weights_sha256=weights))
    says = {"weights_sha256": weights, "certificate_sha256": sha256(files["certificate.json"])}
    if any(files[name] != original[name] for name in ("model.safetensors", "certificate.json")):
        for name in GRAPHS:
            _edit_graph(files, name, lambda model: _set_metadata(model, says))
    _edit(files, "evaluation.json", lambda record: record.update(graph_sha256=sha256(files["model.onnx"])))
    lines = [line.split(maxsplit=1)[1] for line in original[SUMS].decode().splitlines()]
    files[SUMS] = "".join(f"{sha256(files[name])}  {name}\n" for name in lines).encode()
    return files


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _edit(files: Files, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    try:
        record = json.loads(files[name])
        change(record)
    except (ValueError, AttributeError, RecursionError):
        return
    files[name] = (json.dumps(record, indent=1, allow_nan=True) + "\n").encode()


def _edit_graph(files: Files, name: str, change: Callable[[onnx.ModelProto], object]) -> None:
    try:
        model = onnx.load_model_from_string(files[name])
    except Exception:  # protobuf's own error, which has no public name
        return
    change(model)
    files[name] = model.SerializeToString()


def _set_metadata(model: onnx.ModelProto, says: dict[str, str]) -> None:
    for entry in model.metadata_props:
        entry.value = says.get(entry.key, entry.value)


# Changes -------------------------------------------------------------------------------------------------------------


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all that is no object or list."""
    if isinstance(value, dict):
        return [place for key, item in value.items() for place in _places(item, (*path, key))]
    if isinstance(value, list):
        return [place for key, item in enumerate(value) for place in _places(item, (*path, key))]
    return [path]


def _other(value: Any, draw: random.Random) -> Any:
    """Another value, mostly a near one."""
    if isinstance(value, bool) or value is None or draw.random() < 0.1:
        return draw.choice([None, True, -1, 0, 1e308, float("nan"), float("inf"), "", [], {}, "0" * 64, 10**400])
    if isinstance(value, int):
        return value + draw.choice([-1, 1, -value, value, 2**31, -(2**63)])
    if isinstance(value, float):
        return value * draw.choice([0.0, -1.0, 0.5, 2.0, 1 - 1e-3, 1 - 1e-6, 1 - 1e-12, 1 + 1e-12, 1 + 1e-6, 1e-300])
    return draw.choice([value[1:], value + "x", value.upper(), "", value[::-1], "../" + value, value * 3])


def _record(name: str) -> Callable[[Files, random.Random], None]:
    def change(files: Files, draw: random.Random) -> None:
        def one(record: dict[str, Any]) -> None:
            *path, last = draw.choice(_places(record))
            inner: Any = record
            for key in path:
                inner = inner[key]
            kind = draw.random()
            if kind < 0.08 and isinstance(inner, dict):
                del inner[last]
            elif kind < 0.12 and isinstance(inner, dict):
                inner["more"] = inner[last]
            elif kind < 0.16 and isinstance(inner, list):
                inner.append(inner[last])
            elif kind < 0.2 and len(path) > 1 and isinstance(record.get("layers"), list):
                draw.shuffle(record["layers"])
            else:
                inner[last] = _other(inner[last], draw)

        _edit(files, name, one)

    return change


def _weights(files: Files, draw: random.Random) -> None:
    """Bits of one number, or an entry of the header."""
    content = bytearray(files["model.safetensors"])
    start = 8 + int.from_bytes(content[:8], "little")
    if draw.random() < 0.5:
        content[draw.randrange(start, len(content))] ^= 1 << draw.randrange(8)
        files["model.safetensors"] = bytes(content)
        return
    header = json.loads(content[8:start])
    *path, last = draw.choice(_places(header))
    inner = header
    for key in path:
        inner = inner[key]
    inner[last] = _other(inner[last], draw)
    text = json.dumps(header).encode()
    if draw.random() < 0.5:
        text += b" " * (-len(text) % 8)
    files["model.safetensors"] = len(text).to_bytes(8, "little") + text + bytes(content[start:])


def _graph(files: Files, draw: random.Random) -> None:
    """A node, an attribute, a constant, the tables, a name, where a tensor lies."""

    def change(model: onnx.ModelProto) -> None:
        graph = model.graph
        node = draw.choice(graph.node)
        constants = [tensor for tensor in graph.initializer if tensor.raw_data]
        kind = draw.randrange(8)
        if kind == 0:
            graph.node.remove(node)
        elif kind == 1 and node.input:
            node.input[draw.randrange(len(node.input))] = draw.choice(draw.choice(graph.node).output)
        elif kind == 2:
            node.op_type = draw.choice(
                ["Relu", "Abs", "Neg", "Identity", "Sqrt", "Add", "Mul", "Max", "If", "Loop", "Exp"]
            )
        elif kind == 3 and node.attribute:
            attribute = draw.choice(node.attribute)
            attribute.i, attribute.f = draw.randrange(-3, 9), draw.random()
        elif kind == 4 and constants:
            tensor = draw.choice(constants)
            raw = bytearray(tensor.raw_data)
            raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
            tensor.raw_data = bytes(raw)
        elif kind == 5:
            for tensor in graph.initializer:
                if tensor.name in ("margin_lipschitz", "slack"):
                    table = np.frombuffer(tensor.raw_data, "<f8") * draw.choice([1 - 1e-12, 0.5, 1.0])
                    tensor.raw_data = table.tobytes()
        elif kind == 6:
            outside = [tensor for tensor in graph.initializer if tensor.external_data]
            if outside:
                pair = draw.choice(draw.choice(outside).external_data)
                pair.value = draw.choice(
                    ["/etc/hostname", "../x", "0", str(2**63), "-1", "model.onnx", pair.value + "0"]
                )
        else:
            entry = draw.choice(model.metadata_props)
            entry.value += draw.choice(["x", " ", "0"])

    _edit_graph(files, draw.choice(GRAPHS), change)


def _bytes(files: Files, draw: random.Random) -> None:
    """Flipped, cut, doubled or inserted bytes of any file."""
    name = draw.choice(sorted(files))
    content = bytearray(files[name])
    place = draw.randrange(len(content))
    kind = draw.randrange(5)
    if kind == 0:
        content[place] ^= 1 << draw.randrange(8)
    elif kind == 1:
        del content[place:]
    elif kind == 2:
        content[place:place] = content[: draw.randrange(64)]
    elif kind == 3:
        content[place : place + 8] = draw.randbytes(8)
    else:
        content[place:place] = draw.choice([b"\x00", b"\xff" * 9, b"[" * 5000, b'"' * 3, b"\x08\x80\x80\x80\x80\x10"])
    files[name] = bytes(content)


CHANGES: tuple[tuple[str, Callable[[Files, random.Random], None]], ...] = (
    ("certificate.json", _record("certificate.json")),
    ("config.json", _record("config.json")),
    ("evaluation.json", _record("evaluation.json")),
    ("model.safetensors", _weights),
    ("a graph", _graph),
    ("bytes", _bytes),
)


# Judging -------------------------------------------------------------------------------------------------------------


def judge(forgery: Forgery, original: Files, place: Path) -> str:
    """Where the mutant was refused, or why it may pass; what begins with "WRONG" may not be."""
    for name, content in forgery.files.items():
        if not (place / name).exists() or (place / name).read_bytes() != content:
            (place / name).write_bytes(content)
    if forgery.files == original:
        return "unchanged"
    same = all(forgery.files[name] == original[name] for name in PROVED)
    stage = "read"
    try:
        folder = read_folder(place)
        if not forgery.sealed:
            return "WRONG: damage was read"
        stage = "session"
        model = onnx_model(folder, "float64", threads=1)
        model.outputs(np.zeros((1, *model.input_shape), np.float32))
        if same and forgery.files["config.json"] == original["config.json"]:
            return "loaded: no proof speaks of what was changed"
        stage = "verify"
        if verify(folder):
            return "refused: verify"
    except ZooError:
        return f"refused: {stage}"
    except Exception as error:  # what no reader expects
        return f"WRONG: {stage} raised {type(error).__name__}: {error!s:.200}"
    if same:
        return "verified: the proved files are the original's"
    try:
        checker.check(place)
    except checker.Failed as error:
        return f"WRONG: verified, but {error!s:.200}"
    return "verified: the second verifier holds it as well"


def judge_range(
    source: Path, first: int, last: int, begins: Callable[[int], object] = lambda number: None
) -> dict[str, Any]:
    """The outcomes of the mutants of these numbers, counted, with the seeds of what is wrong.

    begins: called with the number of each mutant before it is made.
    """
    original = {path.name: path.read_bytes() for path in sorted(source.iterdir())}
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(first, last):
            begins(number)
            signal.alarm(SECONDS)
            forgery = forge(original, f"{source.name} {number}")
            outcome = judge(forgery, original, Path(scratch))
            if outcome.startswith("WRONG"):
                wrong.append(f"{source.name} {number}, {forgery.what}: {outcome}")
            outcomes[outcome.partition(" raised")[0].partition(", but")[0]] += 1
    wrong += fuzz(original, first * FUZZED, last * FUZZED)
    return {"outcomes": outcomes, "wrong": wrong, "MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


def fuzz(original: Files, first: int, last: int) -> list[str]:
    """What is wrong with the parsers' answers to files with changed bytes, a file of each of these numbers.

    A parser reads it, or raises the error that it names. Of a graph that the onnx package reads as well, ours must have
    named every file that it reads tensors from.
    """
    wrong = []
    for number in range(first, last):
        draw, name = random.Random(f"fuzz {number}"), PARSED[number % len(PARSED)]
        files = {name: original[name]}
        for _ in range(draw.randrange(1, 4)):
            if files[name]:
                _bytes(files, draw)
        signal.alarm(SECONDS)
        try:
            told = _parse(name, files[name])
        except Exception as error:  # what no reader expects
            told = f"raised {type(error).__name__}: {error!s:.200}"
        if told:
            wrong.append(f"fuzz {number}, {name}: WRONG: {told}")
    signal.alarm(0)
    return wrong


def _parse(name: str, content: bytes) -> str | None:
    if name in RECORDS:
        with suppress(CertificateError):
            loads(RECORDS[name], content, name)
    elif name == SUMS:
        with suppress(IntegrityError):
            parse_sums(content, Path(SUMS))
    elif name == "model.safetensors":
        with suppress(SafetensorError, CertificateError):
            load_weights({name: content})
    else:
        return _parse_graph(content)
    return None


def _parse_graph(content: bytes) -> str | None:
    try:
        named = external_files(content)
    except ValueError:
        return None
    try:
        graph = onnx.load_model_from_string(content).graph
    except Exception:  # protobuf's own error, which has no public name
        return None
    pairs = [pair for tensor in graph.initializer for pair in tensor.external_data if pair.key == "location"]
    values: list[Any] = [pair.value for pair in pairs]  # bytes where they are no text
    read = {value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values}
    return None if read <= named else f"reads {sorted(read - named)[0]!r:.80}, which was not named"


def test(source: Path, first: int, last: int) -> dict[str, Any]:
    """The row of the mutants of the folder with these numbers, made and judged in a fork of this process."""
    context = multiprocessing.get_context("fork")
    number = context.Value("q", first, lock=False)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_limited, args=(source, first, last, number, sender))
    process.start()
    sender.close()
    try:
        found = receiver.recv()
    except EOFError:  # it died
        found = {"outcomes": {}, "wrong": [], "MiB": 0}
    process.join()
    if process.exitcode:
        found["wrong"].append(f"{source.name} {number.value}: its process ended with {process.exitcode}")
    return found


def _limited(source: Path, first: int, last: int, number: Any, sender: Connection) -> None:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MIB * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    sender.send(judge_range(source, first, last, lambda value: setattr(number, "value", value)))
