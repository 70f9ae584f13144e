"""One row for each layer type: how its weights are written in training, and what estimates its Lipschitz constant.

The table is keyed by the *exact* type, as that of `zoo.bounds.table` is; of a layer with constraints, by the type that
it had before them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from training.centring import CentredConv2d, CentredFrequencyConv
from training.constraints import (
    AlmostOrthogonalColumns,
    AlmostOrthogonalRows,
    AsKernel,
    LinearResidual,
    NormalisedRows,
    SkewKernel,
    UnitNorm,
    UnitPairs,
)
from training.distance import LpDistance, LpSortedDistance
from training.frequency import Frequencies, lot, reflector_start, reflectors
from training.minmax import QuickMinMax, quicken
from training.operators import OperatorShape, convolution_operator, matrix_operator
from training.orthogonal import (
    BRONET_RIDGE,
    Bjorck,
    BlockOrthogonalKernel,
    BlockReflector,
    Cayley,
    CholeskyRows,
    cayley,
)
from zoo.architectures import Architecture
from zoo.architectures.aol import AOLMLP, AOLPatchwise
from zoo.architectures.bronet import BRONet
from zoo.architectures.distance import DistanceMLP, DistanceNet
from zoo.architectures.fourier import CayleyConvNet, FourierLipConvNet
from zoo.architectures.lbdn import LBDN
from zoo.architectures.lipconvnet import LipConvNet
from zoo.architectures.lipnext import LipNeXt
from zoo.architectures.liresnet import Backbone, LiResNet, PlainConvNet
from zoo.architectures.liresnetpp import LiResNetPP
from zoo.architectures.orthogonal import OrthogonalConvNet
from zoo.architectures.potential import ConvexPotentialNet
from zoo.architectures.transformer import Transformer
from zoo.bounds.rule import Context
from zoo.bounds.table import bound_layer
from zoo.errors import UncertifiableLayerError
from zoo.layers import (
    Abs,
    ConvExponential,
    ConvexPotential,
    FirstChannels,
    FrequencyConv,
    GroupSort,
    Householder,
    L2Pool,
    LInfDistance,
    MinMax,
    PadChannels,
    PatchPool,
    Pixels,
    PositionOffset,
    Residual,
    Sandwich,
    SelfAttention,
    SortedDistance,
    SpatialShift,
    TokenLinear,
)

KERNEL = 3  # of what is trained as a kernel and stored in the Fourier basis


class Place(NamedTuple):
    """Where a layer stands."""

    architecture: Architecture
    input_shape: tuple[int, ...]  # of the layer, without the batch
    from_end: int  # 0 for the head, 1 for the layer before it


@dataclass(frozen=True)
class Row:
    """What training knows of one exact layer type; no field has a default, so that none is forgotten.

    constrain: puts the layer's constraints on it where its place asks for them; returns it, or what to train instead.
    estimate: its l2 constant, given its input's shape: a number, or the operator whose norm power iteration finds.
    linf: its constant in l-infinity. Either is None where training has none; a Residual's follow from what it holds.
    """

    constrain: Callable[[Any, Place], nn.Module] | None
    estimate: Callable[[Any, tuple[int, ...]], OperatorShape | float] | None
    linf: Callable[[Any], Tensor | float] | None


def row_of(layer: nn.Module) -> Row | None:
    """The row of the layer's type, which its constraints do not change."""
    return TABLE.get(parametrize.type_before_parametrizations(layer))


def weight_of(layer: nn.Module) -> Tensor:
    """The layer's weight, as its constraints give it."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight


def constrain(network: nn.Sequential, architecture: Architecture) -> nn.Sequential:
    """The same network, initialised for training, its weights written as the architecture's paper writes them.

    Every weight starts orthogonal, every bias at 0, so that no layer's norm starts far from 1; what a row's `constrain`
    does comes after. The head of a DistanceNet stays minus the identity. MinMax layers become `QuickMinMax`.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    shape: tuple[int, ...] = architecture.input_shape
    for from_end, (name, layer) in zip(reversed(range(len(network))), list(network.named_children()), strict=True):
        row = row_of(layer)
        if row is not None and row.constrain is not None:
            setattr(network, name, row.constrain(layer, Place(architecture, shape, from_end)))
        with torch.no_grad():  # through the layer that was: a pass would move the running mean of an LpDistance
            shape = tuple(layer(torch.zeros(1, *shape)).shape[1:])
    quicken(network)
    return network


# Constraints ---------------------------------------------------------------------------------------------------------


def _linear(layer: nn.Linear, place: Place) -> nn.Module:
    """A head with normalised rows behind a backbone of LiResNet and others; everything else as its family has it."""
    match place.architecture:
        case Backbone() | LipConvNet() | LBDN() | LipNeXt() if place.from_end == 0:
            parametrize.register_parametrization(layer, "weight", NormalisedRows())
        case BRONet(dense="bro", dense_depth=depth, share=share):
            block = place.from_end <= 2 * depth
            reflector = BlockReflector(layer.weight, len(layer.weight) // share, depth if block else 1)
            parametrize.register_parametrization(layer, "weight", reflector)
        case LiResNetPP(dense_depth=depth):
            if place.from_end <= 2 * depth:  # a dense block and its activation
                _residual_form(layer, depth)
            parametrize.register_parametrization(layer, "weight", CholeskyRows())
        case AOLPatchwise() | AOLMLP():
            nn.init.eye_(layer.weight)
            if place.from_end == 0:
                nn.init.zeros_(layer.bias)
                return layer.requires_grad_(False)
            parametrize.register_parametrization(layer, "weight", AlmostOrthogonalColumns())
        case OrthogonalConvNet(method="bcop"):
            parametrize.register_parametrization(layer, "weight", Bjorck())
        case OrthogonalConvNet() | CayleyConvNet():
            with torch.no_grad():  # an orthogonal start may have the eigenvalue -1, which no value has
                layer.weight.copy_(cayley(torch.randn_like(layer.weight) / layer.weight.shape[1] ** 0.5))
            parametrize.register_parametrization(layer, "weight", Cayley())
        case DistanceNet() if place.from_end == 0 and not isinstance(place.architecture, DistanceMLP):
            layer.requires_grad_(False).weight.copy_(-torch.eye(len(layer.weight)))
    return layer


def _convolution(layer: nn.Conv2d, place: Place) -> nn.Module:
    """Those that keep the map of a LiResNet or transformer are linear residuals; else as its family has it."""
    keeps = layer.stride == (1, 1) and layer.in_channels == layer.out_channels
    match place.architecture:
        case LiResNetPP(depth=depth) if keeps:
            layer = CentredConv2d.of(layer)
            _residual_form(layer, depth)
        case BRONet(dense="bro", share=share) if layer.in_channels == layer.out_channels:  # the neck's
            reflector = BlockReflector(layer.weight, len(layer.weight) // share)
            parametrize.register_parametrization(layer, "weight", reflector)
        case LiResNetPP() if layer.in_channels == layer.out_channels:  # likewise
            parametrize.register_parametrization(layer, "weight", CholeskyRows())
        case LiResNet(depth=depth) | Transformer(depth=depth) if keeps and not isinstance(
            place.architecture, PlainConvNet
        ):
            _residual_form(layer, depth)
        case AOLPatchwise():
            if keeps:
                nn.init.dirac_(layer.weight)
            parametrize.register_parametrization(layer, "weight", AlmostOrthogonalColumns())
        case LipNeXt():
            return _as_matrix(layer)
        case CayleyConvNet():
            return _as_matrix(layer, Cayley())
        case OrthogonalConvNet(method=method):
            kernel = BlockOrthogonalKernel(layer.weight, layer.stride[0], downsampling=method == "bcop")
            parametrize.register_parametrization(layer, "weight", kernel)
    return layer


def _tokens(layer: TokenLinear, place: Place) -> nn.Module:
    if isinstance(place.architecture, Transformer):
        _residual_form(layer, place.architecture.depth)
    return layer


def _residual_form(layer: nn.Conv2d | nn.Linear | TokenLinear, depth: int) -> None:
    """I + W / sqrt(depth), W ~ N(0, 1) / (k^2 width)."""
    residual = LinearResidual(layer.weight, depth)
    start = torch.randn_like(layer.weight) / layer.weight[:, 0].numel()
    with torch.no_grad():
        layer.weight.copy_(residual(start))
    parametrize.register_parametrization(layer, "weight", residual)


def _as_matrix(layer: nn.Conv2d, constraint: nn.Module | None = None) -> nn.Module:
    """The constraint on the kernel read as a matrix; by default that its rows or columns be orthonormal."""
    kernel = layer.weight
    layer.weight = nn.Parameter(kernel.detach().flatten(1))
    if constraint is None:
        parametrizations.orthogonal(layer)
    else:
        parametrize.register_parametrization(layer, "weight", constraint)
    parametrize.register_parametrization(layer, "weight", AsKernel(kernel.shape), unsafe=True)
    return layer


def _residual(layer: Residual, place: Place) -> nn.Module:
    """The last convolution starts at 0, so that the block starts as the identity; its factor beta stays folded."""
    last = layer.branch[-1]
    assert isinstance(last, nn.Conv2d)
    nn.init.zeros_(last.weight)
    for inner in layer.branch:
        if type(inner) is SelfAttention:
            _self_attention(inner, place)
    return layer


def _self_attention(layer: SelfAttention, place: Place) -> nn.Module:
    for name, weight in list(layer.named_parameters()):
        parametrize.register_parametrization(layer, name, AlmostOrthogonalRows(len(weight)))
    return layer


def _potential(layer: ConvexPotential, place: Place) -> nn.Module:
    if not isinstance(place.architecture, ConvexPotentialNet):
        return layer
    sll = place.architecture.method == "sll"
    constraint = AlmostOrthogonalRows(len(layer.weight)) if sll else UnitNorm(place.input_shape)
    parametrize.register_parametrization(layer, "weight", constraint)
    return layer


def _exponential(layer: ConvExponential, place: Place) -> nn.Module:
    nn.init.normal_(layer.weight, std=len(layer.weight) ** -0.5)
    constraint = SkewKernel(len(layer.weight), layer.weight.shape[2])
    parametrize.register_parametrization(layer, "weight", constraint)
    return layer


def _householder(layer: Householder, place: Place) -> nn.Module:
    parametrize.register_parametrization(layer, "weight", UnitPairs())
    return layer


def _frequency_conv(layer: FrequencyConv, place: Place) -> nn.Module:
    """A kernel's matrices, made orthogonal as the family's paper does; without a family, and at one tap, by Cayley."""
    outputs, inputs = layer.weight.shape[3:]
    taps = 1 if layer.size == 1 and not layer.padding else KERNEL
    kernel, orthogonal = torch.randn(outputs, inputs, taps, taps) / (taps * inputs**0.5), cayley
    match place.architecture:
        case FourierLipConvNet(method="lot"):
            orthogonal = lot
        case FourierLipConvNet(method="bro"):
            kernel, orthogonal = reflector_start(outputs, inputs, taps), reflectors(outputs, inputs)
        case BRONet(share=share, depth=depth):
            kernel = reflector_start(outputs, inputs, taps, share, depth)
            layer, orthogonal = CentredFrequencyConv.of(layer), reflectors(outputs, inputs, BRONET_RIDGE)
    torus = layer.size + 2 * layer.padding
    parametrize.register_parametrization(layer, "weight", Frequencies(kernel.to(layer.weight), torus, orthogonal))
    return layer


def _sandwich(layer: Sandwich, place: Place) -> nn.Module:
    """[A, B] by Cayley, from orthonormal rows; in the Fourier basis, that of a kernel whose middle tap makes them."""
    if layer.size is None:
        parametrize.register_parametrization(layer, "weight", Cayley())
        return layer
    kernel = layer.weight.new_zeros(*layer.weight.shape[3:], KERNEL, KERNEL)
    kernel[:, :, KERNEL // 2, KERNEL // 2] = Cayley().right_inverse(layer.weight.detach()[0, 0, 0])
    parametrize.register_parametrization(layer, "weight", Frequencies(kernel, layer.size, cayley))
    return layer


def _distance(layer: LInfDistance, place: Place) -> nn.Module:
    """An `LpDistance` in the layer's place; it subtracts the mean over the batch unless it is right before the head."""
    outputs, inputs = layer.weight.shape
    return LpDistance(inputs, outputs, shift=place.from_end > 1)


def _sorted_distance(layer: SortedDistance, place: Place) -> nn.Module:
    """An `LpSortedDistance` in the layer's place; it too subtracts the mean unless it is right before the head."""
    outputs, inputs = layer.weight.shape
    return LpSortedDistance(inputs, outputs, place.from_end > 1, layer.keep, layer.terms)


# Estimates -----------------------------------------------------------------------------------------------------------


def _scale(layer: Pixels) -> Tensor:
    return layer.scale.abs().max()


def _row_sum(layer: nn.Linear | nn.Conv2d) -> Tensor:
    return layer.weight.flatten(1).abs().sum(dim=1).max()


def _proved(layer: nn.Module, shape: tuple[int, ...]) -> float:
    """The proved bound of a layer without weights, which training does not change."""
    return bound_layer(layer, Context("layer", shape)).lipschitz_bound


def _share(layer: nn.AvgPool2d) -> float:
    rows, columns = layer.kernel_size if isinstance(layer.kernel_size, tuple) else (layer.kernel_size,) * 2
    return rows * columns / (layer.divisor_override or rows * columns)


def _by_the_batch(layer: nn.BatchNorm2d, *_: Any) -> float:
    raise UncertifiableLayerError(
        "a BatchNorm2d has no constant while its statistics change; instead: none, or its scale in the layer before"
    )


def _transposed(layer: nn.ConvTranspose2d, *_: Any) -> float:
    raise UncertifiableLayerError("no estimate for a ConvTranspose2d; instead: train it with a norm of your own")


def _one(*_: Any) -> float:
    """The constant of a layer that has 1 by definition or by its constraint."""
    return 1.0


TABLE: dict[type[nn.Module], Row] = {
    # constrain, estimate, linf
    Pixels: Row(None, lambda layer, shape: float(_scale(layer)), _scale),
    MinMax: Row(None, _one, _one),
    QuickMinMax: Row(None, _one, _one),
    nn.ReLU: Row(None, _one, _one),
    nn.LeakyReLU: Row(None, _proved, _one),
    nn.Hardtanh: Row(None, _one, _one),
    GroupSort: Row(None, _one, _one),
    Abs: Row(None, _one, _one),
    SpatialShift: Row(None, _one, _one),
    PositionOffset: Row(None, _one, None),
    L2Pool: Row(None, _one, None),
    nn.Identity: Row(None, _one, _one),
    nn.Dropout: Row(None, _one, _one),
    nn.Unflatten: Row(None, _one, _one),
    nn.ChannelShuffle: Row(None, _one, _one),
    nn.AvgPool2d: Row(None, _proved, _share),
    nn.AdaptiveAvgPool2d: Row(None, _proved, _one),
    nn.MaxPool2d: Row(None, _proved, _one),
    nn.BatchNorm2d: Row(None, _by_the_batch, _by_the_batch),
    nn.ConvTranspose2d: Row(None, _transposed, None),
    nn.Flatten: Row(None, _one, _one),
    PadChannels: Row(None, _one, _one),
    FirstChannels: Row(None, _one, _one),
    nn.PixelUnshuffle: Row(None, _one, _one),
    PatchPool: Row(None, _one, None),
    nn.Linear: Row(_linear, matrix_operator, _row_sum),
    nn.Conv2d: Row(_convolution, convolution_operator, _row_sum),
    CentredConv2d: Row(None, convolution_operator, None),
    CentredFrequencyConv: Row(None, _one, None),
    TokenLinear: Row(_tokens, matrix_operator, None),
    ConvexPotential: Row(_potential, _one, None),
    ConvExponential: Row(_exponential, _one, None),
    Householder: Row(_householder, _one, None),
    FrequencyConv: Row(_frequency_conv, _one, None),
    Sandwich: Row(_sandwich, _one, None),
    SelfAttention: Row(_self_attention, _one, None),
    LInfDistance: Row(_distance, None, _one),
    LpDistance: Row(None, None, _one),
    SortedDistance: Row(_sorted_distance, None, _one),
    LpSortedDistance: Row(None, None, _one),
    Residual: Row(_residual, None, None),
}
