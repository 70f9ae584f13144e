"""What the proof knows of a layer type, what its rules are given and answer, and the scalar bounds that rules share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module

from zoo.bounds.form import Form
from zoo.bounds.rounding import gamma
from zoo.bounds.spectral import Matrix, NormProof, spectral_norm_bound
from zoo.errors import UncertifiableLayerError

if TYPE_CHECKING:
    from zoo.lowering.nodes import Nodes
    from zoo.lowering.values import Value

Shape = tuple[int, ...]
Checked = Literal["single", "composed", "composed, at least 1"]
# For layers without a row that people ask for: what to use instead.
INSTEAD = {
    "Sequential": "its layers, one after the other, in the outer nn.Sequential",
    **dict.fromkeys(
        ("GELU", "SiLU", "ELU", "SELU", "CELU", "Mish", "Hardswish", "Softplus", "PReLU", "RReLU"),
        "nn.ReLU, nn.LeakyReLU or zoo.layers.MinMax",
    ),
    **dict.fromkeys(("Sigmoid", "Tanh", "Hardsigmoid", "Softsign"), "nn.Hardtanh"),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Softmax2d"), "nothing: the certificate speaks of logits"),
    **dict.fromkeys(
        ("LayerNorm", "GroupNorm", "InstanceNorm2d", "RMSNorm", "LocalResponseNorm"),
        "nn.BatchNorm2d, in evaluation mode, or none: they divide by what an image makes arbitrarily small",
    ),
    "BatchNorm1d": "nn.BatchNorm2d before nn.Flatten, or its scale and shift inside the nn.Linear before it",
    **dict.fromkeys(("Dropout1d", "Dropout2d", "AlphaDropout", "FeatureAlphaDropout"), "nn.Dropout, or none"),
    **dict.fromkeys(("Conv1d", "Conv3d", "LazyConv2d"), "nn.Conv2d"),
    "LazyLinear": "nn.Linear, with its sizes",
    "Bilinear": "nn.Linear",
    **dict.fromkeys(("MultiheadAttention", "TransformerEncoderLayer"), "zoo.layers.SelfAttention"),
    **dict.fromkeys(("AdaptiveMaxPool2d", "FractionalMaxPool2d", "LPPool2d"), "nn.MaxPool2d or nn.AvgPool2d"),
    **dict.fromkeys(("Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d"), "nn.ConvTranspose2d"),
    **dict.fromkeys(("ZeroPad2d", "CircularPad2d", "ReflectionPad2d"), "the padding of the nn.Conv2d behind it"),
}
Ends = tuple[Tensor, Tensor]  # the least and the largest values of a batch of maps or vectors


@dataclass(frozen=True)
class Row:
    """All that the proof knows of one exact layer type; no field has a default, so that none is forgotten.

    l2, linf: its rules in the two norms. One of them may be None.
    intervals: from the least and largest inputs to the least and largest outputs; None without a rule in l-infinity.
    linear: the layer without its bias, given its weight (or None) and a batch; None where it is not linear.
    slopes: alpha and beta, 0 <= alpha <= beta, of an activation that acts on each number by itself, else None.
    checked: how `zoo verify` checks the published bound against the published proof:
        "single": the bound is that of the one `NormProof`; without a proof it is 1 or a number from the weights;
        "composed": the bound follows from several `NormProof`s and is compared with the one computed anew;
        "composed, at least 1": as "composed", and never below 1.
    lowering: the layer as nodes of a graph.
    ends: `intervals` as nodes of a graph.
    form: how a layer of the type is written in JSON.
    """

    l2: Callable[[Any, Context], Bound] | None
    linf: Callable[[Any, Context], Bound] | None
    intervals: Callable[[Any, Tensor, Tensor, Rows], Ends] | None
    linear: Callable[[Any, Tensor | None, Tensor], Tensor] | None
    slopes: tuple[float, float] | None
    checked: Checked
    lowering: Callable[[Nodes, Any, str, Value], Value]
    ends: Callable[[Nodes, Any, str, Value, Value], tuple[Value, Value]] | None
    form: Form

    def __post_init__(self) -> None:
        if self.l2 is None and self.linf is None:
            raise TypeError("a row needs a rule in l2 or in linf")
        if not (self.linf is None) == (self.intervals is None) == (self.ends is None):
            raise TypeError("a rule in linf and rules for intervals need each other")
        if self.linear is not None and self.slopes is not None:
            raise TypeError("a layer is linear or an activation with slopes, not both")
        if self.slopes is not None and not 0.0 <= self.slopes[0] <= self.slopes[1]:
            raise TypeError(f"slopes are two rising numbers from 0, got {self.slopes}")


Rows = Mapping[type[nn.Module], Row]


@dataclass(frozen=True)
class Bound:
    """What a rule proves of its layer; the fields are those of `records.LayerBound`."""

    output_shape: Shape
    lipschitz_bound: float
    method: str
    proof: dict[str, float]
    fan_in: int = 0
    absolute_norm: float = 1.0
    offset_norm: float = 0.0
    range_norm: float | None = None
    lowering: str = ""


@dataclass(frozen=True)
class Context:
    """What a rule is given besides its layer.

    name: the layer's, for messages and `taus`.
    advance: called with the number of matrices that a proof will factor, then with 0 after each of them.
    taus: the `NormProof.tau` of an earlier certificate, by the full name of the layer or of its part, which saves an
        eigenvalue; where one is missing it is computed.
    norm: "l2" or "linf", of the layer's input and of its output.
    gain: inside a block, at least the factor by which the block's layers before this one enlarge the block's input.
    rows: the table, for layers inside the layer.
    """

    name: str
    input_shape: Shape
    advance: Callable[[int], None] = lambda total: None
    taus: Mapping[str, float] = field(default_factory=dict)
    norm: str = "l2"
    gain: float = 1.0
    rows: Rows = field(default_factory=dict)

    def refuse(self, reason: str) -> UncertifiableLayerError:
        """The error to raise for a layer that is not proved: it names the layer and says why."""
        return UncertifiableLayerError(f"layer {self.name!r} cannot be certified: {reason}")

    def bound(self, layer: nn.Module) -> Bound:
        """The proved bound of a layer with a row. Raises UncertifiableLayerError where there is no proof."""
        rules = {kind: rule for kind, row in self.rows.items() if (rule := getattr(row, self.norm)) is not None}
        rule = rules.get(type(layer))
        if rule is None:
            raise self.refuse(no_row(type(layer), rules, f" in {self.norm}"))
        if changed_by_hooks(layer):
            raise self.refuse(CHANGED)
        if in_training(layer):
            raise self.refuse("it computes something else in training mode; call network.eval() first")
        return rule(layer, self)

    def inside(self, name: str, input_shape: Shape) -> Context:
        """The context of a layer inside this one."""
        return replace(self, name=f"{self.name}.{name}", input_shape=input_shape)

    def map_shape(self) -> tuple[int, int, int]:
        """The input's shape [C, H, W]. Raises UncertifiableLayerError where the input is no map."""
        if len(self.input_shape) != 3:
            raise self.refuse(f"it expects maps [C, H, W], its input has the shape {list(self.input_shape)}")
        return self.input_shape  # type: ignore[return-value]

    def exact(self, tensor: Tensor | None, *shape: int) -> Matrix:
        """The stored float32 numbers as float64, of exactly this shape; zeros for a missing bias."""
        if tensor is None:
            return np.zeros(shape)
        if not is_plain_tensor(tensor):
            raise self.refuse(f"a tensor is a {type(tensor).__name__}, which may compute something else")
        if tuple(tensor.shape) != shape:
            raise self.refuse(f"a tensor has the shape {list(tensor.shape)}, expected {list(shape)}")
        if tensor.dtype != torch.float32:
            raise self.refuse(f"its weights are {tensor.dtype}, certificates speak of torch.float32")
        if tensor.layout != torch.strided or tensor.is_meta:
            raise self.refuse(
                f"a tensor is {'on the meta device' if tensor.is_meta else 'sparse'}, which has no numbers"
            )
        with np.errstate(invalid="ignore"):  # a signalling NaN, which is refused in the next line
            array = tensor.detach().cpu().resolve_neg().numpy().astype(np.float64)
        if not np.isfinite(array).all():
            raise self.refuse("a weight is NaN or infinite")
        return array

    def prove(
        self,
        family: Iterable[tuple[Matrix, Matrix | None]],
        count: int = 1,
        perturbation: float = 0.0,
        divisor: float = 1.0,
    ) -> NormProof:
        """The proof of the largest norm in a family of `count` matrices; see `spectral_norm_bound`."""
        self.advance(count)
        tau = self.taus.get(self.name, 0.0)
        return spectral_norm_bound(family, tau, perturbation, divisor, lambda: self.advance(0))

    def size(self, vector: Matrix, copies: int) -> float:
        """At least the norm, in the norm of the context, of `copies` copies of the vector one after the other."""
        return l2(vector, copies) if self.norm == "l2" else float(np.abs(vector).max()) * RAISED


def is_plain_tensor(tensor: Tensor) -> bool:
    """Whether no class of its own changes what is computed with the tensor."""
    return type(tensor) in (Tensor, nn.Parameter)


def no_row(kind: type, rows: Mapping[type[nn.Module], Any], norm: str = "") -> str:
    """The message for a type without a row: what to use instead, or which types have one."""
    instead = INSTEAD.get(kind.__name__)
    known = ", ".join(sorted(known.__name__ for known in rows))
    hint = f"instead: {instead}" if instead else f"there are rules for {known}"
    return f"no rule for {kind.__name__}{norm}; {hint}"


NEUTRAL = {0.0: 2.0**-149, 1.0: 2.0**-23}  # of a sum and of a product; in float32 what is nearer to it becomes it


def left_out(number: float, neutral: float) -> bool:
    """Whether ONNX Runtime could leave an operation by this number out, though it is not neutral.

    An optimiser, which is on by default, does so with a constant of one number, whatever its type, that is 0 in a sum
    or 1 in a product when it is rounded to float32. A stored weight is such a number already: if it is rounded to 0 or
    1, it is that. What the graph computes of weights, or has from an option of a layer, need not be.
    """
    return 0.0 < abs(number - neutral) < NEUTRAL[neutral]


CHANGED = "a hook, a replaced method or compile() changes what it computes"


def kind_of(network: nn.Module) -> str:
    """Words for a network that is refused: its class, or that it was changed in a way that no rule can see."""
    return f"one where {CHANGED}" if changed_by_hooks(network) else type(network).__name__


def changed_by_hooks(layer: nn.Module) -> bool:
    """Whether more than its class decides what the layer computes.

    That is a hook, its own or global, a replaced method, or what `compile` has put in the place of its call.
    """
    replaced = any(callable(getattr(type(layer), name, None)) for name in vars(layer))
    replaced = replaced or layer._compiled_call_impl is not None
    of_all = module._global_forward_hooks or module._global_forward_pre_hooks
    return bool(layer._forward_hooks or layer._forward_pre_hooks or of_all or replaced)


def in_training(layer: nn.Module) -> bool:
    """Whether it is a Dropout or BatchNorm2d in training mode, where its output depends on chance or on the batch."""
    return layer.training and isinstance(layer, nn.Dropout | nn.BatchNorm2d)


def intervals_of(layer: nn.Module, lower: Tensor, upper: Tensor, rows: Rows) -> Ends:
    """The least and largest outputs of a layer that has a rule in l-infinity, from those of its input."""
    rule = rows[type(layer)].intervals
    assert rule is not None
    return rule(layer, lower, upper, rows)


# Covers the rounding of `schur_bound` and `l2`, whose sums have fewer than 2^22 terms. It also leaves room for another
# order of summation on another machine, since `zoo.publication.verify` accepts a number a little below its own.
RAISED = 1.0 + 2.0**-30


def schur_bound(matrix: Matrix) -> float:
    """At least the spectral norm of a nonnegative matrix: sqrt(|.|_1 |.|_inf).

    For a convolution the sum of |W_t| over the taps serves: a nonnegative symbol is largest at frequency 0.
    """
    return math.sqrt(float(matrix.sum(axis=0).max()) * float(matrix.sum(axis=1).max())) * RAISED


def l2(vector: Matrix, copies: int) -> float:
    """At least the l2 norm of `copies` copies of the vector."""
    return math.sqrt(float(np.square(vector).sum()) * copies) * RAISED


def l1_of_rows(rows: Matrix) -> Matrix:
    """At least the l1 norm of each row, also where each entry carries a relative error of u.

    Columns are added one after the other, so that the bits are the same on every machine.
    """
    total = np.zeros(len(rows))
    for column in np.ascontiguousarray(np.abs(rows).T):
        total = total + column
    return total * (1.0 + gamma(rows.shape[1] + 8))


def matrix_of(layer: nn.Linear, context: Context) -> Matrix:
    """The matrix of a Linear. Raises UncertifiableLayerError where it does not fit its input."""
    if context.input_shape != (layer.in_features,):
        raise context.refuse(f"it expects [{layer.in_features}], its input has the shape {list(context.input_shape)}")
    return context.exact(layer.weight, layer.out_features, layer.in_features)
