"""What holds for every loss: gradients of finite differences, finite numbers at the edges, growth with K."""

import math
from functools import partial
from itertools import pairwise, product

import pytest
import torch
from torch.nn import functional as F

from training import losses
from training.losses import (
    certificate_regularised,
    clipped_hinge,
    cll,
    cll_binary,
    crm,
    cross_entropy,
    emma,
    fixed_margin,
    gloro,
    gloro_trades,
    lmt,
    logit_annealing,
    mixed_margin,
    multi_margin,
    offset_cross_entropy,
)

# Labels right and certified far off, right and near, wrong; no two logits or radii are equal.
LOGITS = torch.tensor([[2.0, 1.2, 0.1], [0.3, 3.0, 2.9], [0.2, 3.0, 1.0], [-4.0, 1.1, 6.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2, 2])
K = torch.tensor([[0.0, 4.0, 1.5], [4.0, 0.0, 2.0], [1.5, 2.0, 0.0]], dtype=torch.float64)
LOSSES = {
    "cross_entropy": cross_entropy,
    "gloro": gloro,
    "gloro_trades": partial(gloro_trades, weight=2.0),
    "gloro_trades ce": partial(gloro_trades, weight=2.0, divergence="ce"),
    "emma": emma,
    "emma with a floor": partial(emma, floor=0.01),
    "logit_annealing": logit_annealing,
    "fixed_margin": fixed_margin,
    "mixed_margin": partial(mixed_margin, natural=0.3),
    "lmt": partial(lmt, weight=0.7),
    "cll": partial(cll, p=0.3, weight=1e-2),
    "cll scaled": partial(cll, p=0.3, weight=1e-2, scale=0.1),
    "cll one-sided": partial(cll, p=0.3, weight=1e-2, one_sided=True),
    "crm": partial(crm, sharpness=5.0, cap=2.0, weight=3.0),
    "crm exponential": partial(crm, sharpness=5.0, cap=2.0, weight=3.0, surrogate="exponential"),
    "certificate_regularised": partial(certificate_regularised, weight=0.1),
    "offset_cross_entropy": offset_cross_entropy,
    "multi_margin": multi_margin,
    "clipped_hinge": partial(clipped_hinge, threshold=1.5, weight=0.5),
}
DETACHED = {"emma", "emma with a floor", "logit_annealing"}  # a factor without gradient
every_loss = pytest.mark.parametrize("name", LOSSES)


def test_every_public_loss_is_here():
    helpers = {"bottom_logit", "calibrated_scale", "image_constants", "published_p"}
    tested = {getattr(loss, "func", loss).__name__ for loss in LOSSES.values()} | {"cll_binary"}
    assert tested == set(losses.__all__) - helpers


@pytest.mark.parametrize("name", sorted(set(LOSSES) - DETACHED))
def test_the_gradient_in_the_logits_is_that_of_finite_differences(name):
    logits = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda y: LOSSES[name](y, LABELS, K, 0.3), (logits,))


@pytest.mark.parametrize("name", sorted(set(LOSSES) - DETACHED - {"cll", "cll scaled", "cll one-sided"}))
def test_the_gradient_in_the_margin_constants_is_that_of_finite_differences(name):
    constants = K.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda k: LOSSES[name](LOGITS, LABELS, k, 0.3), (constants,))


@pytest.mark.parametrize("name", ["cll", "cll scaled", "cll one-sided"])
def test_only_the_regulariser_of_cll_moves_the_margin_constants(name):
    constants = K.clone().requires_grad_()
    LOSSES[name](LOGITS, LABELS, constants, 0.3).backward()
    expected = torch.autograd.grad(1e-2 * constants.max().square(), constants)[0]
    assert torch.allclose(constants.grad, expected, rtol=1e-12)
    assert expected.abs().sum() == pytest.approx(1e-2 * 2 * 4.0)
    free = K.clone().requires_grad_()
    assert torch.equal(torch.autograd.grad(cll(LOGITS, LABELS, free, 0.3, p=0.3), free)[0], torch.zeros_like(K))


def test_only_the_regulariser_of_binary_cll_moves_the_constant():
    constants = K[:2, :2].clone().requires_grad_()
    logits = LOGITS[:, :2].clone().requires_grad_()
    labels = torch.tensor([0, 1, 1, 0])
    cll_binary(logits, labels, constants, 0.3, p=0.3, weight=0.5).backward()
    assert constants.grad.tolist() == [[0.0, 0.5 * 2 * 4.0], [0.0, 0.0]]
    assert torch.autograd.gradcheck(
        lambda y: cll_binary(y, labels, K[:2, :2], 0.3, p=0.3), (logits.detach().requires_grad_(),)
    )


@pytest.mark.parametrize("floor", [0.0, 0.01])
def test_the_gradient_of_emma_is_that_with_its_radii_fixed(floor):
    logits, constants = LOGITS.clone().requires_grad_(), K.clone().requires_grad_()
    radii = torch.empty(4, 3, dtype=torch.float64)
    for image, label in enumerate(LABELS.tolist()):
        for other in range(3):
            reach = 0.3 * K[label, other].item()
            gap = (LOGITS[image, label] - LOGITS[image, other]).item()
            radii[image, other] = 0.3 * min(max(gap / reach if reach else 0.0, floor), 1.0)
    emma(logits, LABELS, constants, 0.3, floor=floor).backward()
    fixed_logits, fixed_constants = LOGITS.clone().requires_grad_(), K.clone().requires_grad_()
    F.cross_entropy(fixed_logits + radii * fixed_constants[LABELS], LABELS).backward()
    assert torch.allclose(logits.grad, fixed_logits.grad, atol=1e-12)
    assert torch.allclose(constants.grad, fixed_constants.grad, atol=1e-12)


@every_loss
def test_values_and_gradients_are_finite_at_the_edges(name):
    """Of ties, and of large logits that are right or wrong; without K, with it and with a large one."""
    ties = torch.zeros(2, 3)
    right = torch.tensor([[1e4, -1e4, 0.0], [1e4, -1e4, 1e4]])
    wrong = torch.tensor([[-1e4, 1e4, 1e4], [1e4, 1e4, -1e4]])
    for values, scale, epsilon in product((ties, right, wrong), (0.0, 1.0, 1e4), (1e-3, 0.5)):
        logits, constants = values.clone().requires_grad_(), (scale * K.float()).requires_grad_()
        loss = LOSSES[name](logits, torch.tensor([0, 2]), constants, epsilon)
        loss.backward()
        assert loss.isfinite(), (values, scale, epsilon)
        assert logits.grad.isfinite().all(), (values, scale, epsilon)
        assert constants.grad is None or constants.grad.isfinite().all(), (values, scale, epsilon)


@pytest.mark.parametrize("name", ["gloro_trades", "emma", "emma with a floor", "fixed_margin", "mixed_margin", "lmt"])
def test_without_a_radius_only_cross_entropy_and_a_term_without_k_are_left(name):
    plain = cross_entropy(LOGITS, LABELS, K, 0.0).item()
    term = 0.0
    if name == "gloro_trades":  # bottom is then the second best logit
        pairs = [(2.0, 1.2, 0.1), (3.0, 2.9, 0.3), (3.0, 1.0, 0.2), (6.0, 1.1, -4.0)]
        for logits in pairs:
            total = sum(math.exp(value) for value in logits)
            term += 2.0 * math.log(1 + math.exp(logits[1]) / total) / 4
    assert LOSSES[name](LOGITS, LABELS, K, 0.0).item() == pytest.approx(plain + term, rel=1e-12)


@every_loss
def test_a_larger_constant_never_lowers_the_loss_of_images_that_are_right(name):
    logits = torch.tensor([[5.0, 1.0, 0.0], [0.0, -1.0, 4.0]])
    loss = partial(LOSSES[name], cap=100.0) if name.startswith("crm") else LOSSES[name]  # below its cap
    values = [loss(logits, torch.tensor([0, 2]), s * K.float(), 0.1).item() for s in (0.25, 0.5, 1.0, 2.0)]
    assert all(larger >= smaller - 1e-6 for smaller, larger in pairwise(values))
