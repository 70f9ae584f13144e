"""A second opinion on a published folder, that shares no code with `zoo`: NumPy and the standard library alone.

    python tests/checker.py FOLDER ...

It reads the files by their formats, recomputes what every number of `certificate.json` must at least be, and the two
tables in `model.onnx` that radii are computed from. Where `zoo` proves a norm by a Cholesky factor, this proves it by
verified eigenvalues; where `zoo` rounds the composition outward, this computes it in fractions. It prints what it found
for each folder and exits with 1 where a number is too small, a file is not the one that SHA256SUMS names, or something
cannot be checked this way, such as attention and the pairwise constants of LipLT.

Not checked: that the graph computes the network (`zoo verify` compares its bytes), and the strides and paddings of
convolutions, which are taken to be those that give the shapes of the certificate.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

U = 2.0**-53
UP = 1.0 + 2.0**-44  # outweighs what a few scalar operations lose
POINTS = [Fraction(text) for text in ("0", "1", "-1", "1/2", "-2", "-1/2", "2", "1/4", "-4")]  # of Toom-Cook; infinity
SAME = ("MinMax", "ReLU", "Flatten", "PadChannels", "FirstChannels", "PixelUnshuffle")  # exact, and 1-Lipschitz


class Failed(Exception):
    """What is wrong with the folder."""


class Unchecked(Failed):
    """Why the folder cannot be checked this way, which says nothing for or against it."""


def gamma(terms: int) -> float:
    """The relative error of a sum of so many products, rounded up."""
    return terms * U / (1.0 - terms * U) * UP


# Files ---------------------------------------------------------------------------------------------------------------


def check_sums(folder: Path) -> None:
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split(maxsplit=1)
        if hashlib.sha256((folder / name.lstrip("*")).read_bytes()).hexdigest() != digest:
            raise Failed(f"{name} is not the file that SHA256SUMS names")


def tensors(folder: Path) -> dict[str, np.ndarray]:
    """The float32 tensors of the folder's safetensors files, as float64."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        content = path.read_bytes()
        (size,) = struct.unpack("<Q", content[:8])
        for name, entry in json.loads(content[8 : 8 + size]).items():
            if name != "__metadata__":
                if entry["dtype"] != "F32":
                    raise Failed(f"{name} is {entry['dtype']}, not F32")
                first, last = (8 + size + offset for offset in entry["data_offsets"])
                found[name] = np.frombuffer(content[first:last], "<f4").reshape(entry["shape"]).astype(np.float64)
    if not all(np.isfinite(value).all() for value in found.values()):
        raise Failed("a weight is not finite")
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


def margin_tables(folder: Path, classes: int) -> list[np.ndarray]:
    """K and T of model.onnx: the initialisers `margin_lipschitz` and `slack`."""
    graph = next(value for number, value in fields((folder / "model.onnx").read_bytes()) if number == 7)
    found = {}
    for number, value in fields(graph):
        if number == 5:
            tensor = dict(fields(value))
            if tensor.get(8) in (b"margin_lipschitz", b"slack"):
                found[tensor[8]] = np.frombuffer(tensor[9], "<f8").reshape(classes, classes)
    if len(found) != 2:
        raise Failed("model.onnx does not have one table K and one table T")
    return [found[b"margin_lipschitz"], found[b"slack"]]


# Norms ---------------------------------------------------------------------------------------------------------------


def frobenius(matrix: np.ndarray) -> float:
    return math.sqrt(float(np.square(matrix).sum())) * (1.0 + 2.0**-16)


def norm(matrix: np.ndarray) -> float:
    """At least the spectral norm of a matrix, from eigenvalues that need not be trusted.

    For any V, L with G V = V L + R and V^T V = I + O, |O| < 1, and x = V y:

        x^T G x = y^T (V^T V L + V^T R) y <= (max L + |O| max |L| + |V| |R|) |y|^2,    |x|^2 >= (1 - |O|) |y|^2.
    """
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    side, inner = matrix.shape
    gram = matrix @ matrix.T
    values, vectors = np.linalg.eigh(gram)
    largest, reach = max(float(values.max()), 0.0), float(np.abs(values).max())
    length = frobenius(vectors)
    skew = frobenius(vectors.T @ vectors - np.eye(side)) + gamma(side + 8) * (length**2 + side)
    rest = frobenius(gram @ vectors - vectors * values) + gamma(side + 8) * length * (frobenius(gram) + reach)
    if not skew < 0.5:
        raise Failed("the eigenvectors that were found are not orthogonal")
    square = (largest + skew * reach + math.sqrt(1.0 + skew) * rest) / (1.0 - skew)
    return math.sqrt((square + gamma(inner + 8) * frobenius(matrix) ** 2) * UP) * UP


def nonnegative_norm(matrix: np.ndarray) -> float:
    """The same of a matrix without negative entries, for which the geometric mean of its largest sums serves, too."""
    sums = math.sqrt(float(matrix.sum(axis=0).max()) * float(matrix.sum(axis=1).max())) * (1.0 + 2.0**-32)
    return min(sums, norm(matrix))


def length(vector: np.ndarray) -> float:
    """At least the l2 norm."""
    return math.sqrt(math.fsum(entry * entry for entry in vector.ravel().tolist())) * UP


def steps_of(kernel: np.ndarray, before: list[int], after: list[int]) -> list[tuple[int, int]]:
    """For rows and columns the stride and padding that give the shapes: the nearest stride, the least padding."""
    found = []
    for side, out, taps in zip(before[1:], after[1:], kernel.shape[2:], strict=True):
        pairs = [(stride, padding) for stride in range(1, side + 1) for padding in range(taps)]
        fits = [(s, p) for s, p in pairs if side + 2 * p >= taps and (side + 2 * p - taps) // s + 1 == out]
        if not fits:
            raise Failed(f"no stride gives {after} from {before} with a kernel of {taps}")
        found.append(min(fits, key=lambda fit: (abs(fit[0] * out - side), fit)))
    return found


def dense(kernel: np.ndarray, before: list[int], after: list[int], steps: list[tuple[int, int]]) -> np.ndarray:
    """The zero-padded convolution as a matrix."""
    matrix = np.zeros((*after, *before))
    for row, column in np.ndindex(*after[1:]):
        for down, right in np.ndindex(*kernel.shape[2:]):
            y, x = row * steps[0][0] - steps[0][1] + down, column * steps[1][0] - steps[1][1] + right
            if 0 <= y < before[1] and 0 <= x < before[2]:
                matrix[:, row, column, :, y, x] = kernel[:, :, down, right]
    return matrix.reshape(math.prod(after), math.prod(before))


def torus_norm(kernel: np.ndarray, before: list[int], steps: list[tuple[int, int]]) -> float:
    """At least the norm of the zero-padded convolution.

    The map lies in a torus with `padding` zeros behind it, where reading over its end is reading the padding, so the
    circular convolution there has no smaller norm; Fourier's basis makes it one small matrix for each frequency.
    """
    (down, right), taps = (stride for stride, _ in steps), kernel.shape[2:]
    rows, columns = (
        -(-(side + padding) // stride) * stride for side, (stride, padding) in zip(before[1:], steps, strict=True)
    )
    absolute = np.abs(kernel).sum(axis=(2, 3))
    error = 2.0 * gamma(math.prod(taps) + 64) * frobenius(absolute) * math.sqrt(down * right)
    largest = 0.0
    for row in range(rows // down // 2 + 1):
        for column in range(columns // right):
            parts = []
            for a, b in np.ndindex(down, right):
                y, x = row + a * (rows // down), column + b * (columns // right)
                turns = np.add.outer(y * columns * np.arange(taps[0]), x * rows * np.arange(taps[1])) % (rows * columns)
                angles = turns * (2.0 * math.pi / (rows * columns))
                parts.append([(kernel * wave(angles)).sum(axis=(2, 3)) for wave in (np.cos, np.sin)])
            real, imaginary = (np.hstack(part) for part in zip(*parts, strict=True))
            largest = max(largest, norm(np.block([[real, -imaginary], [imaginary, real]])))
    return (largest + error) / math.sqrt(down * right) * UP


# Rounding ------------------------------------------------------------------------------------------------------------


def toom_cook(outputs: int, taps: int) -> list[np.ndarray]:
    """|A|, |G|, |B| of y = A ((G w) * (B x)): values of polynomials at the points, and Lagrange's basis."""
    if outputs == 1:
        return [np.ones((1, taps)), np.eye(taps), np.eye(taps)]
    points = POINTS[: outputs + taps - 2]
    back, kernel, data = [], [], []
    for point in [*points, None]:
        others = [other for other in points if other != point]
        basis = [Fraction(1)]
        for other in others:
            basis = [low - other * high for low, high in zip([Fraction(0), *basis], [*basis, Fraction(0)], strict=True)]
        scale = Fraction(1) if point is None else math.prod((point - other for other in others), start=Fraction(1))
        entries = [entry / scale for entry in [*basis, *[Fraction(0)] * (len(points) + 1 - len(basis))]]
        factor = math.lcm(*(entry.denominator for entry in entries))
        data.append([abs(entry * factor) for entry in entries])
        powers = [[point**power for power in range(count)] if point is not None else [0] * (count - 1) + [1]
                  for count in (outputs, taps)]  # fmt: skip
        back.append([abs(value) for value in powers[0]])
        kernel.append([abs(Fraction(value) / factor) for value in powers[1]])
    result = [np.array([[float(entry) for entry in row] for row in part]) for part in (back, kernel, data)]
    return [result[0].T, result[1], result[2]]


def conv_rounding(kernel: np.ndarray, steps: list[tuple[int, int]], told: str) -> list[tuple]:
    """(terms, at least the norm of the absolute values) of the sums over taps, and of the products of tiles."""
    found = [(math.prod(kernel.shape[1:]), nonnegative_norm(np.abs(kernel).sum(axis=(2, 3))))]
    if told == "sums":
        return found
    tile = [int(side) for side in told.removeprefix("toom-cook ").split("x")]
    down, right = strides = [stride for stride, _ in steps]
    counts = [-(-taps // stride) for taps, stride in zip(kernel.shape[2:], strides, strict=True)]
    ends = [(0, n * stride - taps) for n, stride, taps in zip(counts, strides, kernel.shape[2:], strict=True)]
    cells = np.pad(np.abs(kernel), [(0, 0), (0, 0), *ends])
    cells = cells.reshape(*kernel.shape[:2], counts[0], down, counts[1], right).transpose(0, 3, 5, 1, 2, 4)
    cells = cells.reshape(len(kernel), -1, *counts)
    axes = [toom_cook(outputs, taps) for outputs, taps in zip(tile, counts, strict=True)]
    terms = cells.shape[1]
    for outputs, taps in zip(tile, counts, strict=True):
        size = outputs + taps - 1 if outputs > 1 else taps
        terms += size + (size + taps + 1 if outputs > 1 else 0)
    bars = np.einsum("ap,bq,oipq->aboi", axes[0][1], axes[1][1], cells).reshape(-1, len(kernel), cells.shape[1])
    sizes = np.array([nonnegative_norm(bar) for bar in bars])
    back, data = (np.kron(axes[0][part], axes[1][part]) for part in (0, 2))
    shared = math.prod(-(-part[2].shape[1] // outputs) for part, outputs in zip(axes, tile, strict=True))
    return [*found, (terms, norm(back * sizes @ data) * math.sqrt(shared) * UP)]


# Layers --------------------------------------------------------------------------------------------------------------


def at_least(record: dict[str, Any], **needed: float) -> None:
    for name, value in needed.items():
        if not record[name] >= value:
            raise Failed(f"{record['name']}: {name} is {record[name]!r}, it must be at least {value!r}")


def covered(record: dict[str, Any], needed: float) -> None:
    """Raise Failed unless `fan_in` and `absolute_norm` allow for this error of an input of norm 1."""
    count = record["fan_in"] + 2
    if not count * U * record["absolute_norm"] >= needed:
        raise Failed(f"{record['name']}: a rounding of {needed!r} is not covered by fan_in and absolute_norm")


def check_layer(record: dict[str, Any], weights: dict[str, np.ndarray], linf: bool) -> None:
    """Raise Failed unless the record's numbers are upper bounds for these weights."""
    kind, name, before, after = (record[key] for key in ("kind", "name", "input_shape", "output_shape"))
    own = {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}
    weight, bias = own.get("weight"), own.get("bias", np.zeros(1))
    pixels = math.prod(after[1:])
    offset = float(np.abs(bias).max()) if linf else length(bias) * math.sqrt(pixels) * UP
    if kind in SAME:
        return at_least(record, lipschitz_bound=1.0)
    if kind == "Pixels":
        scale, mean = np.abs(own["scale"]), own["mean"]
        reach = np.maximum(np.abs(mean), np.abs(1.0 - mean)) * scale
        total = float(reach.max()) if linf else length(reach) * math.sqrt(pixels) * UP
        return at_least(record, lipschitz_bound=float(scale.max()), absolute_norm=float(scale.max()), fan_in=1,
                        range_norm=total)  # fmt: skip
    if kind == "PatchPool":
        return at_least(record, lipschitz_bound=1.0, absolute_norm=1.0, fan_in=(before[1] // after[1]) ** 2)
    if kind == "LInfDistance" and linf:
        far = float((np.abs(weight).max(axis=1) + np.abs(bias)).max())
        return at_least(record, lipschitz_bound=1.0, absolute_norm=1.0, fan_in=1, offset_norm=far)
    if kind == "Householder":
        square = max(Fraction(one) ** 2 + Fraction(two) ** 2 for one, two in weight.T.tolist())
        return at_least(record, lipschitz_bound=max(1.0, float(square - 1)), absolute_norm=float(square + 1), fan_in=2)
    if kind == "Linear" and linf:
        rows = max(map(math.fsum, np.abs(weight).tolist())) * (1.0 + 2.0**-51)
        return at_least(record, lipschitz_bound=rows, absolute_norm=rows, fan_in=before[0] + 1, offset_norm=offset)
    if kind == "Residual" and set(own) == {f"branch.{place}" for place in ("0.weight", "0.bias", "2.weight", "2.bias")}:
        return check_residual(record, own)
    if linf or kind not in ("Linear", "TokenLinear", "Conv2d", "ConvexPotential", "ConvExponential"):
        raise Unchecked(f"{name}: {kind} cannot be checked here")
    if kind == "TokenLinear":
        offset = length(bias) * math.sqrt(after[0]) * UP
    if kind in ("Linear", "TokenLinear"):
        at_least(record, lipschitz_bound=norm(weight), offset_norm=offset)
        return covered(record, gamma(weight.shape[1] + 2) * nonnegative_norm(np.abs(weight)))
    if kind == "Conv2d":
        steps = steps_of(weight, before, after)
        ways = conv_rounding(weight, steps, record["lowering"])
        at_least(record, lipschitz_bound=conv_norm(record, weight, steps), offset_norm=offset)
        return covered(record, max(gamma(terms + 2) * absolute for terms, absolute in ways))
    if kind == "ConvexPotential":
        return check_potential(record, weight, bias, own["step"])
    return check_exponential(record, weight, offset)


def conv_norm(record: dict[str, Any], kernel: np.ndarray, steps: list[tuple[int, int]]) -> float:
    before, after = record["input_shape"], record["output_shape"]
    if "torus_rows" in record["proof"]:
        return torus_norm(kernel, before, steps)
    if all(step == (taps, 0) for step, taps in zip(steps, kernel.shape[2:], strict=True)):  # disjoint patches
        return norm(kernel.reshape(len(kernel), -1))
    return norm(dense(kernel, before, after, steps))


def check_potential(record: dict[str, Any], weight: np.ndarray, bias: np.ndarray, step: np.ndarray) -> None:
    """x - W^T T relu(W x + b): its Jacobian I - W^T T D W, D of 0 and 1, lies between (1 - |T^(1/2) W|^2) I and I."""
    if (step < 0).any():
        raise Failed(f"{record['name']}: a step is negative")
    root = np.sqrt(step) * (1.0 + 4.0 * U)
    scaled = root.reshape(-1, *[1] * (weight.ndim - 1)) * weight
    pixels = math.prod(record["output_shape"][1:])
    if weight.ndim == 2:
        size, absolute = norm(scaled), nonnegative_norm(np.abs(scaled))
        there, back = ((terms, absolute) for terms in reversed(weight.shape))
    else:
        steps, adjoint = [(1, side // 2) for side in weight.shape[2:]], scaled[:, :, ::-1, ::-1].swapaxes(0, 1)
        size = conv_norm({**record, "output_shape": [len(weight), *record["output_shape"][1:]]}, scaled, steps)
        there, back = (
            max(conv_rounding(kernel, steps, way), key=lambda way: gamma(way[0] + 2) * way[1])
            for kernel, way in zip((scaled, adjoint), record["lowering"].split(", "), strict=True)
        )
    size = (size + 2.0 * U * max(there[1], back[1])) * UP
    reach = size + gamma(there[0] + 2) * there[1]  # of the computed hidden layer
    back_reach = size + gamma(back[0]) * back[1]
    at_least(record, lipschitz_bound=max(1.0, (size**2 - 1.0) * UP))
    covered(record, (size * gamma(there[0] + 2) * there[1] + gamma(back[0]) * back[1] * reach
                     + gamma(1) * (1.0 + back_reach * reach)) * UP)  # fmt: skip
    at_least(record, offset_norm=size * length(root * bias) * math.sqrt(pixels) * UP)


def check_residual(record: dict[str, Any], own: dict[str, np.ndarray]) -> None:
    """x + V a(W x + b) + c, where a has no weights and is taken to be exact and 1-Lipschitz: |.| <= 1 + |V| |W|."""
    parts = []
    for place, told in zip("02", record["lowering"].split(", "), strict=True):
        kernel, bias = own[f"branch.{place}.weight"], own[f"branch.{place}.bias"]
        steps = [(1, side // 2) for side in kernel.shape[2:]]
        ways = conv_rounding(kernel, steps, told)
        error, relative = max(gamma(terms + 2) * absolute for terms, absolute in ways), gamma(max(ways)[0] + 2)
        offset = length(bias) * math.sqrt(math.prod(record["input_shape"][1:])) * UP
        proof = {key[2:]: value for key, value in record["proof"].items() if key.startswith(place)}
        parts.append((conv_norm({**record, "proof": proof}, kernel, steps), error, relative, offset))
    (first, error, relative, bias), (second, later, share, end) = parts
    slope = second * error + later * (first + error)  # of the branch's error, in the input's norm, and what is added
    constant = second * relative * bias + later * (1.0 + relative) * bias + share * end
    at_least(record, lipschitz_bound=1.0 + first * second, offset_norm=second * bias + end)
    covered(record, (slope + U * (1.0 + second * first + slope)) * UP)
    added = (constant + U * (second * bias + end + constant)) * UP
    if not (record["fan_in"] + 2) * U * record["offset_norm"] >= added:
        raise Failed(f"{record['name']}: a rounding of {added!r} is not covered by fan_in and offset_norm")


def check_exponential(record: dict[str, Any], weight: np.ndarray, offset: float) -> None:
    """S(A) = sum of A^i / i! up to i = T: |S(A)| <= 1 + the rest of the series, for A is skew, so exp(A) orthogonal."""
    if not (weight == -weight[:, :, ::-1, ::-1].swapaxes(0, 1)).all():
        raise Failed(f"{record['name']}: its kernel is not skew")
    steps = [(1, side // 2) for side in weight.shape[2:]]
    size = torus_norm(weight, record["input_shape"], steps)
    ways = conv_rounding(weight, steps, record["lowering"])
    terms = record["fan_in"] - max(count for count, _ in ways)
    if not 1 <= terms <= 100 or size >= (terms + 2) / 2:
        raise Failed(f"{record['name']}: {terms} terms do not reach as far as a norm of {size:.4g}")
    rest = size ** (terms + 1) / math.factorial(terms + 1) / (1.0 - size / (terms + 2))
    at_least(record, lipschitz_bound=1.0 + rest, offset_norm=offset)
    for count, absolute in ways:  # of each term, of all of them together, and of their sum
        grown = math.exp(size + gamma(count + 1) * absolute) * UP
        covered(record, (gamma(count + 1) * absolute + gamma(terms + 1)) * grown * UP)


# Composition, in fractions -------------------------------------------------------------------------------------------


def root(square: Fraction) -> Fraction:
    """At least the square root, by less than 2^-50 of it."""
    return Fraction(math.sqrt(square)) * (1 + Fraction(1, 2**51))


def check_composition(certificate: dict[str, Any], weight: np.ndarray, bias: np.ndarray, tables: list) -> None:
    """The body's constants follow from its layers', and K and T from them and the head."""
    linf, layers = certificate["norm"] == "linf", certificate["layers"]
    size = Fraction(1) if linf else root(Fraction(math.prod(layers[0]["input_shape"])))
    product, error = Fraction(1), Fraction(0)
    for layer in layers:
        bound, offset = Fraction(layer["lipschitz_bound"]), Fraction(layer["offset_norm"])
        count = layer["fan_in"] + 2
        relative = Fraction(count, 2**53 - count) if layer["fan_in"] else Fraction(0)
        local = relative * (Fraction(layer["absolute_norm"]) * size + offset)
        reach = bound * size + offset
        if layer["range_norm"] is not None:
            reach = min(reach, Fraction(layer["range_norm"]))
        product, size, error = product * bound, reach + local, bound * error + local
    for name, value in (("body_lipschitz", product), ("feature_norm", size), ("feature_error", error)):
        if Fraction(certificate[name]) < value:
            raise Failed(f"{name} is {certificate[name]!r}, it must be at least {float(value)!r}")
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
    for j, i in np.ndindex(len(exact), len(exact)):
        if i == j:
            continue
        apart = dual([one - other for one, other in zip(exact[j], exact[i], strict=True)])
        if Fraction(tables[0][j, i]) ** 2 < apart * body * body:
            raise Failed(f"K of classes {j} and {i} is {tables[0][j, i]!r}, too small for their rows of the head")
        needed = 2 * (root(apart) * error + local[j] + local[i] + Fraction(U) * (logit[j] + logit[i]))
        if Fraction(tables[1][j, i]) < needed:
            raise Failed(f"T of classes {j} and {i} is {tables[1][j, i]!r}, it must be at least {float(needed)!r}")


def check(folder: Path) -> str:
    """What was found, in words. Raises Failed for a folder that does not pass."""
    check_sums(folder)
    certificate, weights = json.loads((folder / "certificate.json").read_text()), tensors(folder)
    linf = certificate["norm"] == "linf"
    for before, after in zip(certificate["layers"], certificate["layers"][1:], strict=False):
        if before["output_shape"] != after["input_shape"]:
            raise Failed(f"{after['name']} does not take what {before['name']} gives")
    for record in certificate["layers"]:
        check_layer(record, weights, linf)
    left = {name.rpartition(".")[0].split(".")[0] for name in weights} - {row["name"] for row in certificate["layers"]}
    if left != {"head"}:
        raise Failed(f"weights without a layer: {', '.join(sorted(left - {'head'})) or 'no head'}")
    weight, bias = weights["head.weight"], weights["head.bias"]
    tables = margin_tables(folder, len(weight))
    if certificate["pairwise"] is not None:
        raise Unchecked(
            f"{len(certificate['layers'])} layers hold; the pairwise constants of LipLT are not checked here"
        )
    check_composition(certificate, weight, bias, tables)
    return f"holds: {len(certificate['layers'])} layers, K and T of {len(weight)} classes"


def main(folders: list[str]) -> int:
    failed = 0
    for name in folders:
        try:
            told = check(Path(name))
        except Unchecked as error:
            failed, told = 1, f"NOT CHECKED: {error}"
        except (Failed, OSError, ValueError, KeyError, TypeError, IndexError, StopIteration) as error:
            failed, told = 1, f"FAILS: {error}"
        print(f"{name}: {told}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
