"""Parametrisations of norm at most 1: what they fold to, against singular values of the dense matrix."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from training import orthogonal
from training.centring import CentredConv2d
from training.constraints import AlmostOrthogonalColumns, LinearResidual, folded_state
from training.orthogonal import Bjorck, BlockOrthogonalKernel, BlockReflector, Cayley, CholeskyRows, bjorck
from zoo.errors import InputError

ROUNDING = 1e-6  # of float32, above 1; the certificate has a bound of its own
EXACT = (Cayley, Bjorck)  # orthonormal rows or columns, not only of norm at most 1


def singular_values(matrix: Tensor) -> Tensor:
    return torch.linalg.svdvals(matrix.detach().double())


def dense(kernel: Tensor, side: int, stride: int = 1, padding: int = 0) -> Tensor:
    """The convolution as a matrix on maps of this side."""
    inputs = kernel.shape[1] * side**2
    maps = torch.eye(inputs, dtype=torch.float64).reshape(inputs, kernel.shape[1], side, side)
    return F.conv2d(maps, kernel.detach().double(), stride=stride, padding=padding).flatten(1).T


def constrained(layer: nn.Module, constraint: nn.Module) -> Tensor:
    """The layer's weight under the constraint."""
    parametrize.register_parametrization(layer, "weight", constraint)
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (16, 16)])
@pytest.mark.parametrize("scale", [1e-2, 1.0, 30.0])
@pytest.mark.parametrize("kind", [CholeskyRows, Cayley, Bjorck, AlmostOrthogonalColumns])
def test_a_matrix_has_norm_at_most_1(kind, shape, scale):
    torch.manual_seed(0)
    values = singular_values(kind()(scale * torch.randn(shape)))
    assert values.max() <= 1 + ROUNDING
    if kind is Cayley or (kind is Bjorck and shape[0] != shape[1]):  # a random square matrix is nearly singular
        assert values.min() >= 1 - 1e-5


def test_cholesky_rows_have_the_singular_values_that_it_says():
    torch.manual_seed(0)
    matrix = torch.randn(12, 30)
    before = singular_values(matrix)
    ridge = 1e-3 * before.square().sum() / 12
    expected = before / (before.square() + ridge).sqrt()
    assert torch.allclose(singular_values(CholeskyRows()(matrix)), expected.sort(descending=True).values, atol=1e-5)


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (16, 16)])
@pytest.mark.parametrize("kind", [CholeskyRows, Cayley, AlmostOrthogonalColumns])
def test_assigning_a_value_gives_it_back(kind, shape):
    torch.manual_seed(0)
    value = kind()(torch.randn(shape))
    layer = nn.Linear(shape[1], shape[0])
    with torch.no_grad():
        layer.weight.copy_(kind()(torch.randn(shape)))
    constrained(layer, kind())
    layer.weight = value
    assert torch.allclose(layer.weight, value, atol=1e-4)


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (16, 16)])
def test_a_block_reflector_is_part_of_a_reflection(shape):
    torch.manual_seed(0)
    layer = nn.Linear(shape[1], shape[0])
    weight = constrained(layer, BlockReflector(layer.weight, rank=8))
    assert singular_values(weight).max() <= 1 + ROUNDING
    if shape[0] == shape[1]:  # -1 for each column of V, else 1
        eigenvalues = torch.linalg.eigvalsh(weight.detach().double())
        assert torch.allclose(eigenvalues, torch.cat([-torch.ones(8), torch.ones(8)]).double(), atol=1e-5)
    with torch.no_grad():
        layer.parametrizations["weight"].original0.normal_(std=50)  # type: ignore[index]
    assert singular_values(layer.weight).max() <= 1 + 1e-5  # the Gram matrix's condition costs a digit


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_bjorck_has_norm_at_most_1_at_any_number_of_steps(steps, monkeypatch):
    monkeypatch.setattr(orthogonal, "BJORCK_STEPS", steps)
    torch.manual_seed(0)
    matrices = torch.randn(20, 6, 9) * torch.logspace(-2, 2, 20)[:, None, None]
    matrices[0] = 1.0  # all its norm in one singular value: the scale is exact
    assert singular_values(bjorck(matrices)).max() <= 1 + ROUNDING


GEOMETRIES = [  # outputs, inputs, kernel, stride
    (6, 4, 3, 1), (4, 6, 3, 1), (8, 4, 4, 2), (10, 2, 4, 2), (8, 4, 3, 2), (4, 6, 1, 1)
]  # fmt: skip


@pytest.mark.parametrize(("outputs", "inputs", "kernel", "stride"), GEOMETRIES)
@pytest.mark.parametrize("kind", ["aol", "block", "downsampling"])
def test_a_kernel_has_norm_at_most_1_at_any_size_stride_and_padding(kind, outputs, inputs, kernel, stride):
    if kind == "downsampling" and kernel % stride:
        with pytest.raises(ValueError, match="does not fit a stride"):
            BlockOrthogonalKernel(torch.empty(outputs, inputs, kernel, kernel), stride, downsampling=True)
        return
    torch.manual_seed(0)
    layer = nn.Conv2d(inputs, outputs, kernel, stride)
    if kind == "aol":
        weight = constrained(layer, AlmostOrthogonalColumns())
    else:
        weight = constrained(layer, BlockOrthogonalKernel(layer.weight, stride, kind == "downsampling"))
    for side, padding in ((5, 0), (4, 1), (4, kernel - 1)):
        assert singular_values(dense(weight, side, stride, padding)).max() <= 1 + ROUNDING
    cells = 1 if kind == "aol" else stride**2
    if kind != "aol" and outputs >= inputs * cells:  # on maps with a margin that the kernel ends in, an isometry
        side = 4 + 2 * (kernel - 1)
        padded = dense(weight, side, stride).unflatten(1, (inputs, side, side))
        matrix = padded[:, :, kernel - 1 : kernel + 3, kernel - 1 : kernel + 3].flatten(1)
        assert singular_values(matrix).min() >= 1 - 1e-5


@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_kernel_has_norm_at_most_1_whatever_its_numbers_and_however_far_bjorck_is(stride, monkeypatch):
    monkeypatch.setattr(orthogonal, "BJORCK_STEPS", 1)
    torch.manual_seed(0)
    kernel = BlockOrthogonalKernel(torch.empty(6, 4, 4, 4), stride)
    assert kernel.start is not None
    weight = kernel(*(torch.randn_like(numbers) for numbers in kernel.start))
    assert 0.01 < singular_values(dense(weight, 7, stride, 2)).max() <= 1 + ROUNDING


def test_a_block_is_the_product_of_two_projector_pairs():
    kernel = BlockOrthogonalKernel(torch.empty(2, 2, 2, 2), stride=1)
    assert kernel.start is not None
    bases = torch.tensor([[[1.0], [0.0]], [[1.0], [1.0]]])  # P = diag(1, 0), Q has 1/2 everywhere
    weight = kernel(bases, torch.eye(2))
    half = torch.full((2, 2), 0.5)
    for row, p in enumerate((torch.diag(torch.tensor([1.0, 0.0])), torch.diag(torch.tensor([0.0, 1.0])))):
        for column, q in enumerate((half, torch.eye(2) - half)):
            assert torch.allclose(weight[:, :, row, column], p @ q, atol=1e-5)


def test_downsampling_is_a_block_kernel_behind_a_space_to_depth():
    torch.manual_seed(0)
    kernel = BlockOrthogonalKernel(torch.empty(6, 3, 4, 4), stride=2, downsampling=True)
    inner = BlockOrthogonalKernel(torch.empty(6, 12, 2, 2), stride=1)
    assert kernel.start is not None
    assert inner.start is not None
    assert [a.shape for a in kernel.start] == [b.shape for b in inner.start]
    maps = torch.randn(2, 3, 8, 8)
    expected = F.conv2d(F.pixel_unshuffle(maps, 2), inner(*kernel.start))
    assert torch.allclose(F.conv2d(maps, kernel(*kernel.start), stride=2), expected, atol=1e-5)


def test_a_weight_that_no_numbers_are_known_of_is_refused():
    layer = nn.Conv2d(4, 4, 3)
    constrained(layer, BlockOrthogonalKernel(layer.weight, 1))
    with pytest.raises(InputError, match="cannot start from given weights") as refusal:
        layer.weight = torch.zeros(4, 4, 3, 3)
    assert "\n" not in str(refusal.value)


def test_a_centred_convolution_has_a_branch_of_mean_0_and_folds_to_a_plain_one(monkeypatch):
    monkeypatch.setattr("training.centring.MOMENTUM", 0.5)
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 4, 3, padding=1)
    layer = CentredConv2d.of(plain)
    parametrize.register_parametrization(layer, "weight", LinearResidual(layer.weight, depth=4))
    maps = torch.randn(8, 4, 6, 6) + 1
    assert layer(maps).shape == maps.shape
    learned = layer.parametrizations["bias"].original  # type: ignore[index]
    branch = layer(maps) - maps - learned[:, None, None]
    assert branch.mean(dim=(0, 2, 3)).abs().max() <= 1e-5
    trained = [layer(maps) for _ in range(30)][-1]
    assert layer.bias is not None
    assert not torch.allclose(layer.bias, learned)
    network = nn.Sequential(layer)
    state = folded_state(network)
    assert set(state) == {"0.weight", "0.bias"}
    nn.Sequential(plain).load_state_dict(state)
    assert torch.equal(plain(maps), network(maps))
    assert torch.allclose(plain(maps), trained, atol=1e-4)  # the running mean has come to that of the batch
