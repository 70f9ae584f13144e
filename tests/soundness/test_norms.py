"""Layer bounds against norms that are known in closed form, or decided in integers: never below, and hardly above."""

from __future__ import annotations

import math
import os
from fractions import Fraction
from unittest.mock import patch

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from torch import nn

from zoo.bounds import convolution
from zoo.bounds.convolution import geometry
from zoo.bounds.rule import Context
from zoo.bounds.spectral import spectral_norm_bound
from zoo.bounds.table import bound_layer
from zoo.lowering.sizes import sizes_of

from .oracle import Shape, conv, is_above_norm, linear, lipschitz_bound, operator, stretch

TIGHT = 1.0 + 1e-7  # how far a bound may lie above a norm that its method computes exactly
HADAMARD = np.kron(np.kron([[1, 1], [1, -1]], [[1, 1], [1, -1]]), [[1, 1], [1, -1]])

torus_only = patch.object(convolution, "DENSE_COST", -1)


def bounds_at_least(bound: float, truth: Fraction | int | mpmath.mpf) -> bool:
    """bound >= truth; an irrational truth is first rounded down from its 60 digits."""
    if isinstance(truth, mpmath.mpf):
        with mpmath.workdps(60):
            return bool(mpmath.mpf(bound) >= truth * (1 - mpmath.mpf(10) ** -50))
    return Fraction(bound) >= truth


# Closed forms --------------------------------------------------------------------------------------------------------

MATRICES = {
    "identity": (np.eye(5), 1),
    "permutation": (np.eye(6)[[3, 1, 5, 0, 2, 4]], 1),
    "permutation and signs": (np.eye(4)[[3, 1, 0, 2]] * [1, -1, -1, 1], 1),
    "truncation": (np.eye(7)[:3], 1),
    "diagonal": (np.diag([3, -7, 2, 0]), 7),
    "equal singular values": (4 * HADAMARD[:, ::-1], mpmath.sqrt(128)),
    "ones": (np.ones((9, 4)), 6),
    "ones are an eigenvector, but not the top one": ([[2, -1], [-1, 2]], 3),
    "pythagorean rank one": (np.outer([3, 4], [5, 12, 0]), 65),
    "one entry": ([[0, 0, 5], [0, 0, 0]], 5),
    "one row": ([[3, 4, 12]], 13),
    "one column": ([[3], [4], [12]], 13),
    "subnormal numbers": (np.diag([2.0**-149, 2.0**-148]), Fraction(2) ** -148),
    "huge numbers": (np.diag([2.0**127, -(2.0**126)]), 2**127),
    "huge beside subnormal": (np.diag([2.0**127, 2.0**-149]), 2**127),
}


@pytest.mark.parametrize("case", MATRICES)
def test_matrices_of_known_norm(case):
    matrix, truth = MATRICES[case]
    layer = linear(matrix)
    with mpmath.workdps(60):
        truth = mpmath.sqrt(128) if case == "equal singular values" else truth
    bound = lipschitz_bound(layer, (layer.in_features,))
    assert bounds_at_least(bound, truth)
    assert bound <= float(truth) * TIGHT


def separable(matrix: ArrayLike, outer: float, centre: float) -> np.ndarray:
    """The kernel [O, I, 3, 3] whose tap (r, c) is the matrix times t_r t_c, t = (outer, centre, outer)."""
    taps = np.array([outer, centre, outer])
    return np.einsum("oi,r,c->oirc", np.asarray(matrix, dtype=float), taps, taps)


@pytest.mark.parametrize(("outer", "centre"), [(1, 2), (1, 0), (3, 1), (0.25, 0.5), (0, 1), (-1, 2), (1, -2), (-2, 1)])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 2), (3, 3), (2, 5), (8, 8), (7, 4)])
def test_separable_kernels(rows, columns, outer, centre):
    """Along one axis of n cells the operator is tridiagonal and Toeplitz: eigenvalues b + 2 a cos(j pi / (n + 1))."""
    matrix, norm = np.array([[3, 0, 4], [0, 2, 0]]), 5
    layer = conv(separable(matrix, outer, centre), padding=1)
    with mpmath.workdps(60):
        truth = mpmath.mpf(norm)
        for n in (rows, columns):
            truth *= max(abs(centre + 2 * outer * mpmath.cos(j * mpmath.pi / (n + 1))) for j in range(1, n + 1))
        truth = mpmath.chop(truth, 1e-50)  # the cosine of a right angle
    exactly = lipschitz_bound(layer, (3, rows, columns))
    assert bounds_at_least(exactly, truth)
    assert exactly <= float(truth) * TIGHT + 1e-70
    with torus_only:
        bound = lipschitz_bound(layer, (3, rows, columns))
    assert bounds_at_least(bound, truth)
    assert bound <= norm * (2 * abs(outer) + abs(centre)) ** 2 * TIGHT


def test_residual_convolution_includes_its_identity():
    """y = x + 0.25 Conv(x), written as one convolution; both operators are known and share their eigenvectors."""
    kernel = 0.25 * separable(np.eye(2), 1, 2)
    kernel[:, :, 1, 1] += np.eye(2)
    with mpmath.workdps(60):
        truth = 1 + (2 + 2 * mpmath.cos(mpmath.pi / 7)) ** 2 / 4
    for context in (patch.object(convolution, "DENSE_COST", 1e9), torus_only):
        with context:
            bound = lipschitz_bound(conv(kernel, padding=1), (2, 6, 6))
        assert bounds_at_least(bound, truth)
        assert bound <= 5 * TIGHT


@pytest.mark.parametrize("axis", [0, 1])
def test_a_torus_of_the_maps_own_size_is_too_small(axis):
    """(-1, 2, -1) on three cells: zero-padded norm 2 + sqrt(2), circular norm 3."""
    taps = np.array([-1, 2, -1]).reshape(1, 1, 3, 1) if axis == 0 else np.array([-1, 2, -1]).reshape(1, 1, 1, 3)
    layer = conv(taps, padding=(1, 0) if axis == 0 else (0, 1))
    shape = (1, 3, 1) if axis == 0 else (1, 1, 3)
    with mpmath.workdps(60):
        truth = 2 + mpmath.sqrt(2)
    assert bounds_at_least(lipschitz_bound(layer, shape), truth)
    with torus_only:
        assert bounds_at_least(lipschitz_bound(layer, shape), truth)


@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("cost", [-1, 1e9])
def test_ones_are_an_eigenvector_but_not_the_top_one(side, stride, cost):
    kernel = np.zeros((2, 2, side, side))
    kernel[:, :, side // 2, side // 2] = [[2, -1], [-1, 2]]
    with patch.object(convolution, "DENSE_COST", cost):
        bound = lipschitz_bound(conv(kernel, stride=stride, padding=side // 2), (2, 5, 6))
    assert 3 <= bound <= 3 * TIGHT


def test_no_matrix_of_gigabytes_is_written_out():
    """Few outputs of a large map: cheap in products, 2^30 entries."""
    assert geometry(sizes_of(nn.Conv2d(1, 1, 1, stride=128), (1, 2048, 2048))) == "torus"


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 5, 7)])
def test_patches_are_the_reshaped_kernel(shape):
    """Disjoint windows: eight outputs of a 2 x 2 x 2 patch by a Hadamard matrix; a remainder is not read."""
    layer = conv(HADAMARD.reshape(8, 2, 2, 2), stride=2)
    assert geometry(sizes_of(layer, shape)) == "patches"
    bound = lipschitz_bound(layer, shape)
    assert Fraction(bound) ** 2 >= 8
    assert bound <= math.sqrt(8) * TIGHT


def test_overlapping_windows_are_more_than_the_reshaped_kernel():
    """Nine ones in a 3 x 3 kernel: the reshaped norm is 3, on a map of 8 x 8 the operator's is 8.3."""
    bound = lipschitz_bound(conv(np.ones((1, 1, 3, 3)), padding=1), (1, 8, 8))
    with mpmath.workdps(60):
        assert bounds_at_least(bound, (1 + 2 * mpmath.cos(mpmath.pi / 9)) ** 2)


def test_zero_weights_have_a_tiny_positive_bound():
    layers = [(linear(np.zeros((3, 2))), (2,)), (conv(np.zeros((2, 1, 3, 3)), padding=1), (1, 4, 4))]
    for layer, shape in layers:
        assert 0 < lipschitz_bound(layer, shape) < 1e-30
    with torus_only:
        assert 0 < lipschitz_bound(*layers[1]) < 1e-30


# Random layers -------------------------------------------------------------------------------------------------------

PATTERNS = ("normal", "zeros", "constant", "alternating", "rank one", "orthogonal", "spike", "integers", "wide range")
SCALES = (1e-40, 1e-20, 1e-3, 1.0, 1e3, 1e20, 1e37)


def weights(pattern: str, seed: int, scale: float, shape: Shape) -> np.ndarray:
    """Float32 weights [O, I, ...] of a kind that some norm computation is known to get wrong."""
    generator = np.random.default_rng(seed)
    normal = generator.standard_normal(shape)
    match pattern:
        case "zeros":
            array = np.zeros(shape)
        case "constant":
            array = np.ones(shape)
        case "alternating":
            array = np.where(np.indices(shape).sum(axis=0) % 2, -1.0, 1.0)
        case "rank one":
            array = np.multiply.outer(generator.standard_normal(shape[0]), generator.standard_normal(shape[1:]))
        case "orthogonal":  # every singular value of every tap twice or more
            array = np.zeros(shape)
            for tap in np.ndindex(*shape[2:]):
                array[(slice(None), slice(None), *tap)] = np.eye(shape[0])[:, generator.permutation(shape[0])][
                    :, np.arange(shape[1]) % shape[0]
                ]
        case "spike":
            array = np.zeros(shape)
            array.flat[generator.integers(array.size)] = -1.0
        case "integers":
            array = generator.integers(-2, 3, shape).astype(float)
        case "wide range":
            array = normal * 10.0 ** generator.uniform(-6, 0, shape)
        case _:
            array = normal
    return (np.clip(array, -9, 9) * scale).astype(np.float32)


@st.composite
def convolutions(draw, patches: bool = False) -> tuple[nn.Conv2d, Shape]:
    """Any kernel, stride and padding on a small map: rectangular, k > n, p >= k, strides that do not divide."""
    outputs, inputs = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    stride = kernel if patches else draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = (0, 0) if patches else draw(st.tuples(st.integers(0, 5), st.integers(0, 5)))
    rows, columns = (draw(st.integers(max(1, k - 2 * p), 6)) for k, p in zip(kernel, padding, strict=True))
    pattern, scale, seed = draw(st.sampled_from(PATTERNS)), draw(st.sampled_from(SCALES)), draw(st.integers(0, 2**32))
    taps = weights(pattern, seed, scale, (outputs, inputs, *kernel))
    return conv(taps, stride=stride, padding=padding), (inputs, rows, columns)


@st.composite
def matrices(draw) -> nn.Linear:
    pattern, scale, seed = draw(st.sampled_from(PATTERNS)), draw(st.sampled_from(SCALES)), draw(st.integers(0, 2**32))
    return linear(weights(pattern, seed, scale, (draw(st.integers(1, 14)), draw(st.integers(1, 14)))))


def check(layer: nn.Conv2d | nn.Linear, shape: Shape, tight: bool) -> None:
    """The bound is above the operator's norm, in exact arithmetic, and not far above."""
    bound = bound_layer(layer, Context("layer", shape))
    matrix = operator(layer, shape)
    truth = stretch(matrix)
    assert Fraction(bound.lipschitz_bound) ** 2 >= truth
    if min(matrix.shape) <= 10:
        assert is_above_norm(bound.lipschitz_bound, matrix)
    above = bound.absolute_norm if not tight else float(np.sqrt(float(truth / 4**40))) * 2.0**40
    assert bound.lipschitz_bound <= above * TIGHT + 1e-70
    assert Fraction(bound.absolute_norm) ** 2 >= stretch(np.abs(matrix))
    terms = {term: Fraction(value) for term, value in bound.proof.items()}
    root = Fraction(bound.lipschitz_bound) * terms["divisor"] - terms["perturbation"]
    assert root**2 > terms["tau"] + terms["residual"] + terms["rounding"]


# ZOO_EXAMPLES=5000 searches as many new ones.
EXAMPLES = os.environ.get("ZOO_EXAMPLES")
random = settings(max_examples=int(EXAMPLES or 60), deadline=None, derandomize=not EXAMPLES, database=None)


@random
@given(matrices())
def test_random_matrices(layer):
    check(layer, (layer.in_features,), tight=True)


@random
@given(convolutions(patches=True))
def test_random_patches(case):
    layer, shape = case
    assert geometry(sizes_of(layer, shape)) == "patches"
    check(layer, shape, tight=True)


@random
@given(convolutions())
def test_random_small_maps(case):
    check(*case, tight=True)


@random
@given(convolutions())
@example((conv(np.ones((1, 1, 2, 3)), stride=(2, 1)), (1, 4, 6)))
@example((conv(np.ones((1, 1, 2, 3)), stride=(1, 3), padding=(2, 5)), (1, 5, 4)))
@example((conv([[[[-1, 2, -1]]]], padding=(3, 1)), (1, 2, 3)))
def test_random_tori(case):
    layer, shape = case
    with torus_only:
        check(layer, shape, tight=geometry(sizes_of(layer, shape)) == "patches")


# The proof itself ----------------------------------------------------------------------------------------------------


def spoilt_factors(factor: np.ndarray) -> list[np.ndarray]:
    size = len(factor)
    wrong = [0.9 * factor, np.zeros_like(factor), 1e-3 * np.eye(size), np.ones_like(factor), factor[::-1]]
    return [*wrong, np.full_like(factor, np.nan), np.where(np.eye(size) > 0, factor, np.nan)]


@pytest.mark.parametrize("kind", range(7))
@pytest.mark.parametrize("tau", [0.0, 1.0, 1e6])
def test_a_wrong_cholesky_factor_proves_nothing_false(kind, tau):
    """Neither LAPACK nor the proposed tau is trusted: whatever factor comes back, the bound is a bound."""
    layer = linear(weights("normal", 5, 1.0, (6, 9)))
    truthful = np.linalg.cholesky

    def lying(matrix: np.ndarray) -> np.ndarray:
        try:
            return spoilt_factors(truthful(matrix))[kind]
        except np.linalg.LinAlgError:
            return spoilt_factors(np.eye(len(matrix)))[kind]

    with patch("numpy.linalg.cholesky", lying):
        bound = bound_layer(layer, Context("layer", (9,), taus={"layer": tau})).lipschitz_bound
    assert bound == np.inf or is_above_norm(bound, operator(layer, (9,)))


@pytest.mark.parametrize("cost", [-1, 1e9])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999, 1.0 + 1e-6, 3.0])
def test_a_wrong_tau_proves_nothing_false(cost, share):
    layer, shape = conv(weights("normal", 6, 1.0, (2, 2, 3, 3)), padding=1), (2, 4, 4)
    tau = share * float(stretch(operator(layer, shape)))
    with patch.object(convolution, "DENSE_COST", cost):
        bound = bound_layer(layer, Context("layer", shape, taus={"layer": tau})).lipschitz_bound
    assert Fraction(bound) ** 2 >= stretch(operator(layer, shape))


@pytest.mark.parametrize("tau", [1e160, 1e308])
def test_an_absurd_tau_proves_what_it_can_without_a_warning(tau):
    layer = linear(weights("normal", 5, 1.0, (6, 9)))
    bound = bound_layer(layer, Context("layer", (9,), taus={"layer": tau})).lipschitz_bound
    assert bound == np.inf or is_above_norm(bound, operator(layer, (9,)))


def test_symbols_are_within_their_stated_rounding():
    """The torus's symbols against 40 digits: each entry's error sums up to less than `symbol_rounding`."""
    kernel, stride, sides = weights("normal", 7, 1.0, (2, 2, 3, 2)).astype(float), (2, 1), (6, 5)
    allowed = convolution.symbol_rounding(kernel) * math.sqrt(2)
    frequencies = [(r, c) for r in range(sides[0] // stride[0] // 2 + 1) for c in range(sides[1])]
    symbols = list(convolution.torus_symbols(kernel, stride, sides))
    assert len(symbols) == len(frequencies) == convolution.symbol_count(stride, sides)
    with mpmath.workdps(40):
        for (row, column), (real, imaginary) in zip(frequencies, symbols, strict=True):
            square = mpmath.mpf(0)
            for o, i, a in np.ndindex(2, 2, 2):
                turns = [
                    (mpmath.mpf((row + 3 * a) * r) / sides[0] + mpmath.mpf(column * c) / sides[1], kernel[o, i, r, c])
                    for r in range(3)
                    for c in range(2)
                ]
                truth = mpmath.fsum(mpmath.mpf(float(tap)) * mpmath.expjpi(2 * turn) for turn, tap in turns)
                found = [part.reshape(2, 2, 2)[o, a, i] for part in (real, imaginary)]
                square += abs(mpmath.mpc(*map(float, found)) - truth) ** 2
            assert mpmath.sqrt(square) <= allowed


def test_a_bound_is_a_certificate_not_an_estimate():
    """A converged power iteration looks right by value; only a proof has these numbers."""
    bound = bound_layer(linear(np.eye(3)), Context("layer", (3,)))
    assert bound.method == "gram-cholesky"
    assert set(bound.proof) == {"tau", "residual", "rounding", "perturbation", "divisor"}
    assert bound.proof["tau"] > 1
    assert min(bound.proof["residual"], bound.proof["rounding"]) > 0
    with torus_only:
        bound = bound_layer(conv(np.ones((1, 1, 3, 3)), padding=1), Context("layer", (1, 3, 3)))
    assert bound.method == "torus-symbol"
    assert bound.proof["perturbation"] > 0
    assert (bound.proof["torus_rows"], bound.proof["torus_columns"]) == (4, 4)


def test_bounds_scale_with_the_weights():
    """A power of two is exact, so the bound is multiplied by it up to rounding; eps-regularised norms are not."""
    kernel = torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(3)).numpy()
    for cost in (-1, 1e9):
        with patch.object(convolution, "DENSE_COST", cost):
            one, *others = (lipschitz_bound(conv(kernel * 2.0**k, padding=1), (2, 4, 4)) for k in (0, -60, 60, -20))
        for k, bound in zip((-60, 60, -20), others, strict=True):
            assert bound == pytest.approx(one * 2.0**k, rel=1e-7)


@pytest.mark.parametrize("norms", [(1.0, 2.0), (2.0, 1.0), (1.0, 3.0, 2.0, 4.0, 1e-3)])
def test_a_proof_that_starts_from_a_published_tau_is_that_which_was_published(norms):
    """Also where later matrices of a family raise tau: an honest folder would not verify otherwise."""
    family = [(np.full((1, 1), norm), None) for norm in norms]
    proof = spectral_norm_bound(family)
    assert spectral_norm_bound(family, proof.tau) == proof
    assert proof.bound >= max(norms)
