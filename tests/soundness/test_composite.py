"""Layers that are no single matrix: their bounds against Jacobians written out, and against norms in closed form."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from fractions import Fraction
from unittest.mock import patch

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from zoo.bounds import convolution
from zoo.bounds.rule import Context
from zoo.bounds.table import bound_layer
from zoo.errors import UncertifiableLayerError
from zoo.layers import (
    Abs,
    ConvExponential,
    ConvexPotential,
    FirstChannels,
    GroupSort,
    Householder,
    MinMax,
    PadChannels,
    PatchPool,
    Pixels,
    Residual,
    SelfAttention,
    TokenLinear,
)

from .oracle import Shape, conv, linear, lipschitz_bound, network
from .replay import exact, replay
from .test_rounding import check
from .test_rules import normalisation

TIGHT = 1.0 + 1e-7


def largest_stretch(layer: nn.Module, shape: Shape, seed: int) -> float:
    """The largest singular value of the layer's Jacobian at random points, near and far: at most its constant."""
    layer = copy.deepcopy(layer).double()
    generator = torch.Generator().manual_seed(seed)
    found = 0.0
    for scale in np.logspace(-3, 3, 7):
        x = float(scale) * torch.randn(1, *shape, dtype=torch.float64, generator=generator)
        jacobian = torch.autograd.functional.jacobian(layer, x, vectorize=True).reshape(-1, math.prod(shape))
        found = max(found, float(torch.linalg.matrix_norm(jacobian, ord=2)))
    return found


def randomised(layer: nn.Module, seed: int, spread: float) -> nn.Module:
    """The layer with normal weights of this size, uniform steps, and skew kernels where it wants them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
        if isinstance(layer, ConvexPotential):
            layer.step.copy_(4 * torch.rand(layer.step.shape, generator=generator)).mul_(layer.step > 1)
        if isinstance(layer, ConvExponential):
            layer.weight.copy_(skew(layer.weight))
    return layer


def skew(kernel: Tensor) -> Tensor:
    """Exactly skew: a difference changes its sign exactly when its terms are exchanged."""
    return kernel - kernel.flip(2, 3).transpose(0, 1)


def residual_dense() -> nn.Module:
    return Residual(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 5))


def residual_conv() -> nn.Module:
    return Residual(nn.Conv2d(3, 4, 3, padding=1), MinMax("halves"), nn.Conv2d(4, 3, 3, padding=1))


LAYERS: dict[str, tuple[Callable[[], nn.Module], Shape]] = {
    "residual, dense": (residual_dense, (5,)),
    "residual, convolutions": (residual_conv, (3, 4, 5)),
    "residual with a skip, dense": (
        lambda: Residual(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 5), skip=nn.Linear(5, 5)),
        (5,),
    ),
    "residual with a skip, convolutions": (
        lambda: Residual(nn.Conv2d(3, 5, 3, 1, 1), nn.ReLU(), nn.Conv2d(5, 3, 1), skip=nn.Conv2d(3, 3, 3, 1, 1)),
        (3, 4, 3),
    ),
    "potential, dense and narrow": (lambda: ConvexPotential(6, 4), (6,)),
    "potential, dense and wide": (lambda: ConvexPotential(4, 9), (4,)),
    "potential, convolution": (lambda: ConvexPotential(2, 5, 3), (2, 4, 5)),
    "potential, 5 x 5": (lambda: ConvexPotential(3, 1, 5), (3, 3, 4)),
    "exponential": (lambda: ConvExponential(2, 3), (2, 5, 4)),
    "exponential, 1 x 1": (lambda: ConvExponential(5, 1), (5, 2, 2)),
    "exponential, few terms": (lambda: ConvExponential(3, 3, terms=2), (3, 3, 3)),
    "householder on maps": (lambda: Householder(4), (4, 2, 3)),
    "householder on vectors": (lambda: Householder(6), (6,)),
    "tokens": (lambda: TokenLinear(6), (3, 2, 3)),
    "patches": (lambda: PatchPool(2), (2, 4, 6)),
    "groups": (lambda: nn.Conv2d(4, 4, 3, padding=1, groups=2), (4, 3, 4)),
    "gaps": (lambda: nn.Conv2d(2, 2, (2, 3), 2, 2, dilation=(3, 2)), (2, 5, 4)),
    "a torus": (lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), (2, 4, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(2, 2, 4, 2, 1), (2, 3, 2)),
    "transposed with a rest": (lambda: nn.ConvTranspose2d(3, 3, 3, (2, 3), 1, (1, 2)), (3, 2, 2)),
    "averages": (lambda: nn.AvgPool2d(2), (2, 4, 6)),
    "averages that overlap": (lambda: nn.AvgPool2d((3, 2), (2, 1), (1, 1), divisor_override=4), (2, 5, 4)),
    "averages of the whole map": (lambda: nn.AdaptiveAvgPool2d(1), (3, 3, 4)),
    "maxima": (lambda: nn.MaxPool2d(2), (2, 4, 4)),
    "maxima that overlap": (lambda: nn.MaxPool2d(3, (1, 2), 1), (2, 4, 5)),
    "normalisation": (lambda: normalisation(4, 2), (4, 2, 3)),
    "sorted groups": (lambda: GroupSort(3), (6, 2, 2)),
    "leak": (lambda: nn.LeakyReLU(0.3), (3, 2, 2)),
    "clamp": (lambda: nn.Hardtanh(-0.3, 0.7), (3, 2, 2)),
    "absolute values": (Abs, (3, 2, 2)),
    "attention": (lambda: SelfAttention(4, 2), (4, 2, 2)),
    "attention, one head and one token": (lambda: SelfAttention(3, 1), (3, 1, 1)),
    "attention beside the identity": (lambda: Residual(SelfAttention(4, 4), nn.Conv2d(4, 4, 1)), (4, 1, 3)),
    "residual of residuals": (lambda: Residual(residual_dense(), MinMax("neighbours"), residual_dense()), (5,)),
}


@pytest.mark.parametrize("spread", [1e-3, 0.3, 3.0])
@pytest.mark.parametrize("case", LAYERS)
def test_no_jacobian_exceeds_the_bound(case, spread):
    make, shape = LAYERS[case]
    for seed in range(3):
        layer = randomised(make(), seed, spread)
        stretch = largest_stretch(layer, shape, seed)
        for cost in (-1, 1e9):  # by symbol, and as one matrix
            with patch.object(convolution, "DENSE_COST", cost):
                assert stretch <= lipschitz_bound(layer, shape) * (1 + 1e-14)  # the Jacobian's own rounding


# Norms in closed form ------------------------------------------------------------------------------------------------


def potential(weight: ArrayLike, step: ArrayLike) -> ConvexPotential:
    matrix = torch.tensor(np.asarray(weight), dtype=torch.float32)
    layer = ConvexPotential(matrix.shape[1], len(matrix), *matrix.shape[3:])
    with torch.no_grad():
        layer.weight.copy_(matrix)
        layer.step.copy_(torch.tensor(np.asarray(step)))
    return layer


def reflection(vectors: ArrayLike) -> Householder:
    layer = Householder(2 * np.shape(vectors)[1])
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(np.asarray(vectors)))
    return layer


def tokens(matrix: ArrayLike) -> TokenLinear:
    layer = TokenLinear(len(np.asarray(matrix)))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(np.asarray(matrix)))
    return layer


def turn(angle: float, terms: int = 12) -> ConvExponential:
    """The exponential of [[0, -angle], [angle, 0]] in each pixel: a rotation by `angle`, but for the series' rest."""
    layer = ConvExponential(2, 1, terms)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0, -angle], [angle, 0.0]])[:, :, None, None])
    return layer


def attention(heads: int, query: ArrayLike, key: ArrayLike, value: ArrayLike) -> SelfAttention:
    layer = SelfAttention(len(np.asarray(query)), heads)
    with torch.no_grad():
        for weight, matrix in zip((layer.query, layer.key, layer.value), (query, key, value), strict=True):
            weight.copy_(torch.tensor(np.asarray(matrix)))
    return layer


KNOWN: dict[str, tuple[nn.Module, Shape, float]] = {
    "branch along the identity": (Residual(linear(3 * np.eye(4))), (4,), 4),
    "branch of two aligned layers": (Residual(linear(2 * np.eye(4)), nn.ReLU(), linear(5 * np.eye(4))), (4,), 11),
    "branch of zeros": (Residual(linear(np.zeros((4, 4)))), (4,), 1),
    "branch of nothing": (Residual(), (4,), 2),
    "potential below the identity": (potential(np.eye(3), 2), (3,), 1),
    "potential that overshoots": (potential(np.eye(3), 5), (3,), 4),
    "potential of one large step": (potential(np.diag([1, 3, 1]), [1, 2, 4]), (3,), 17),
    "potential with a zero step": (potential(np.diag([1, 300, 1]), [1, 0, 2]), (3,), 1),
    "potential of zeros": (potential(np.zeros((2, 3)), 2), (3,), 1),
    "potential of parallel rows": (potential([[3, 4], [3, 4]], 1), (2,), 49),
    "potential, convolution": (potential(2 * np.eye(3)[:, :, None, None], 1), (3, 2, 2), 3),
    "reflection": (reflection([[-1, 1], [1, 1]]), (4,), 1),
    "reflection that is none": (reflection([[-1, 2], [1, 1]]), (4,), 4),
    "half a projection": (reflection([[0.5], [0.5]]), (2, 3, 3), 1),
    "tokens that sum": (tokens([[1, 1], [1, 1]]), (5, 1, 2), 2),
    "patches": (PatchPool(4), (1, 8, 4), 1),
    "space to depth": (nn.PixelUnshuffle(2), (3, 4, 6), 1),
    "zeros appended": (PadChannels(5), (3, 2, 2), 1),
    "truncation": (FirstChannels(2), (3, 2, 2), 1),
    "exponential of zeros": (ConvExponential(3, 3), (3, 4, 4), 1),
    "exponential of a turn": (turn(1.0), (2, 3, 3), 1),
    "skip of three": (Residual(linear(np.zeros((2, 2))), nn.ReLU(), skip=linear(3 * np.eye(2))), (2,), 3),
    "skip and branch of MinMax": (Residual(MinMax("halves"), skip=linear(3 * np.eye(2))), (2,), 4),
    "skip against its branch": (Residual(nn.ReLU(), linear(-2 * np.eye(2)), skip=linear(np.eye(2))), (2,), 1),
    "attention of identities": (attention(2, np.eye(4), np.eye(4), np.eye(4)), (4, 2, 3), 1),
    "attention, stretched": (attention(1, 2 * np.eye(3), 3 * np.eye(3), 5 * np.eye(3)), (3, 1, 2), 5 * 19 / 4),
    "attention of zeros": (attention(1, np.zeros((3, 3)), np.eye(3), np.eye(3)), (3, 2, 2), 0.25),
    "attention by one row": (attention(2, *[np.ones((4, 4))] * 3), (4, 2, 2), 4 * 49 / 4),
    "branch of 1 x 1 convolutions": (Residual(conv(2 * np.eye(3)[:, :, None, None])), (3, 2, 2), 3),
}


@pytest.mark.parametrize("case", KNOWN)
def test_known_constants_are_met(case):
    layer, shape, truth = KNOWN[case]
    assert truth <= lipschitz_bound(layer, shape) <= truth * TIGHT


@pytest.mark.parametrize("terms", [1, 2, 3, 5, 12])
@pytest.mark.parametrize("angle", [0.125, 1.0, 2.5, 4.0, 30.0])
def test_a_series_cut_short_is_longer_than_a_rotation(angle, terms):
    """|sum of (i angle)^n / n!|, in fractions: the cosine's part and the sine's."""
    parts = [Fraction(0), Fraction(0)]
    for power in range(terms + 1):
        parts[power % 2] += (-1) ** (power // 2) * Fraction(angle) ** power / math.factorial(power)
    bound = lipschitz_bound(turn(angle, terms), (2, 1, 1))
    assert Fraction(bound) ** 2 >= parts[0] ** 2 + parts[1] ** 2


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.5707963267948966, 3.0, -2.0])
def test_householder_is_the_papers(angle):
    """Singla, Singla, Feizi 2022: keep (x, y) where x sin(t / 2) <= y cos(t / 2), else reflect it."""
    layer = Householder(2)
    with torch.no_grad():
        layer.weight.copy_(math.sqrt(2) * torch.tensor([[-math.sin(angle / 2)], [math.cos(angle / 2)]]))
    z = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    x, y = z.T
    kept = x * math.sin(angle / 2) <= y * math.cos(angle / 2)
    reflected = (x * math.cos(angle) + y * math.sin(angle), x * math.sin(angle) - y * math.cos(angle))
    truth = torch.where(kept[:, None], z, torch.stack(reflected, dim=1))
    assert torch.allclose(layer(z), truth, atol=1e-5)


def test_the_potential_descends_by_the_adjoint():
    """Convolutions too have a symmetric Jacobian: the second one is the first one's transpose, corners included."""
    layer = randomised(ConvexPotential(2, 3, 5), 0, 1.0).double()
    jacobian = torch.autograd.functional.jacobian(layer, torch.randn(1, 2, 4, 3, dtype=torch.float64)).reshape(24, 24)
    assert torch.allclose(jacobian, jacobian.T, atol=1e-12)
    assert not torch.allclose(jacobian, torch.eye(24, dtype=torch.float64))


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("case", ["identities", "stretched", "signs", "one direction"])
def test_the_constant_of_attention_is_met_where_all_tokens_agree(case, heads):
    """At T tokens (1 - 1e-9) e, moved along e: (1 + 3 |Q| |K|) |V| / 4, with nothing to spare."""
    flip = np.diag([1.0, -1.0, 1.0, -1.0])
    unit = np.eye(4)
    matrices = {
        "identities": (unit, unit, unit),
        "stretched": (3 * unit, 0.5 * unit, 2 * unit),
        "signs": (flip, flip, -unit),
        "one direction": (np.outer(unit[0], unit[0]),) * 3,
    }[case]
    layer, shape = attention(heads, *matrices), (4, 3, 3)
    truth = matrices[2][0, 0] * (1 + 3 * matrices[0][0, 0] * matrices[1][0, 0]) / 4
    tokens = torch.zeros(1, *shape, dtype=torch.float64)
    tokens[:, 0] = 1 - 1e-9
    jacobian = torch.autograd.functional.jacobian(copy.deepcopy(layer).double(), tokens).reshape(36, 36)
    stretched = float(torch.linalg.matrix_norm(jacobian, ord=2))
    assert abs(truth) * (1 - 1e-8) <= stretched <= lipschitz_bound(layer, shape) <= abs(truth) * TIGHT


@pytest.mark.parametrize("spread", [0.1, 1.0, 1e3])
@pytest.mark.parametrize(("heads", "shape"), [(1, (3, 2, 2)), (2, (4, 3, 1)), (5, (5, 1, 1)), (3, (6, 1, 2))])
def test_no_ascent_parts_two_inputs_of_attention_by_more_than_the_bound(heads, shape, spread):
    """Gradient ascent on |f(x) - f(y)| / |x - y| from pairs near and far, inside, across and outside of the ball."""
    generator = torch.Generator().manual_seed(heads)
    layer = randomised(SelfAttention(shape[0], heads), heads, spread).double().requires_grad_(False)
    bound = lipschitz_bound(layer.float(), shape)
    layer.double()
    scales = torch.logspace(-2, 2, 12, dtype=torch.float64)[:, None, None, None]
    first, step = (torch.randn(12, *shape, dtype=torch.float64, generator=generator) for _ in range(2))
    first = scales * first
    second = first + step * torch.logspace(1, -3, 12, dtype=torch.float64)[:, None, None, None]
    for _ in range(100):
        first, second = first.detach().requires_grad_(True), second.detach().requires_grad_(True)
        distances = (first - second).flatten(1).norm(dim=1)
        gaps = (layer(first) - layer(second)).flatten(1).norm(dim=1) / distances
        assert gaps.max() <= bound * (1 + 1e-12)  # the roundings of the differences
        ascent = torch.autograd.grad(gaps.log().sum(), (first, second))
        sizes = 0.02 * distances.detach()[:, None, None, None]
        first, second = (
            point + sizes * torch.nn.functional.normalize(gradient.flatten(1)).reshape(point.shape)
            for point, gradient in zip((first, second), ascent, strict=True)
        )


def test_attention_is_the_sum_over_pairs_and_sees_any_size_of_token():
    layer = randomised(SelfAttention(4, 2), 0, 1.0).double()
    for size in (0.0, 1e-200, 0.3, 1e3, 1e200):
        x = size * torch.randn(1, 4, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        truth = replay(nn.Sequential(layer.float()), exact(x[0]))
        answer = layer.double()(x)[0].detach()
        assert answer.isfinite().all()
        assert torch.allclose(answer, torch.tensor(truth.astype(float)), rtol=1e-12, atol=1e-13)


# Rounding ------------------------------------------------------------------------------------------------------------


def rounding_network(case: str, seed: int) -> tuple[nn.Sequential, Shape]:
    """Two such layers between dense ones, with weights and biases that do not cancel."""
    make, shape = LAYERS[case]
    shape = (2, 4, 8) if case == "patches" else shape  # twice
    first, second = randomised(make(), seed, 0.4), randomised(make(), seed + 1, 2.0)
    channels, rows, columns = shape if len(shape) == 3 else (shape[0], 1, 1)
    flat = () if len(shape) == 3 else (nn.Flatten(),)
    g = np.random.default_rng(seed)
    pixels = Pixels([0.3] * channels, [1.7] * channels)
    body = network(pixels, *flat, first, second, nn.Flatten())
    size = body(torch.zeros(1, channels, rows, columns)).shape[1]
    return network(*body, linear(g.standard_normal((3, size)), g.standard_normal(3))), (channels, rows, columns)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("case", LAYERS)
def test_floats_stay_within_the_stated_rounding(case, seed):
    net, shape = rounding_network(case, seed)
    check(net, torch.rand(1, *shape, generator=torch.Generator().manual_seed(seed)))


# All else is refused -------------------------------------------------------------------------------------------------


class MySequential(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return 10 * super().forward(x)


def with_branch(branch: nn.Module) -> nn.Module:
    layer = Residual()
    layer.branch = branch  # type: ignore[assignment]
    return layer


def replaced(layer: nn.Module, **tensors: Tensor) -> nn.Module:
    for name, tensor in tensors.items():
        setattr(layer, name, tensor)
    return layer


def not_skew(size: float) -> nn.Module:
    layer = turn(1.0)
    with torch.no_grad():
        layer.weight[0, 0] = size
    return layer


REFUSED: dict[str, tuple[Callable[[], nn.Module], Shape]] = {
    "branch without a rule": (lambda: Residual(nn.Linear(4, 4), nn.Tanh()), (4,)),
    "branch of another shape": (lambda: Residual(nn.Linear(4, 1)), (4,)),
    "skip of another shape": (lambda: Residual(nn.Linear(4, 4), skip=nn.Linear(4, 3)), (4,)),
    "skip without a rule": (lambda: Residual(nn.Linear(4, 4), skip=nn.Tanh()), (4,)),
    "branch of a subclass": (lambda: with_branch(MySequential(nn.Linear(4, 4))), (4,)),
    "potential with a negative step": (lambda: potential(np.eye(2), [1, -1e-30]), (2,)),
    "potential with an infinite step": (lambda: potential(np.eye(2), [1, math.inf]), (2,)),
    "potential with a broadcast step": (lambda: replaced(ConvexPotential(3, 2), step=torch.ones(1)), (3,)),
    "potential with a broadcast bias": (
        lambda: replaced(ConvexPotential(3, 2), bias=nn.Parameter(torch.ones(1))),
        (3,),
    ),
    "potential with an even kernel": (
        lambda: replaced(ConvexPotential(3, 2, 3), weight=nn.Parameter(torch.ones(2, 3, 2, 2))),
        (3, 4, 4),
    ),
    "potential of other channels": (lambda: ConvexPotential(4, 2, 3), (3, 4, 4)),
    "dense potential on maps": (lambda: ConvexPotential(3, 2), (3, 4, 4)),
    "convolutional potential on a vector": (lambda: ConvexPotential(3, 2, 3), (3,)),
    "exponential of what is not skew": (lambda: not_skew(1e-7), (2, 3, 3)),
    "exponential with a symmetric part": (lambda: not_skew(1.0), (2, 3, 3)),
    "exponential of other channels": (lambda: ConvExponential(4, 3), (3, 4, 4)),
    "exponential with an even kernel": (
        lambda: replaced(ConvExponential(2, 3), weight=nn.Parameter(torch.zeros(2, 2, 2, 2))),
        (2, 3, 3),
    ),
    "exponential without terms": (lambda: ConvExponential(2, 3, terms=0), (2, 3, 3)),
    "exponential of too many terms": (lambda: ConvExponential(2, 3, terms=101), (2, 3, 3)),
    "exponential that explodes": (lambda: turn(100.0), (2, 3, 3)),
    "householder of other channels": (lambda: Householder(4), (6,)),
    "householder of odd channels": (lambda: Householder(4), (5,)),
    "tokens of another map": (lambda: TokenLinear(6), (3, 2, 2)),
    "tokens on a vector": (lambda: TokenLinear(6), (6,)),
    "attention of other channels": (lambda: SelfAttention(4, 2), (6, 2, 2)),
    "attention on a vector": (lambda: SelfAttention(4, 2), (4,)),
    "attention with heads that do not divide": (lambda: replaced(SelfAttention(4, 2), heads=3), (4, 2, 2)),  # type: ignore
    "attention without heads": (lambda: replaced(SelfAttention(4, 2), heads=0), (4, 2, 2)),  # type: ignore
    "attention with a broadcast matrix": (
        lambda: replaced(SelfAttention(4, 2), key=nn.Parameter(torch.ones(1, 4))),
        (4, 2, 2),
    ),
    "patches that do not fill the map": (lambda: PatchPool(2), (3, 4, 5)),
    "space to depth of an odd map": (lambda: nn.PixelUnshuffle(2), (3, 4, 5)),
    "fewer channels than there are": (lambda: PadChannels(2), (3, 2, 2)),
    "more channels than there are": (lambda: FirstChannels(4), (3, 2, 2)),
    "no channels": (lambda: FirstChannels(0), (3, 2, 2)),
    "all channels but the last": (lambda: FirstChannels(-1), (3, 2, 2)),
    "branch with a float64 layer": (lambda: Residual(nn.Linear(4, 4).double()), (4,)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_layer_that_no_rule_proves_is_refused(case):
    make, shape = REFUSED[case]
    with pytest.raises(UncertifiableLayerError, match=r"layer 'suspect(\.\d|\.skip)?' cannot be certified: ."):
        bound_layer(make(), Context("suspect", shape))
