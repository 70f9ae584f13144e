"""l_p distances with their gradients, the mean shift, and what it all folds to."""

import math

import pytest
import torch

from training import distance
from training.constraints import folded_state
from training.distance import DRAWN, LpDistance, LpSortedDistance, lp_distance, set_exponent, settle_means
from training.layers import constrain
from zoo.architectures.distance import DistanceMLP, DistanceNet
from zoo.architectures.sortnet import SortNet
from zoo.layers import LInfDistance, SortedDistance


@pytest.mark.parametrize("chunk", [1, 14, 70, distance.MAX_DIFFERENCES])
@pytest.mark.parametrize("exponent", [2.0, 8.0, 55.5, math.inf])
def test_distances_and_gradients(exponent, chunk, monkeypatch):
    monkeypatch.setattr(distance, "MAX_DIFFERENCES", chunk)
    x = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, 7, dtype=torch.float64, requires_grad=True)
    expected = torch.linalg.vector_norm(x[:, None] - weight, ord=exponent, dim=2)
    assert torch.allclose(lp_distance(x, weight, exponent), expected, rtol=1e-12)
    assert torch.autograd.gradcheck(lambda *both: lp_distance(*both, exponent), (x, weight))


@pytest.mark.parametrize("size", [1e-20, 1.0, 1e20])
@pytest.mark.parametrize("exponent", [8.0, 1000.0])
def test_nothing_overflows_and_equal_points_have_distance_zero(size, exponent):
    x = (size * torch.randn(9, 40)).requires_grad_()
    weight = torch.cat([x[:2].detach(), size * torch.randn(30, 40)]).requires_grad_()
    distances = lp_distance(x, weight, exponent)
    assert distances.diagonal()[:2].tolist() == [0, 0]
    nearest = lp_distance(x, weight, math.inf)
    assert (distances >= nearest * (1 - 1e-6)).all()
    assert (distances <= nearest * 40 ** (1 / exponent) * (1 + 1e-5)).all()
    for gradient in torch.autograd.grad(distances.sum(), (x, weight)):
        assert gradient.isfinite().all()


def test_the_mean_of_a_batch_is_subtracted():
    layer, x = LpDistance(6, 4, shift=True), torch.randn(500, 6)
    layer.exponent = 8.0
    assert torch.allclose(layer(x).mean(dim=0), torch.zeros(4), atol=1e-5)
    assert "bias" not in dict(layer.named_parameters())
    assert not layer.bias.any()


@pytest.mark.parametrize("kind", [LpDistance, LpSortedDistance])
def test_in_evaluation_they_are_the_plain_layers_whatever_the_exponent_is(kind):
    sorts = {} if kind is LpDistance else {"keep": 0.7, "terms": 6}
    layer, x = kind(6, 4, True, **sorts), torch.randn(5, 6)
    plain = LInfDistance(6, 4) if kind is LpDistance else SortedDistance(6, 4, **sorts)
    plain.weight, layer.exponent = layer.weight, 8.0
    assert torch.equal(layer.eval()(x), plain(x))


@pytest.mark.parametrize("family", [DistanceNet, SortNet])
def test_settled_means_are_those_of_the_plain_network(family, monkeypatch):
    monkeypatch.setattr(distance, "PART", 7)
    architecture, images = family(3, 8, input_size=4, channels=1), torch.rand(30, 1, 4, 4)
    network = constrain(architecture.network(), architecture)
    set_exponent(network, 8.0)
    network.distance3.bias.data += 1.0  # learned, and so kept
    settle_means(network, images)
    plain = architecture.network()
    plain.load_state_dict(folded_state(network))
    for depth in (3, 4):
        assert torch.allclose(plain[:depth](images).mean(dim=0), torch.zeros(8), atol=1e-4)  # distances are about 10
    assert (plain.distance1.bias < 0).all()
    assert torch.equal(plain.distance3.bias, torch.ones(10))


def test_a_sorted_distance_is_the_mean_of_distances_of_the_inputs_that_are_kept():
    torch.manual_seed(0)
    layer, x = LpSortedDistance(6, 4, False, keep=0.7, terms=6), torch.randn(3, 6)
    draws = torch.stack([layer(x) for _ in range(4000)]).detach()
    plain = SortedDistance(6, 4, keep=0.7, terms=6)
    plain.weight, plain.bias = layer.weight, layer.bias
    assert (draws.mean(dim=0) - plain(x)).abs().max() < 5 * draws.std(dim=0).max() / 4000**0.5


def test_other_inputs_are_kept_for_every_32_images():
    torch.manual_seed(0)
    layer, x = LpSortedDistance(20, 4, False, keep=0.5, terms=6), torch.randn(1, 20).expand(3 * DRAWN, 20)
    distances = layer(x).detach().unflatten(0, (3, DRAWN))
    assert torch.equal(distances, distances[:, :1].expand_as(distances))
    assert len(distances[:, 0].unique(dim=0)) == 3


def test_the_first_layer_of_a_sortnet_does_not_sort():
    architecture = SortNet(3, 8, input_size=2, channels=1)
    kinds = [type(layer) for layer in constrain(architecture.network(), architecture) if hasattr(layer, "exponent")]
    assert kinds == [LpDistance, LpSortedDistance, LpSortedDistance]


def test_layers_that_do_not_reduce_start_by_passing_their_inputs_on():
    weight = LpDistance(3, 5, shift=True).weight
    assert [row.argmin().item() for row in weight] == [0, 1, 2, 0, 1]
    assert (weight.amin(dim=1) == -10).all()
    assert (LpDistance(5, 3, shift=True).weight > -10).all()
    assert (LpSortedDistance(3, 5, True, keep=0.7, terms=3).weight > -10).all()


@pytest.mark.parametrize("family", [DistanceNet, DistanceMLP])
def test_every_layer_but_the_last_has_a_mean_shift_and_the_head_stays(family):
    architecture = family(4, 8, input_size=2, channels=1)
    network = constrain(architecture.network(), architecture)
    shifts = [layer.shift for layer in network if isinstance(layer, LpDistance)]
    assert shifts == ([True, True, True, False] if family is DistanceNet else [True, True, True])
    assert all(not layer.bias.any() for layer in network if isinstance(layer, LpDistance))
    set_exponent(network, 8.0)
    assert {layer.exponent for layer in network if isinstance(layer, LpDistance)} == {8.0}
    network(torch.rand(16, 1, 2, 2)).square().sum().backward()
    trained = {name.split(".")[0] for name, weight in network.named_parameters() if weight.grad is not None}
    assert ("head" in trained) == (family is DistanceMLP)
    assert {"distance1", "distance3"} <= trained
    plain = architecture.network()
    plain.load_state_dict(folded_state(network))
    if family is DistanceNet:
        assert torch.equal(plain.head.weight, -torch.eye(10))
