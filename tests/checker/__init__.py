"""A second opinion on a published folder, that shares no code with `zoo`: NumPy and the standard library alone.

    python -m tests.checker FOLDER ...

It reads the files by their formats, recomputes what every number of `certificate.json` must at least be, and the two
tables in `model.onnx` that radii are computed from. Where `zoo` proves a norm by a Cholesky factor, this proves it by
verified eigenvalues; where `zoo` rounds the composition outward, this computes it in fractions. It prints what it found
for each folder and exits with 1 where a number is too small, a file is not the one that SHA256SUMS names, or something
cannot be checked this way, such as pools whose windows overlap, and batch normalisation.

Not checked: that the graph computes the network (`zoo verify` compares its bytes), and what the certificate does not
say, which is taken to be what fits it: the strides of convolutions, their paddings, by zeros, and the kinds of layers
inside a block. Levels in l-infinity are proved by the graph's intervals, which are not checked either.

`norms` has the bounds of matrices and convolutions and of rounded sums, `layers` a rule for each kind of layer, `pairs`
LipLT's constants of class pairs; the files of a folder and the composition are here.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from .layers import check_layer
from .norms import Failed, U, Unchecked
from .pairs import pair_constants

UNDERFLOW = Fraction(1e-300)  # above what a layer can lose below the smallest numbers of binary64

# Files ---------------------------------------------------------------------------------------------------------------


def check_sums(folder: Path) -> dict[str, str]:
    """The sha256 of each file that SHA256SUMS names, by its name: nothing else in the folder is read."""
    digests = {}
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split(maxsplit=1)
        name = name.lstrip("*")
        if name in digests:
            raise Failed(f"SHA256SUMS names {name} twice")
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            raise Failed(f"{name} is not the file that SHA256SUMS names")
        digests[name] = digest
    for name in ("certificate.json", "model.onnx"):
        if name not in digests:
            raise Failed(f"SHA256SUMS does not name {name}")
    return digests


def check_weights(digests: dict[str, str], certificate: dict[str, Any]) -> list[str]:
    """The files of the weights, which are those of the certificate: by its own sha256, or by its shards' lines."""
    names = sorted(name for name in digests if name.endswith(".safetensors"))
    if not names:
        raise Failed("SHA256SUMS names no weights")
    lines = "".join(f"{digests[name]}  {name}\n" for name in names)
    one = names == ["model.safetensors"]
    if certificate["weights_sha256"] != (digests[names[0]] if one else hashlib.sha256(lines.encode()).hexdigest()):
        raise Failed("the weights are not those that the certificate names")
    return names


def tensors(folder: Path, names: list[str]) -> dict[str, np.ndarray]:
    """The float32 tensors of these safetensors files, as float64."""
    found = {}
    for file in names:
        content = (folder / file).read_bytes()
        (size,) = struct.unpack("<Q", content[:8])
        for name, entry in json.loads(content[8 : 8 + size], object_pairs_hook=once).items():
            if name != "__metadata__":
                if name in found:
                    raise Failed(f"{name} stands in two files")
                if entry["dtype"] != "F32":
                    raise Failed(f"{name} is {entry['dtype']}, not F32")
                first, last = (8 + size + offset for offset in entry["data_offsets"])
                found[name] = np.frombuffer(content[first:last], "<f4").reshape(entry["shape"]).astype(np.float64)
    if not all(np.isfinite(value).all() for value in found.values()):
        raise Failed("a weight is not finite")
    return found


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of a JSON file, which has no name twice."""
    if len(found := dict(pairs)) != len(pairs):
        raise Failed("a JSON object has a name twice")
    return found


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protobuf message: number and value, an int or bytes."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place, value, shift = place + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    while place < len(message):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        size = {1: 8, 5: 4}.get(key & 7) or varint()
        yield key >> 3, message[place : place + size]
        place += size


def margin_tables(folder: Path, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """K and T of model.onnx: the initialisers `margin_lipschitz` and `slack`, [classes, classes]."""
    graph = next(value for number, value in fields((folder / "model.onnx").read_bytes()) if number == 7)
    found = {}
    for number, value in fields(graph):
        if number == 5:
            tensor = dict(fields(value))
            if tensor.get(8) in (b"margin_lipschitz", b"slack"):
                found[tensor[8]] = np.frombuffer(tensor[9], "<f8").reshape(classes, classes)
    if len(found) != 2:
        raise Failed("model.onnx does not have one table K and one table T")
    return found[b"margin_lipschitz"], found[b"slack"]


# Composition, in fractions -------------------------------------------------------------------------------------------


def root(square: Fraction) -> Fraction:
    """At least the square root, by less than 2^-50 of it."""
    return Fraction(math.sqrt(square)) * (1 + Fraction(1, 2**51))


def check_body(certificate: dict[str, Any]) -> None:
    """The body's three constants follow from those of its layers."""
    layers = certificate["layers"]
    size = Fraction(1) if certificate["norm"] == "linf" else root(Fraction(math.prod(layers[0]["input_shape"])))
    product, error = Fraction(1), Fraction(0)
    for layer in layers:
        bound, offset, local = Fraction(layer["lipschitz_bound"]), Fraction(layer["offset_norm"]), Fraction(0)
        if count := layer["fan_in"] and layer["fan_in"] + 2:
            local = Fraction(count, 2**53 - count) * (Fraction(layer["absolute_norm"]) * size + offset) + UNDERFLOW
        reach = bound * size + offset
        if layer["range_norm"] is not None:
            reach = min(reach, Fraction(layer["range_norm"]))
        product, size, error = product * bound, reach + local, bound * error + local
    for name, value in (("body_lipschitz", product), ("feature_norm", size), ("feature_error", error)):
        if Fraction(certificate[name]) < value:
            raise Failed(f"{name} is {certificate[name]!r}, it must be at least {float(value)!r}")


def check_tables(
    certificate: dict[str, Any], weights: dict[str, np.ndarray], lipschitz: np.ndarray, slack: np.ndarray
) -> None:
    """K and T follow from the body's constants and the head; K may have LipLT's smaller ones of class pairs."""
    linf, weight, bias = certificate["norm"] == "linf", weights["head.weight"], weights["head.bias"]
    body, size, error = (Fraction(certificate[name]) for name in ("body_lipschitz", "feature_norm", "feature_error"))
    exact, shift = [[Fraction(entry) for entry in row] for row in weight.tolist()], [Fraction(b) for b in bias.tolist()]

    def dual(row: list[Fraction]) -> Fraction:
        """The square of the l2 norm; in l-infinity, of the l1 norm."""
        return sum(map(abs, row), Fraction(0)) ** 2 if linf else sum((entry * entry for entry in row), Fraction(0))

    lengths, count = [root(dual(row)) for row in exact], weight.shape[1] + 2
    local = [
        Fraction(count, 2**53 - count) * (length * size + abs(b)) for length, b in zip(lengths, shift, strict=True)
    ]
    logit = [length * size + abs(b) + own for length, b, own in zip(lengths, shift, local, strict=True)]
    small = []
    for one, other in itertools.combinations(range(len(exact)), 2):
        apart = dual([a - b for a, b in zip(exact[one], exact[other], strict=True)])
        needed = 2 * (root(apart) * error + local[one] + local[other] + Fraction(U) * (logit[one] + logit[other]))
        for j, i in ((one, other), (other, one)):
            k, t = float(lipschitz[j, i]), float(slack[j, i])
            if not (k > 0 and Fraction(k) ** 2 >= apart * body * body):
                small.append((j, i))
            if not t >= needed:
                raise Failed(f"T of classes {j} and {i} is {t!r}, it must be at least {float(needed)!r}")
    given = certificate["pairwise"]
    pairs = np.full(lipschitz.shape, math.inf)
    if given is not None:
        pairs = pair_constants(certificate["layers"], weights)
        rows, columns = np.tril_indices(len(exact), -1)
        if len(given) != len(rows) or not (np.array(given) >= pairs[rows, columns]).all():
            raise Failed("the pairwise constants of LipLT are too small")
    for j, i in small:
        if not lipschitz[j, i] >= pairs[j, i]:
            raise Failed(f"K of classes {j} and {i} is {lipschitz[j, i]!r}, too small for their rows of the head")


# Verdict -------------------------------------------------------------------------------------------------------------


def check(folder: Path) -> str:
    """What was found, in words. Raises Failed for a folder that does not pass."""
    digests = check_sums(folder)
    certificate = json.loads((folder / "certificate.json").read_text(), object_pairs_hook=once)
    weights = tensors(folder, check_weights(digests, certificate))
    layers = certificate["layers"]
    if layers[0]["kind"] != "Pixels":
        raise Failed("the first layer does not cut its input to [0, 1]")
    for before, after in itertools.pairwise(layers):
        if before["output_shape"] != after["input_shape"]:
            raise Failed(f"{after['name']} does not take what {before['name']} gives")
    check_body(certificate)
    for record in layers:
        check_layer(record, weights, certificate["norm"] == "linf")
    if any(row["name"] == "head" for row in layers):
        raise Failed("a layer before the last is called head")
    left = {name.rpartition(".")[0].split(".")[0] for name in weights} - {row["name"] for row in layers}
    if len(left) != 1:
        raise Failed(f"expected the head alone without a layer's record, got {', '.join(sorted(left)) or 'no head'}")
    (name,) = left
    weights |= {f"head.{part}": weights[f"{name}.{part}"] for part in ("weight", "bias")}
    classes = len(weights["head.weight"])
    check_tables(certificate, weights, *margin_tables(folder, classes))
    pairs = "" if certificate["pairwise"] is None else ", LipLT's constants of its pairs"
    return f"holds: {len(layers)} layers, K and T of {classes} classes{pairs}"


def main(folders: list[str]) -> int:
    failed = 0
    for name in folders:
        try:
            told = check(Path(name))
        except Unchecked as error:
            failed, told = 1, f"NOT CHECKED: {error}"
        except (Failed, OSError, ArithmeticError, LookupError, StopIteration, TypeError, ValueError) as error:
            failed, told = 1, f"FAILS: {error}"
        print(f"{name}: {told}", flush=True)
    return failed
