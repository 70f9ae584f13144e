"""Certificates, evaluations and predictions as frozen records, and their JSON. Standard library only.

A float is written with `repr`, so that reading it back gives the same 64 bits. JSON has no infinity, and no file has
one.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import sys
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeVar

from zoo.epsilon import epsilon_text, is_radius, parse_epsilon
from zoo.errors import CertificateError

GRAPH_FORMAT = 1  # of both graphs: the same number, network and certificate give the same bytes
FORMAT = 1  # of certificate.json, config.json and evaluation.json; a reader refuses any other

MAX_RECORD_BYTES = 16 * 2**20
SAMPLE = 1000  # an evaluation keeps the radii of this many images, the first ones
TOP_K = 5  # the most ranks of `topk_radius`
NORMS = ("l2", "linf")  # in which radii are certified
# The epsilons at which papers report for natural images, by norm.
NATURAL = {"l2": ("36/255", "72/255", "108/255", "1.0"), "linf": ("2/255", "8/255", "16/255")}

Record = TypeVar("Record")


def ranks(classes: int) -> int:
    """The length of `topk_radius`: one for each other class, TOP_K at most."""
    return min(TOP_K, classes - 1)


class Outputs(NamedTuple):
    """What a certified model answers for a batch of N images and C classes.

    The same five arrays leave PyTorch (tensors) and ONNX Runtime (NumPy), in this order and under these names.
    """

    logits: Any  # [N, C]
    label: Any  # [N], the predicted class
    radius: Any  # [N], the certified radius of the label; 0 where nothing is certified
    class_radii: Any  # [N, C], certified distance to each other class; infinity at the label
    topk_radius: Any  # [N, K], distance below which the label stays among the 1, 2, ..., K best


NOT_PROVED = "float32, not proved"  # the `arithmetic` of model.float32.onnx


def output_names(precision: str) -> list[str]:
    """The names of `Outputs` in the graph of this precision: in float32 the radii are called estimates."""
    radii = {"radius", "class_radii", "topk_radius"} if precision == "float32" else set()
    return [f"{name}_estimate" if name in radii else name for name in Outputs._fields]


@dataclass(frozen=True)
class LayerBound:
    """A proved Lipschitz bound of one layer of the body, with the numbers that prove it."""

    name: str  # the layer's name in the network
    kind: str  # its class
    input_shape: tuple[int, ...]  # without the batch
    output_shape: tuple[int, ...]
    lipschitz_bound: float  # never below the true constant
    lipschitz_estimate: float  # from below, in float32: says how tight the bound is, proves nothing
    method: str  # of the proof: for a linear layer its geometry, for others the theorem
    proof: dict[str, float]  # tau, residual and rounding terms of the method; see zoo/bounds/spectral.py
    # Its rounding on an input of norm R is at most gamma_{fan_in + 2} (absolute_norm R + offset_norm), in that norm.
    fan_in: int  # products in a sum that gives one output; 0 where the layer is exact in floating point
    absolute_norm: float  # for a linear layer, at least the operator norm of the entrywise absolute value
    offset_norm: float  # also at least the norm of the layer's value at 0
    range_norm: float | None  # at least the norm of any output; None where it depends on the input's norm
    lowering: str = ""  # the form that its convolutions take in the graph, see zoo/lowering/choice.py


@dataclass(frozen=True)
class Certificate:
    """Everything needed to check, from the weights alone, what `radius` means."""

    name: str
    claim: str
    norm: str  # "l2" or "linf"
    unit: str
    domain: str
    arithmetic: str
    composition: str
    architecture: dict[str, Any]
    weights_sha256: str
    layers: tuple[LayerBound, ...]  # the body: every layer but the head
    body_lipschitz: float  # at least the Lipschitz constant of the body
    feature_norm: float  # at least the norm of the computed features that enter the head, on the domain
    feature_error: float  # at least the distance of computed from exact features, on the domain
    tables_sha256: str  # of margin_lipschitz K and slack T, float64 little endian, K first
    versions: dict[str, str]
    pairwise: tuple[float, ...] | None = None  # LipLT: at least the constant of f_j - f_i, i < j, row by row of j
    levels: tuple[float, ...] = ()  # l-infinity radii that the graph also tries by interval propagation, rising
    graph_format: int = 0  # `GRAPH_FORMAT` when it was written
    format: int = FORMAT


@dataclass(frozen=True)
class ModelConfig:
    """config.json: what a published folder is."""

    name: str
    architecture: dict[str, Any]
    dataset: str
    norm: str
    input_shape: tuple[int, int, int]  # channels, height, width
    labels: tuple[str, ...]
    recipe: dict[str, Any]
    license: str
    format: int = FORMAT

    def took(self, what: Literal["epochs", "hours"]) -> float | None:
        """What its training took, that of the model from whose weights it began included; None if not recorded."""
        run, before = self.recipe.get(what), self.recipe.get(f"init_{what}", 0)
        if all(isinstance(value, int | float) and 0 <= value < 2**53 for value in (run, before)):
            return round(run + before, 3)
        return None


@dataclass(frozen=True)
class Evaluation:
    """What was measured on the shipped ONNX graph over a test split.

    Rates are fractions of `images`; what an attack leaves is a fraction of `pgd_images`.
    Without a test split nothing was measured: `images` is 0, and what would be measured is 0 or empty.
    """

    dataset: str
    split: str
    revision: str  # a sha256 of the files that the images come from, or of their numbers where they are computed
    images: int
    clean_accuracy: float
    vra: dict[str, float]  # verified-robust accuracy (correct and radius > epsilon) by epsilon as text
    acr: float  # average certified radius, wrong answers counted as 0
    curve: tuple[tuple[float, float], ...]  # (epsilon, vra)
    seconds: float
    machine: str
    graph_sha256: str
    pgd_accuracy: dict[str, float] = field(default_factory=dict)  # empirical upper bound, by epsilon as text
    pgd_images: int = 0
    pgd: str = ""  # the attack in words
    tightness: dict[str, float] = field(default_factory=dict)  # the largest quotient found over its bound, by name
    tightness_search: str = ""  # the search in words
    command: str = ""
    radii: tuple[float, ...] = ()  # of the first images, 0 where the label is wrong
    format: int = FORMAT

    @property
    def measured(self) -> bool:
        return self.images > 0

    def attacked_vra(self, epsilon: str) -> float:
        """The VRA of the images that were attacked, the first `pgd_images`: no attack can leave fewer of them right."""
        size = parse_epsilon(epsilon)
        return sum(radius > size for radius in self.radii[: self.pgd_images]) / self.pgd_images

    def broken(self) -> list[str]:
        """A line for each epsilon at which an attack left fewer images right than are certified: none, if all holds."""
        return [
            f"PGD at {epsilon} leaves fewer images right than are certified: {left}"
            for epsilon, left in self.pgd_accuracy.items()
            if left < self.attacked_vra(epsilon)
        ]


def aim(config: ModelConfig, evaluation: Evaluation) -> str:
    """The epsilon that the model was made for, by its recipe, as `evaluation.vra` writes it.

    Where the recipe names none, or the model was not measured there, it is the first epsilon of `evaluation.vra`. Where
    nothing was measured it is the recipe's epsilon as text, or the first of `NATURAL`.
    """
    known, epsilon = list(evaluation.vra) or list(NATURAL[config.norm]), config.recipe.get("epsilon")
    if not is_radius(epsilon):
        return known[0]
    made_for = next((text for text in known if math.isclose(parse_epsilon(text), epsilon)), None)
    return made_for or (known[0] if evaluation.vra else epsilon_text(epsilon))


@dataclass(frozen=True)
class Prediction:
    """One image's answer. `radius` is proved only where `proved` is true (the float64 graph)."""

    index: int  # the predicted class, whether or not it is certified
    name: str
    radius: float  # in the model's norm, pixels of [0, 1], whole image, at the model's own resolution
    class_radii: tuple[float, ...]
    topk_radius: tuple[float, ...]
    proved: bool
    epsilon: float | None = None

    @property
    def certified(self) -> bool | None:
        """Whether no perturbation of size epsilon or less changes the label; false without a proof.

        None where no epsilon was asked for.

        >>> Prediction(1, "one", 0.5, (), (), proved=True, epsilon=0.3).certified
        True
        >>> Prediction(1, "one", 0.5, (), (), proved=False, epsilon=0.3).certified
        False
        """
        return None if self.epsilon is None else self.proved and self.radius > self.epsilon

    @property
    def label(self) -> str | None:
        """The class name; None (abstention) where an epsilon was asked for and is not certified.

        >>> Prediction(1, "one", 0.5, (), (), proved=True, epsilon=0.3).label
        'one'
        >>> Prediction(1, "one", 0.5, (), (), proved=True, epsilon=0.5).label is None
        True
        """
        return self.name if self.epsilon is None or self.certified else None

    def to_json(self) -> dict[str, Any]:
        """A JSON object; infinity, which JSON lacks, becomes null."""
        row = {key: _finite(value) for key, value in dataclasses.asdict(self).items()}
        return {**row, "label": self.label, "certified": self.certified}


def _finite(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def dumps(record: Any) -> str:
    """The record as indented JSON with a final newline; the same record gives the same bytes."""
    return json.dumps(dataclasses.asdict(record), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def loads(kind: type[Record], text: str | bytes, source: str = "record") -> Record:
    """The record that `dumps` wrote. Raises CertificateError for anything else, naming `source`."""
    if len(text) > MAX_RECORD_BYTES:
        raise CertificateError(f"{source} is larger than {MAX_RECORD_BYTES // 2**20} MiB")
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise CertificateError(f"{source} is not JSON: {error}") from error
    if isinstance(value, dict) and value.get("format") != FORMAT:
        raise CertificateError(
            f"{source} has format {value.get('format')!r}, this zoo reads format {FORMAT}: use the version of "
            "certified-zoo that wrote it"
        )
    return _parse(kind, value, source)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs as a dict. Raises ValueError for a key that occurs twice: readers differ in which value they take."""
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {twice!r:.60} occurs twice")
    return value


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


_hints = functools.cache(typing.get_type_hints)  # of a record's class


def _parse(kind: Any, value: Any, where: str) -> Any:
    """`value` checked against the annotation `kind`, with lists made tuples and objects made records."""
    if kind is Any:
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) <= sys.float_info.max:
            return float(value)
        raise CertificateError(f"{where}: {str(value)[:60]!r} is not a finite float")
    if kind is int and type(value) is int:
        if abs(value) < 2**63:
            return value
        raise CertificateError(f"{where}: {str(value)[:60]!r} is not an integer of 64 bits")
    if kind is str and type(value) is str:
        return value
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        hints, record = _hints(kind), typing.cast("type[Any]", kind)
        if wrong := set(value) ^ set(hints):
            raise CertificateError(f"{where}: missing or unknown field {', '.join(sorted(wrong))}")
        return record(**{key: _parse(hints[key], item, f"{where}: {key}") for key, item in value.items()})
    if origin is tuple and isinstance(value, list):
        inner = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        if len(inner) == len(value):
            return tuple(_parse(item_kind, item, where) for item_kind, item in zip(inner, value, strict=True))
    if origin is dict and isinstance(value, dict):
        return {key: _parse(arguments[1], item, f"{where}: {key}") for key, item in value.items()}
    if origin is types.UnionType:
        return None if value is None else _parse(arguments[0], value, where)  # only `X | None` occurs
    raise CertificateError(f"{where}: {str(value)[:60]!r} is not a {getattr(kind, '__name__', kind)}")
