"""PGD stays inside its ball and the pixel box, and finds what there is to find for a linear classifier."""

from __future__ import annotations

import torch
from torch import nn

from zoo.attacks import direction, distances, pgd, within


def linear_classifier() -> tuple[nn.Sequential, torch.Tensor, torch.Tensor]:
    """f_1 - f_0 = x_0 - 1/2 on two pixels, and an image at distance 1/8 of that boundary."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
        network[1].bias.copy_(torch.tensor([0.5, 0.0]))
    return network, torch.tensor([[[[0.375, 0.5]]]]), torch.tensor([0])


def test_pgd_crosses_a_boundary_inside_the_ball_and_no_other():
    network, image, label = linear_classifier()
    generator = torch.Generator().manual_seed(0)
    inside = pgd(network, image, label, 0.13, generator=generator)
    assert network(inside).argmax(1).item() == 1
    outside = pgd(network, image, label, 0.12, generator=generator)
    assert network(outside).argmax(1).item() == 0


def test_pgd_stays_in_the_ball_and_in_the_box():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    images = torch.rand(16, 3, 4, 4)
    attacked = pgd(network, images, torch.zeros(16, dtype=torch.long), 1.5, steps=10)
    assert (attacked - images).flatten(1).norm(dim=1).max() <= 1.5 * (1 + 1e-6)
    assert attacked.min() >= 0
    assert attacked.max() <= 1


def test_linf_crosses_a_boundary_inside_the_ball_and_no_other():
    network, image, label = linear_classifier()
    generator = torch.Generator().manual_seed(0)
    assert network(pgd(network, image, label, 0.13, "linf", generator=generator)).argmax(1).item() == 1
    assert network(pgd(network, image, label, 0.12, "linf", generator=generator)).argmax(1).item() == 0


def test_linf_stays_in_the_ball_exactly_and_in_the_box():
    """A certificate ends at epsilon: a point that float32 rounds beyond it would be no counter-example."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    images = torch.rand(64, 3, 4, 4)
    for epsilon in (2 / 255, 0.3):
        attacked = pgd(network, images, torch.zeros(64, dtype=torch.long), epsilon, "linf", steps=10)
        moved = (attacked.double() - images.double()).abs().max().item()
        assert epsilon * 0.99 < moved <= epsilon
        assert attacked.min() >= 0
        assert attacked.max() <= 1


def test_steps_in_linf_go_to_the_corners_and_offsets_stay_in_their_balls():
    gradient = torch.tensor([0.5, -3.0, 0.0]).reshape(1, 1, 1, 3)
    middle, reach = torch.full((1, 1, 1, 3), 0.5), torch.full((1, 1, 1, 1), 0.25)
    assert direction(gradient, "linf").flatten().tolist() == [1, -1, 0]
    assert within(middle, gradient, reach, "linf").flatten().tolist() == [0.75, 0.25, 0.5]
    assert distances(within(middle, gradient, reach, "l2"), middle, "l2") < 0.2500001
    assert torch.equal(within(middle, gradient / 16, reach, "l2"), middle + gradient / 16)
    assert 3 <= distances(gradient, torch.zeros(1, 1, 1, 3), "linf") < 3.0000001
    assert 9.25**0.5 <= distances(gradient, torch.zeros(1, 1, 1, 3), "l2") < 9.25**0.5 + 1e-7


def test_distances_are_over_the_whole_input():
    one, other = torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.25)
    for norm, distance in (("l2", 0.25 * 12**0.5), ("linf", 0.25)):
        assert distance < float(distances(one, other, norm)) < distance * (1 + 1e-8)
