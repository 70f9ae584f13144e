"""Power iteration against the singular values of the operator written out as a matrix."""

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from training.constraints import folded_state
from training.estimate import LipschitzEstimate, RowSums, margin_lipschitz
from training.layers import constrain
from zoo import registry
from zoo.bounds.rule import Context
from zoo.bounds.table import bound_layer
from zoo.errors import UncertifiableLayerError
from zoo.layers import Householder, MinMax, Pixels, Residual


def body(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layer=layer, head=nn.Linear(1, 2))).double()


def zero_padded_matrix(layer: nn.Conv2d, shape: tuple[int, int, int]) -> Tensor:
    inputs = torch.eye(torch.Size(shape).numel(), dtype=torch.float64).unflatten(1, shape)
    return nn.functional.conv2d(inputs, layer.weight, None, layer.stride, layer.padding).flatten(1).T


def circulant_matrix(layer: nn.Conv2d, sides: tuple[int, int]) -> Tensor:
    """Output (o, i s, j s) of the torus reads input (c, i s + a, j s + b), modulo the sides, by the kernel's (a, b)."""
    out, channels, height, width = layer.weight.shape
    (rows, columns), (down, right) = sides, layer.stride
    matrix = torch.zeros(out, rows // down, columns // right, channels, rows, columns, dtype=torch.float64)
    for i in range(rows // down):
        for j in range(columns // right):
            for a in range(height):
                for b in range(width):
                    matrix[:, i, j, :, (i * down + a) % rows, (j * right + b) % columns] += layer.weight[:, :, a, b]
    return matrix.flatten(3).flatten(0, 2)


CASES = {
    "matrix": ("dense", nn.Linear(12, 7), (12, 1, 1), None),
    "patches": ("patches", nn.Conv2d(2, 5, 2, 2), (2, 6, 6), None),
    "dense": ("dense", nn.Conv2d(2, 3, 3, 1, 1), (2, 6, 5), None),
    "dense, remainder": ("dense", nn.Conv2d(2, 3, 4, 2, 1), (2, 7, 6), None),
    "dense, stride 4": ("dense", nn.Conv2d(3, 4, 7, 4, 3), (3, 16, 16), None),
    "torus": ("torus", nn.Conv2d(3, 3, 3, 1, 1), (3, 6, 5), (7, 6)),
    "torus, stride 2": ("torus", nn.Conv2d(2, 3, 4, 2, 1), (2, 7, 6), (8, 8)),
    "torus, kernel below stride": ("torus", nn.Conv2d(2, 3, 2, 3, 1), (2, 7, 5), (9, 6)),
    "torus, large kernel": ("torus", nn.Conv2d(2, 2, 5, 2, 2), (2, 5, 6), (8, 8)),
}


@pytest.mark.parametrize("case", CASES)
def test_converges_from_below_to_the_largest_singular_value(case, monkeypatch):
    kind, layer, shape, sides = CASES[case]
    monkeypatch.setattr("training.operators.geometry", lambda sizes: kind)
    network = body(layer)
    nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(0))
    if isinstance(layer, nn.Linear):
        matrix = layer.weight
    else:
        matrix = circulant_matrix(layer, sides) if sides else zero_padded_matrix(layer, shape)
    norm = torch.linalg.matrix_norm(matrix, ord=2)
    estimate = LipschitzEstimate(network, shape, seed=0, iterations=3)
    assert estimate().item() <= norm.item() * (1 + 1e-12)
    assert estimate.converge(tolerance=1e-13, limit=50_000).item() == pytest.approx(norm.item(), rel=1e-7)
    assert estimate().item() <= norm.item() * (1 + 1e-12)

    network.zero_grad()
    estimate().backward()
    (expected,) = torch.autograd.grad(norm, layer.weight)
    assert torch.allclose(layer.weight.grad, expected, atol=1e-4)


def test_layers_of_equal_shape_share_a_batch_and_keep_their_own_norm():
    architecture = registry.find("liresnet-l4w32-cifar10").architecture
    network = constrain(architecture.network(), architecture)
    with torch.no_grad():
        network.block2.parametrizations.weight.original.mul_(20)
    estimate = LipschitzEstimate(network, architecture.input_shape, seed=0, iterations=5)
    assert list(estimate.groups.values())[1] == ["block1", "block2", "block3", "block4"]
    body = estimate.converge(tolerance=1e-3)
    (_, stem), (_, blocks), *others = estimate._estimates(0)
    assert blocks[1] > 1.5 * blocks[0]
    product = torch.cat([stem, blocks, *(sigmas for _, sigmas in others)]).prod()
    assert torch.isclose(body, product, rtol=1e-4)


def test_pixels_count_by_their_largest_scale():
    network = nn.Sequential(Pixels([0.0, 0.0], [1.0, -3.0]), nn.Flatten(), nn.Linear(8, 8), MinMax(), nn.Linear(8, 2))
    nn.init.eye_(network[2].weight)
    assert LipschitzEstimate(network, (2, 2, 2), 0, 1)().item() == pytest.approx(3.0)


def test_a_residual_block_counts_one_more_than_its_branch():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    network = nn.Sequential(first, Residual(second, nn.ReLU(), nn.Linear(4, 4)), nn.Linear(4, 2))
    for layer, factor in ((first, 2), (second, 3), (network[1].branch[2], 0.5)):
        nn.init.eye_(layer.weight).data.mul_(factor)
    assert LipschitzEstimate(network, (4, 1, 1), 0, 1)().item() == pytest.approx(2 * (1 + 3 * 0.5))


def test_a_zero_layer_has_estimate_0_and_a_finite_gradient():
    layer = nn.Linear(4, 4)
    nn.init.zeros_(layer.weight)
    network = nn.Sequential(layer, nn.Linear(4, 2))
    estimate = LipschitzEstimate(network, (4, 1, 1), 0, 3)()
    estimate.backward()
    assert estimate.item() == 0
    assert layer.weight.grad.isfinite().all()


@pytest.mark.parametrize(
    "layer", [nn.Tanh(), nn.BatchNorm2d(3), nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(3, 3, 3, dilation=2)]
)
def test_a_layer_without_a_constant_is_refused(layer):
    with pytest.raises(UncertifiableLayerError, match=r"0: (no|a BatchNorm2d) "):
        LipschitzEstimate(nn.Sequential(layer, nn.Conv2d(3, 3, 1), nn.Linear(3, 2)), (3, 8, 8), 0, 1)


def test_a_block_with_a_constant_factor_is_refused():
    """The factor is its branch's alone: |x + 2 x| is 3 |x|, not 2 (1 + 1) |x|."""
    block = Residual(Pixels((0.0,) * 3, (0.5,) * 3))
    with pytest.raises(UncertifiableLayerError, match=r"^0: no Lipschitz estimate for a block with a constant factor$"):
        LipschitzEstimate(nn.Sequential(block, nn.Flatten(), nn.Linear(12, 2)), (3, 2, 2), 0, 1)


def test_the_state_goes_on_where_it_was():
    layer = nn.Linear(30, 30)
    network = nn.Sequential(nn.Flatten(), layer, nn.Linear(30, 2))
    first, second = (LipschitzEstimate(network, (30, 1, 1), seed, 2) for seed in (0, 1))
    first()
    second.load_state_dict(first.state_dict())
    assert first().item() == second().item()


def test_margin_lipschitz_by_hand_and_its_gradient_at_equal_rows():
    head = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], requires_grad=True)
    constants = margin_lipschitz(torch.tensor(3.0), head)
    root = 3 * 2**0.5
    assert torch.allclose(constants, torch.tensor([[0, root, root], [root, 0, 0], [root, 0, 0]]))
    constants.sum().backward()
    assert head.grad is not None
    assert head.grad.isfinite().all()


def test_a_skip_adds_to_its_branch():
    """|H| + |G| |W| of a block H x + G relu(W x), times the layers around it."""
    skip = nn.Linear(2, 2)
    net = nn.Sequential(
        nn.Flatten(), Residual(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), skip=skip), nn.Linear(2, 2), nn.Linear(2, 2)
    )
    with torch.no_grad():
        for layer, size in ((net[1].branch[0], 2), (net[1].branch[2], 3), (skip, 5), (net[2], 7)):
            layer.weight.copy_(size * torch.eye(2))
    estimate = LipschitzEstimate(net, (1, 1, 2), seed=0, iterations=3)
    assert estimate().item() == pytest.approx((5 + 2 * 3) * 7, rel=1e-5)


@pytest.mark.parametrize("name", ["linfdist-mlp-5x256-mnist", "2c2f-relu-linf-mnist"])
def test_row_sums_are_what_the_certificate_proves(name):
    entry = registry.find(name)
    network = constrain(entry.architecture.network(), entry.architecture)
    estimate, bound, shape = RowSums(network)(), 1.0, entry.architecture.input_shape
    estimate.backward()
    plain = entry.architecture.network()
    plain.load_state_dict(folded_state(network))
    for child, layer in list(plain.named_children())[:-1]:
        proved = bound_layer(layer, Context(child, shape, norm="linf"))
        bound, shape = bound * proved.lipschitz_bound, proved.output_shape
    assert estimate.item() == pytest.approx(bound, rel=1e-5)


def test_row_sums_of_a_residual_and_of_a_head():
    block = Residual(nn.Linear(2, 2, bias=False), nn.ReLU())
    with torch.no_grad():
        block.branch[0].weight.copy_(torch.tensor([[1.0, -2.0], [0.5, 0.0]]))
    assert RowSums(nn.Sequential(block, nn.Linear(2, 2)))().item() == 4
    constants = margin_lipschitz(torch.tensor(2.0), -torch.eye(3), "linf")
    assert constants.tolist() == [[0, 4, 4], [4, 0, 4], [4, 4, 0]]


def test_row_sums_of_a_skip_add_to_its_branch():
    block = Residual(nn.Linear(2, 2), nn.ReLU(), skip=nn.Linear(2, 2))
    with torch.no_grad():
        for layer, size in ((block.branch[0], 2), (block.skip, 3)):
            layer.weight.copy_(size * torch.eye(2))
    assert RowSums(nn.Sequential(block, nn.Linear(2, 2)))().item() == 5


def test_a_layer_without_row_sums_is_refused():
    with pytest.raises(UncertifiableLayerError, match="no Lipschitz estimate for a Householder in l-infinity"):
        RowSums(nn.Sequential(Householder(2), nn.Linear(2, 2)))()
