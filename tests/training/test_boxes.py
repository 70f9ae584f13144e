"""Constants of single images: below what points of the box do, and exact where the network is simple."""

import pytest
import torch
from torch import nn

from tests.soundness.oracle import network
from training.boxes import Boxes, crown_margins
from training.constraints import AlmostOrthogonalColumns
from training.losses import image_constants
from zoo.bounds.interval import least_margins
from zoo.errors import UncertifiableLayerError
from zoo.layers import MinMax, Pixels

SHAPE = (1, 6, 7)


def relu_net() -> nn.Sequential:
    body = (nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 3, (2, 3), (2, 1)), nn.ReLU(), nn.Flatten())
    return network(Pixels([0.5], [-3.0]), *body, nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 3)).double()


@pytest.mark.parametrize("epsilon", [0.01, 0.1, 0.6])
def test_no_point_of_the_box_is_below_the_bounds(epsilon):
    torch.manual_seed(0)
    net, images = relu_net(), torch.rand(5, *SHAPE).double()
    labels = torch.tensor([0, 1, 2, 0, 1])
    crown = crown_margins(net, images, labels, epsilon)
    intervals = least_margins(net, images, labels, torch.tensor([epsilon]).double())[0]
    moves = torch.cat([torch.rand(300, 1, *SHAPE) * 2 - 1, (torch.rand(300, 1, *SHAPE) - 0.5).sign()]).double()
    points = (images + epsilon * moves).clamp(0, 1)
    logits = net(points.flatten(0, 1)).unflatten(0, points.shape[:2])
    margins = logits.gather(2, labels.expand(600, 5)[:, :, None]) - logits
    for least in (crown, intervals):
        assert (margins.amin(dim=0) >= least - 1e-9).all()
    if epsilon == 0.01:  # most ReLUs are fixed
        assert (crown >= intervals - 1e-9).all()
        assert (crown > intervals + 1e-3).any()


def test_linear_bounds_by_hand():
    """f_0 - f_1 = relu(2 x - 1) at 1/2, half side 1/4: z is in [-1/2, 1/2]; as u = -l, the slope below is 0."""
    net = network(nn.Flatten(), nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 2)).double()
    with torch.no_grad():
        for weight, values in zip(net.parameters(), ([[2.0]], [-1.0], [[1.0], [0.0]], [0.0, 0.0]), strict=True):
            weight.copy_(torch.tensor(values))
    image = torch.full((2, 1, 1, 1), 0.5).double()
    least = crown_margins(net, image, torch.tensor([0, 1]), 0.25)
    assert least.tolist() == [[0.0, 0.0], [-0.5, 0.0]]  # and -relu is at least -(z + 1/2) / 2, at z = 1/2


def test_the_constants_are_what_the_worst_margins_are_made_of():
    torch.manual_seed(1)
    net, images, labels = relu_net().requires_grad_(), torch.rand(4, *SHAPE).double(), torch.tensor([2, 1, 0, 0])
    logits, epsilon = net(images), 0.05
    constants = image_constants(Boxes(net).of_images(images, labels, logits, epsilon), labels)
    worst = logits + epsilon * constants
    least = least_margins(net, images, labels, torch.tensor([epsilon]).double())[0]
    assert torch.allclose(worst.gather(1, labels[:, None]) - worst, least, atol=1e-12)
    worst.logsumexp(dim=1).sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in net.parameters())
    shares = [Boxes(net.train(), crown).of_images(images, labels, logits, epsilon) for crown in (0.05, 0.1, 1e9, None)]
    crown = crown_margins(net, images, labels, epsilon)
    assert torch.allclose(shares[0], shares[3])
    assert torch.allclose(
        shares[1][:, 0], ((logits.gather(1, labels[:, None]) - logits) - (least + crown) / 2) / epsilon
    )
    assert torch.equal(Boxes(net.eval(), 0.1).of_images(images, labels, logits, epsilon), shares[3])


def test_layers_without_bounds_are_refused():
    net = network(nn.Flatten(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    nn.utils.parametrize.register_parametrization(net[2], "weight", AlmostOrthogonalColumns())
    with pytest.raises(UncertifiableLayerError, match="2: no intervals"):
        Boxes(net)
    net = network(nn.Flatten(), nn.Linear(4, 4), MinMax("halves"), nn.Linear(4, 2))
    with pytest.raises(UncertifiableLayerError, match="no linear bounds of a MinMax"):
        crown_margins(net, torch.rand(1, 1, 2, 2), torch.tensor([0]), 0.1)
