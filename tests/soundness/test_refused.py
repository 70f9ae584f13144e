"""What no rule proves is refused: other types, hooks, subclasses, numbers that are not what the layer says."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from zoo.architectures.layers import layers_of
from zoo.bounds.rule import Context
from zoo.bounds.table import bound_layer
from zoo.certificate.certify import certify
from zoo.errors import CertificateError, InputError, UncertifiableLayerError
from zoo.layers import (
    GroupSort,
    MinMax,
    Pixels,
    Residual,
)

from .oracle import Shape, certified


class MyLinear(nn.Linear):
    """A subclass may compute something else."""

    def forward(self, x: Tensor) -> Tensor:
        return 10 * super().forward(x)


class MyReLU(nn.ReLU):
    pass


class ReLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 100 * x


class MyPixels(Pixels):
    pass


class MySequential(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(10 * x)


def hooked(layer: nn.Module) -> nn.Module:
    layer.register_forward_hook(lambda module, inputs, output: 10 * output)
    return layer


def compiled(layer: nn.Module) -> nn.Module:
    layer.compile(backend="eager")
    return layer


def pre_hooked(layer: nn.Module) -> nn.Module:
    layer.register_forward_pre_hook(lambda module, inputs: (10 * inputs[0],))
    return layer


def replaced(layer: nn.Module) -> nn.Module:
    layer.forward = lambda x: 10 * x  # type: ignore[method-assign]
    return layer


def with_weight(layer: nn.Module, value: float | torch.Tensor) -> nn.Module:
    with torch.no_grad():
        layer.weight.view(-1)[-1] = value
    return layer


def sparse(layer: nn.Linear) -> nn.Module:
    layer.weight = nn.Parameter(torch.eye(8).to_sparse())
    return layer


def with_bias(layer: nn.Module, value: float) -> nn.Module:
    with torch.no_grad():
        layer.bias[-1] = value
    return layer


def negative_variance(layer: nn.BatchNorm2d) -> nn.Module:
    assert layer.running_var is not None
    layer.running_var[0] = -1.0
    return layer


def branch_named(name: str) -> nn.Module:
    layer = Residual(nn.ReLU())
    layer.branch.add_module(name, nn.Linear(8, 8))
    return layer


CHANGED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "forward hook": hooked,
    "forward pre-hook": pre_hooked,
    "replaced forward": replaced,
    "float16": nn.Module.half,
    "float64": nn.Module.double,
    "bfloat16": nn.Module.bfloat16,
    "NaN weight": lambda layer: with_weight(layer, math.nan),
    "signalling NaN": lambda layer: with_weight(layer, torch.tensor(0x7FA00000, dtype=torch.int32).view(torch.float32)),
    "infinite weight": lambda layer: with_weight(layer, math.inf),
    "NaN bias": lambda layer: with_bias(layer, math.nan),
    "infinite bias": lambda layer: with_bias(layer, -math.inf),
    "weight norm": parametrizations.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "spectral norm by a hook": spectral_norm,
}

MAP, FLAT = (4, 6, 6), (8,)
REFUSED: dict[str, tuple[Callable[[], nn.Module], Shape]] = {
    **{f"linear, {name}": (lambda change=change: change(nn.Linear(8, 8)), FLAT) for name, change in CHANGED.items()},
    **{
        f"conv, {name}": (lambda change=change: change(nn.Conv2d(4, 4, 3, padding=1)), MAP)
        for name, change in CHANGED.items()
    },
    "subclass of Linear": (lambda: MyLinear(8, 8), FLAT),
    "subclass of ReLU": (MyReLU, FLAT),
    "subclass of Pixels": (lambda: MyPixels([0.0] * 4, [1.0] * 4), MAP),
    "lazy linear": (lambda: nn.LazyLinear(8), FLAT),
    "a residual that overwrites its input": (lambda: Residual(nn.ReLU(inplace=True)), FLAT),
    "a residual that overwrites a view": (lambda: Residual(nn.Flatten(), nn.ReLU(inplace=True)), FLAT),
    "a layer of a branch named as the skip": (lambda: branch_named("skip"), FLAT),
    "a layer of a branch named as the loop": (lambda: branch_named("loop"), FLAT),
    "hooked ReLU": (lambda: hooked(nn.ReLU()), FLAT),
    "compiled ReLU": (lambda: compiled(nn.ReLU()), FLAT),
    "replaced MinMax": (lambda: replaced(MinMax()), FLAT),
    "a dilated kernel larger than the map": (lambda: nn.Conv2d(4, 4, 3, dilation=3), MAP),
    "circular padding that reads twice": (lambda: nn.Conv2d(4, 4, 3, padding=2, padding_mode="circular"), MAP),
    "circular padding, a larger kernel": (lambda: nn.Conv2d(4, 4, 7, padding=3, padding_mode="circular"), MAP),
    "circular padding, odd strides": (lambda: nn.Conv2d(4, 4, 3, 4, padding=1, padding_mode="circular"), MAP),
    "transposed groups": (lambda: nn.ConvTranspose2d(4, 4, 3, groups=2), MAP),
    "transposed dilation": (lambda: nn.ConvTranspose2d(4, 4, 3, dilation=2), MAP),
    "transposed, other channels": (lambda: nn.ConvTranspose2d(3, 4, 3), MAP),
    "reflected padding": (lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), MAP),
    "padding by name": (lambda: nn.Conv2d(4, 4, 3, padding="same"), MAP),
    "no padding by name": (lambda: nn.Conv2d(4, 4, 3, padding="valid"), MAP),
    "other channels": (lambda: nn.Conv2d(3, 4, 3), MAP),
    "kernel larger than the map": (lambda: nn.Conv2d(4, 4, 7), MAP),
    "conv on a vector": (lambda: nn.Conv2d(4, 4, 3), FLAT),
    "linear on maps": (lambda: nn.Linear(6, 6), MAP),
    "linear of another size": (lambda: nn.Linear(9, 8), FLAT),
    "a leak of more than 1": (lambda: nn.LeakyReLU(1.5), MAP),
    "a leak below 0": (lambda: nn.LeakyReLU(-0.1), MAP),
    "a leak of NaN": (lambda: nn.LeakyReLU(math.nan), MAP),
    "a leak that ONNX Runtime takes for 1": (lambda: nn.LeakyReLU(1.0 - 2.0**-26), MAP),
    "an eps that ONNX Runtime takes for 0": (lambda: nn.BatchNorm2d(4, eps=1e-46).eval(), MAP),
    "a scale that ONNX Runtime takes for 1": (lambda: with_weight(nn.BatchNorm2d(1).eval(), 1.000005), (1, 6, 6)),
    "clamp to no interval": (lambda: nn.Hardtanh(0.0, math.inf), MAP),
    "clamp to almost everything": (lambda: nn.Hardtanh(-1e300, 1e300), MAP),
    "groups that do not divide": (lambda: GroupSort(3), MAP),
    "shuffled groups that do not divide": (lambda: nn.ChannelShuffle(3), MAP),
    "a vector of another size": (lambda: nn.Unflatten(1, (3, 2, 4)), FLAT),
    "a map of inferred size": (lambda: nn.Unflatten(1, (2, 2, -1)), FLAT),
    "maps unflattened": (lambda: nn.Unflatten(1, (2, 2, 1)), MAP),
    "windows beyond the map": (lambda: nn.MaxPool2d(7), MAP),
    "windows that end outside": (lambda: nn.MaxPool2d(4, ceil_mode=True), MAP),
    "averages that end outside": (lambda: nn.AvgPool2d(4, ceil_mode=True), MAP),
    "maxima with their places": (lambda: nn.MaxPool2d(2, return_indices=True), MAP),
    "averages without the padding": (lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False), MAP),
    "a negative divisor": (lambda: nn.AvgPool2d(2, divisor_override=-3), MAP),
    "averages that do not divide": (lambda: nn.AdaptiveAvgPool2d(4), MAP),
    "a window of padding alone": (lambda: nn.MaxPool2d(2, padding=1, dilation=2), (1, 1, 1)),
    "pools of vectors": (lambda: nn.MaxPool2d(2), FLAT),
    "averages that do not move": (lambda: nn.AvgPool2d(2, stride=0), MAP),
    "maxima that do not move": (lambda: nn.MaxPool2d(2, stride=(0, 0)), MAP),
    "weights without numbers": (lambda: nn.Linear(8, 4, device="meta"), FLAT),
    "a sparse weight": (lambda: sparse(nn.Linear(8, 8)), FLAT),
    "statistics of the batch": (lambda: nn.BatchNorm2d(4, track_running_stats=False).eval(), MAP),
    "a negative variance": (lambda: negative_variance(nn.BatchNorm2d(4).eval()), MAP),
    "another number of statistics": (lambda: nn.BatchNorm2d(3).eval(), MAP),
    "halves of odd channels": (lambda: MinMax("halves"), (5, 2, 2)),
    "flatten from the batch": (lambda: nn.Flatten(0), MAP),
    "flatten a part": (lambda: nn.Flatten(2), MAP),
    "flatten but the last": (lambda: nn.Flatten(1, 2), MAP),
    "pixels of other channels": (lambda: Pixels([0.0], [1.0]), MAP),
    "infinite scale": (lambda: Pixels([0.0] * 4, [math.inf] * 4), MAP),
    "nested Sequential": (lambda: nn.Sequential(nn.ReLU()), FLAT),
    **{
        type(layer).__name__: (lambda layer=layer: layer, shape)
        for layer, shape in (
            (nn.BatchNorm2d(4), MAP),
            (nn.LayerNorm(8), FLAT),
            (nn.GroupNorm(2, 4), MAP),
            (nn.Dropout(), FLAT),
            (nn.Sigmoid(), FLAT),
            (nn.Tanh(), FLAT),
            (nn.GELU(), FLAT),
            (nn.PReLU(), FLAT),
            (nn.Softmax(dim=1), FLAT),
            (nn.Conv1d(4, 4, 3), (4, 6)),
            (nn.Upsample(scale_factor=2), MAP),
            (nn.Bilinear(8, 8, 8), FLAT),
        )
    },
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_layer_that_no_rule_proves_is_refused(case):
    make, shape = REFUSED[case]
    with pytest.raises(UncertifiableLayerError, match=r"layer 'suspect' cannot be certified: ."):
        bound_layer(make(), Context("suspect", shape))


def plain() -> nn.Sequential:
    """With MinMax: with ReLU, LipLT's own checks would hide those of `certify`."""
    return nn.Sequential(Pixels([0.5], [2.0]), nn.Flatten(), nn.Linear(8, 8), MinMax(), nn.Linear(8, 3))


def with_head(head: nn.Module) -> nn.Sequential:
    return nn.Sequential(*list(plain())[:-1], head)


def with_first(first: nn.Module) -> nn.Sequential:
    return nn.Sequential(first, *list(plain())[1:])


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "subclass of Sequential": lambda: MySequential(*plain()),
    "not a Sequential": lambda: nn.Linear(8, 3),
    "ModuleList": lambda: nn.ModuleList(plain()),
    "only a head": lambda: nn.Sequential(nn.Linear(8, 3)),
    "no layer": nn.Sequential,
    "no Pixels": lambda: plain()[1:],
    "Pixels not first": lambda: with_first(nn.ReLU()),
    "subclass of Pixels": lambda: with_first(MyPixels([0.5], [2.0])),
    "hooked Pixels": lambda: with_first(hooked(Pixels([0.5], [2.0]))),
    "activation at the end": lambda: nn.Sequential(*plain(), nn.ReLU()),
    "head is a convolution": lambda: with_head(nn.Conv2d(1, 3, 1)),
    "head without bias": lambda: with_head(nn.Linear(8, 3, bias=False)),
    "head is a subclass": lambda: with_head(MyLinear(8, 3)),
    "head of one class": lambda: with_head(nn.Linear(8, 1)),
    "head of another size": lambda: with_head(nn.Linear(9, 3)),
    "layer of another size": lambda: nn.Sequential(*list(plain())[:2], nn.Linear(9, 8), nn.Linear(8, 3)),
    "padding by name, in a network": lambda: nn.Sequential(
        plain()[0], nn.Conv2d(1, 1, 3, padding="same"), *list(plain())[1:]
    ),
    "normalised head": lambda: with_head(parametrizations.weight_norm(nn.Linear(8, 3))),
    "float64 head": lambda: with_head(nn.Linear(8, 3).double()),
    "head with a NaN": lambda: with_head(with_weight(nn.Linear(8, 3), math.nan)),
    "head with an infinite bias": lambda: with_head(with_bias(nn.Linear(8, 3), math.inf)),
    "hooked head": lambda: with_head(hooked(nn.Linear(8, 3))),
    "pre-hooked head": lambda: with_head(pre_hooked(nn.Linear(8, 3))),
    "replaced head": lambda: with_head(replaced(nn.Linear(8, 3))),
    "head with weight norm by a hook": lambda: with_head(weight_norm(nn.Linear(8, 3))),
    "hooked network": lambda: hooked(plain()),
    "pre-hooked network": lambda: pre_hooked(plain()),
    "replaced network": lambda: replaced(plain()),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("case", NETWORKS)
def test_a_network_that_no_theorem_covers_is_refused(case):
    """Also where its list of layers, which would be refused, is not asked for."""
    form = layers_of(plain(), (1, 2, 4))
    with pytest.raises(UncertifiableLayerError):
        certify(NETWORKS[case](), (1, 2, 4), architecture=form, weights_sha256="0" * 64)  # type: ignore[arg-type]


def test_the_plain_network_is_certified():
    certificate, _ = certified(plain(), (1, 2, 4))
    assert [layer.kind for layer in certificate.layers] == ["Pixels", "Flatten", "Linear", "MinMax"]


def test_the_callers_mode_does_not_change_a_certificate():
    net = plain()
    usual = certify(net, (1, 2, 4))
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert certify(net, (1, 2, 4)) == usual
            assert certify(nn.Sequential(*list(net)[:3], nn.ReLU(), net[-1]), (1, 2, 4)).pairwise


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ({"input_shape": 784}, InputError, "input_shape is channels, height and width of an image, got 784"),
        ({"input_shape": (1, 2, 0)}, InputError, r"input_shape is .*, got \(1, 2, 0\)"),
        ({"norm": 2}, CertificateError, "the norm is one of l2, linf, got '2'"),
        ({"norm": ["l2"]}, CertificateError, "the norm is one of l2, linf, got "),
    ],
)
def test_arguments_that_are_none_are_told(arguments, error, told):
    with pytest.raises(error, match=f"^{told}"):
        certify(plain(), **{"input_shape": (1, 2, 4), **arguments})


# Layers tampered with after they were made ----------------------------------------------------------------------------


def other_kernel() -> nn.Module:
    """A 4 x 4 kernel in a layer that calls itself 2 x 2, stride 2: not disjoint patches."""
    layer = nn.Conv2d(1, 1, 2, 2)
    layer.weight = nn.Parameter(torch.ones(1, 1, 4, 4))
    return layer


def other_convolution() -> nn.Module:
    layer = nn.Conv2d(1, 1, 3, padding=1)
    layer._conv_forward = lambda x, weight, bias: 100 * x  # type: ignore[method-assign]
    return layer


def broadcast_bias() -> nn.Module:
    """One number added to every output, recorded as the offset of one."""
    layer = nn.Linear(8, 8)
    layer.bias = nn.Parameter(torch.ones(1))
    return layer


def broadcast_scale() -> nn.Module:
    layer = Pixels([0.5, 0.5], [2.0, 2.0])
    layer.scale = torch.tensor([2.0])
    return layer


def other_padding() -> nn.Module:
    """A circular convolution pads by what it was made with."""
    layer = nn.Conv2d(1, 1, 1, padding=3, padding_mode="circular")
    layer.padding = (0, 0)
    return layer


class Larger(Tensor):
    """A tensor that makes ten times as much of a linear layer."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        result = super().__torch_function__(func, types, args, kwargs or {})
        return 10 * result.as_subclass(Tensor) if func is nn.functional.linear else result


def other_tensor() -> nn.Module:
    layer = nn.Linear(8, 8)
    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Larger))
    return layer


TAMPERED: dict[str, tuple[Callable[[], nn.Module], Shape]] = {
    "another kernel": (other_kernel, (1, 8, 8)),
    "another convolution": (other_convolution, (1, 8, 8)),
    "another padding": (other_padding, (1, 8, 8)),
    "another kind of tensor": (other_tensor, FLAT),
    "a broadcast bias": (broadcast_bias, FLAT),
    "a broadcast scale": (broadcast_scale, (2, 4, 4)),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_layer_whose_numbers_are_not_what_it_says_is_refused(case):
    make, shape = TAMPERED[case]
    with pytest.raises(UncertifiableLayerError):
        bound_layer(make(), Context("suspect", shape))
