"""The losses but EMMA's and GloRo's against sums worked by hand."""

import math

import pytest
import torch

from training.losses import (
    calibrated_scale,
    certificate_regularised,
    clipped_hinge,
    cll,
    cll_binary,
    crm,
    cross_entropy,
    fixed_margin,
    lmt,
    logit_annealing,
    multi_margin,
    offset_cross_entropy,
    published_p,
)

LOGITS = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 2])
K = torch.tensor([[0.0, 4.0, 1.0], [4.0, 0.0, 2.0], [1.0, 2.0, 0.0]], dtype=torch.float64)
ROOT = math.sqrt(2)


def ce(logits: list[float], label: int) -> float:
    return math.log(sum(math.exp(value) for value in logits)) - logits[label]


def near(value: float) -> object:
    return pytest.approx(value, rel=1e-12)


PLAIN = (ce([2, 1, 0], 0) + ce([0, 3, 1], 2)) / 2


def test_cross_entropy():
    assert cross_entropy(LOGITS, LABELS, K, 0.5).item() == near(PLAIN)


def test_fixed_margin_raises_each_wrong_logit_by_all_of_epsilon():
    expected = ce([2, 1 + 0.5 * 4, 0 + 0.5 * 1], 0) + ce([0 + 0.5 * 1, 3 + 0.5 * 2, 1], 2)
    assert fixed_margin(LOGITS, LABELS, K, 0.5).item() == near(expected / 2)


def test_logit_annealing_shifts_and_weighs_the_logits_of_emma():
    # Image 0: y = (2, 1, 0), reaches 0.5 K = 2 and 0.5; the gaps 1 and 2 allow 1 / 2 and all. Image 1 is wrong.
    raised = [[0.0, -1 + 0.25 * 4, -2 + 0.5 * 1], [-1 + 0.5 * 1, 2.0, 0.0]]
    total = 0.0
    for logits, label in zip(raised, (0, 2), strict=True):
        loss = ce([(value - 2.0 * (place == label)) / 0.75 for place, value in enumerate(logits)], label)
        total += 0.75 * (1 - math.exp(-loss)) ** 5 * loss
    assert logit_annealing(LOGITS, LABELS, K, 0.5).item() == near(total / 2)


@pytest.mark.parametrize("offset", [math.sqrt(2), 1.5 * math.sqrt(2), 2 * math.sqrt(2) * 36 / 255])
def test_the_offsets_of_aol_of_sandwich_and_of_the_comparison_of_layers(offset):
    constants = ROOT * (1 - torch.eye(3, dtype=torch.float64))  # the papers' unit
    first = ce([(2 - offset) / 0.25, 1 / 0.25, 0.0], 0)
    second = ce([0.0, 3 / 0.25, (1 - offset) / 0.25], 2)
    value = offset_cross_entropy(LOGITS, LABELS, constants, 0.5, offset=offset).item()
    assert value == near(0.25 * (first + second) / 2)


def test_lmt_raises_each_wrong_logit_by_the_largest_constant():
    expected = ce([2, 1 + 0.1 * 0.5 * 4, 0 + 0.1 * 0.5 * 4], 0) + ce([0.1 * 0.5 * 4, 3 + 0.1 * 0.5 * 4, 1], 2)
    assert lmt(LOGITS, LABELS, K, 0.5, weight=0.1).item() == near(expected / 2)


@pytest.mark.parametrize(
    ("epsilon", "p", "constant"),
    [(0.15, 0.3, 11.6), (0.5, 0.01, 10.6), (1.0, 0.025, 4.4), (0.25, 0.05, 14.7), (0.25, 0.1, 11.8), (1.0, 1e-3, 7.6)],
)
def test_the_calibrated_scale_is_that_of_the_published_constants(epsilon, p, constant):
    # Losch et al. 2023, tables 1 and 2: the constant of loss and network together is 1 / sigma.
    assert round(1 / calibrated_scale(epsilon, p), 1) == constant


def test_the_calibrated_scale_is_equation_5_of_half_the_published_p():
    tail, epsilon = 0.001, 0.15
    sigma = 2 * epsilon / (math.log((1 - tail) / tail) - math.log(tail / (1 - tail)))
    assert calibrated_scale(epsilon, published_p(tail)) == near(sigma)
    # The logistic of this width has the probability of one tail at one edge of the margin, and 1 - it at the other.
    assert 1 / (1 + math.exp(epsilon / sigma)) == near(tail)


@pytest.mark.parametrize(("epsilon", "p"), [(0.0, 0.3), (0.1, 0.0), (0.1, 1.0), (-0.1, 0.3)])
def test_an_impossible_slack_is_refused(epsilon, p):
    with pytest.raises(ValueError, match="epsilon above 0 and p between 0 and 1"):
        cll(LOGITS, LABELS, K, epsilon, p=p)


def test_cll():
    sigma = 0.5 / math.log((2 - 0.4) / 0.4)
    first = ce([-0.5 / sigma, (-1 / 4 + 0.5) / sigma, (-2 / 1 + 0.5) / sigma], 0)
    second = ce([(-1 / 1 + 0.5) / sigma, (2 / 2 + 0.5) / sigma, -0.5 / sigma], 2)
    assert cll(LOGITS, LABELS, K, 0.5, p=0.4).item() == near((first + second) / 2)
    assert cll(LOGITS, LABELS, K, 0.5, p=0.4, weight=0.01).item() == near((first + second) / 2 + 0.01 * 16)
    first = ce([0, (-1 / 4 + 0.5) / sigma, (-2 / 1 + 0.5) / sigma], 0)
    second = ce([(-1 / 1 + 0.5) / sigma, (2 / 2 + 0.5) / sigma, 0], 2)
    assert cll(LOGITS, LABELS, K, 0.5, p=0.4, one_sided=True).item() == near((first + second) / 2)
    first = ce([-0.5 / sigma, (-1 / 2 + 0.5) / sigma, (-2 / 0.5 + 0.5) / sigma], 0)
    second = ce([(-1 / 0.5 + 0.5) / sigma, (2 / 1 + 0.5) / sigma, -0.5 / sigma], 2)
    assert cll(LOGITS, LABELS, K, 0.5, p=0.4, scale=0.5).item() == near((first + second) / 2)


def test_binary_cll_is_equations_3_and_4():
    logits, labels = torch.tensor([[1.0, 3.0], [0.5, 0.0]], dtype=torch.float64), torch.tensor([1, 1])
    constants, epsilon, p = torch.tensor([[0.0, 4.0], [4.0, 0.0]], dtype=torch.float64), 0.25, 0.1

    def h(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    sigma = 0.25 / math.log(1.9 / 0.1)
    expected = -math.log(h(-0.25 / sigma + 2 / 4 / sigma)) - math.log(h(-0.25 / sigma - 0.5 / 4 / sigma))
    assert cll_binary(logits, labels, constants, epsilon, p).item() == near(expected / 2)
    zeros = torch.tensor([0, 0])
    expected = -math.log(1 - h(0.25 / sigma + 2 / 4 / sigma)) - math.log(1 - h(0.25 / sigma - 0.5 / 4 / sigma))
    assert cll_binary(logits, zeros, constants, epsilon, p, weight=0.1).item() == near(expected / 2 + 0.1 * 16)
    for given in (labels, zeros):
        one_sided = cll(logits, given, constants, epsilon, p, one_sided=True).item()
        assert cll_binary(logits, given, constants, epsilon, p).item() == near(one_sided)


def test_the_multiple_of_the_network_changes_cll_only_through_its_weight():
    value = cll(LOGITS, LABELS, K, 0.5, p=0.4).item()
    assert cll(7 * LOGITS, LABELS, 7 * K, 0.5, p=0.4).item() == near(value)


def test_crm_with_the_soft_radius():
    # Image 0 is right: R = (1 / 4, 2 / 1). Image 1 is wrong, and counts only in the cross-entropy.
    soft = math.log(math.exp(-5 * 0.25) + math.exp(-5 * 2)) / 5
    assert crm(LOGITS, LABELS, K, 0.0, sharpness=5.0, cap=0.3, weight=3.0).item() == near(PLAIN + 3 * soft / 2)


def test_crm_with_the_exponential_radius():
    value = crm(LOGITS, LABELS, K, 0.0, sharpness=5.0, cap=0.3, weight=3.0, surrogate="exponential").item()
    assert value == near(PLAIN + 3 * math.exp(-5 * 0.25) / 5 / 2)


@pytest.mark.parametrize("surrogate", ["soft", "exponential"])
def test_crm_leaves_images_beyond_the_cap_and_ties_alone(surrogate):
    options = {"sharpness": 5.0, "weight": 3.0, "surrogate": surrogate}
    assert crm(LOGITS, LABELS, K, 0.0, cap=0.25, **options).item() == near(PLAIN)
    tie = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64)
    assert crm(tie, LABELS[:1], K, 0.0, cap=9.0, **options).item() == near(ce([1, 1, 0], 0))


def test_certificate_regularisation_rewards_the_radius_of_what_is_right():
    assert certificate_regularised(LOGITS, LABELS, K, 0.0, weight=0.1).item() == near(PLAIN - 0.1 * 0.25 / 2)


def test_offset_cross_entropy():
    unit = torch.full((3, 3), ROOT, dtype=torch.float64).fill_diagonal_(0)
    expected = 0.25 * (ce([4 * (2 - 1.5 * ROOT), 4, 0], 0) + ce([0, 12, 4 * (1 - 1.5 * ROOT)], 2)) / 2
    assert offset_cross_entropy(LOGITS, LABELS, unit, 0.0).item() == near(expected)
    first = ce([-1 / 0.5, -ROOT / 4 / 0.5, -2 * ROOT / 0.5], 0)
    second = ce([-ROOT / 0.5, 2 * ROOT / 2 / 0.5, -1 / 0.5], 2)
    value = offset_cross_entropy(LOGITS, LABELS, K, 0.0, offset=1.0, temperature=0.5).item()
    assert value == near(0.5 * (first + second) / 2)


def test_multi_margin():
    unit = torch.full((3, 3), ROOT, dtype=torch.float64).fill_diagonal_(0)
    # Image 0: max(0, 1.5 - 1) + max(0, 1.5 - 2). Image 1: max(0, 1.5 - 1) + max(0, 1.5 + 2).
    assert multi_margin(LOGITS, LABELS, unit, 0.0, margin=1.5).item() == near((0.5 + 0.5 + 3.5) / 3 / 2)
    expected = (0.7 - ROOT / 4) + (0.7 + ROOT)  # the two pairs left: -1 / 4, and 2 / 2
    assert multi_margin(LOGITS, LABELS, K, 0.0).item() == near(expected / 3 / 2)


def test_clipped_hinge():
    logits = torch.tensor([[2.0, 1.5, 0.0], [0.0, 3.0, 1.0], [9.0, 0.0, 1.0]], dtype=torch.float64)
    labels, scale = torch.tensor([0, 2, 0]), torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    # Half of the threshold of 1 is reached, misclassified (clipped at 1), and beyond the threshold.
    hinge = (0.5 + 1 + 0) / 3
    plain = (ce([4, 3, 0], 0) + ce([0, 6, 2], 2) + ce([18, 0, 2], 0)) / 3
    loss = clipped_hinge(logits, labels, K, 0.0, threshold=1.0, weight=0.1, scale=scale)
    assert loss.item() == near(hinge + 0.1 * plain)
    assert torch.autograd.gradcheck(
        lambda s: clipped_hinge(logits, labels, K, 0.0, threshold=1.0, weight=0.1, scale=s), (scale,)
    )


def test_the_clipped_hinge_has_no_gradient_for_images_that_are_wrong():
    logits = LOGITS.clone().requires_grad_()
    clipped_hinge(logits, LABELS, K, 0.0, threshold=4.0, weight=0.0).backward()
    assert logits.grad.tolist() == [[-0.125, 0.125, 0.0], [0.0, 0.0, 0.0]]
