"""EMMA's and GloRo's losses against sums worked by hand; the others are in test_losses_*.py."""

import math

import pytest
import torch

from training.losses import bottom_logit, emma, gloro, gloro_trades

LOGITS = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 2])
K = torch.tensor([[0.0, 4.0, 1.0], [4.0, 0.0, 2.0], [1.0, 2.0, 0.0]], dtype=torch.float64)


def cross_entropy(logits: list[float], label: int) -> float:
    return math.log(sum(math.exp(value) for value in logits)) - logits[label]


def test_emma_by_hand():
    # Image 0, label 0: margins (0, -1, -2), reach (0, 2, 0.5): the first is met half-way, the second is certified.
    # Image 1, label 2: margins (-1, 2, 0), reach (0.5, 1, 0): the first is certified, the second has won already.
    expected = cross_entropy([0, -1 + 1, -2 + 0.5], 0) + cross_entropy([-1 + 0.5, 2, 0], 2)
    assert emma(LOGITS, LABELS, K, 0.5).item() == pytest.approx(expected / 2, rel=1e-12)
    floored = cross_entropy([0, -1 + 1, -2 + 0.5], 0) + cross_entropy([-1 + 0.5, 2 + 0.01 * 0.5 * 2, 0], 2)
    assert emma(LOGITS, LABELS, K, 0.5, floor=0.01).item() == pytest.approx(floored / 2, rel=1e-12)


def test_emma_radius_has_no_gradient():
    logits = LOGITS.clone().requires_grad_()
    emma(logits, LABELS, K, 0.5).backward()
    shifted = LOGITS.clone().requires_grad_()
    raise_by = torch.tensor([[0.0, 1.0, 0.5], [0.5, 0.0, 0.0]], dtype=torch.float64)
    torch.nn.functional.cross_entropy(shifted + raise_by, LABELS).backward()
    assert logits.grad is not None
    assert shifted.grad is not None
    assert torch.allclose(logits.grad, shifted.grad, atol=1e-12)


def test_gloro_by_hand():
    # Image 0: prediction 0, bottom = max(1 + 0.5 * 4, 0 + 0.5 * 1) = 3. Image 1: prediction 1, max(0 + 2, 1 + 1) = 2.
    assert bottom_logit(LOGITS, K, 0.5).tolist() == [3.0, 2.0]
    expected = cross_entropy([2, 1, 0, 3], 0) + cross_entropy([0, 3, 1, 2], 2)
    assert gloro(LOGITS, LABELS, K, 0.5).item() == pytest.approx(expected / 2, rel=1e-12)


def test_gloro_trades_is_cross_entropy_and_the_divergence():
    clean = cross_entropy([2, 1, 0], 0) + cross_entropy([0, 3, 1], 2)
    divergence = 0.0
    for logits, bottom in (([2.0, 1.0, 0.0], 3.0), ([0.0, 3.0, 1.0], 2.0)):
        p = torch.tensor(logits).double().softmax(0)
        q = torch.tensor([*logits, bottom]).double().softmax(0)[:3]
        divergence += float((p * (p / q).log()).sum())
    assert gloro_trades(LOGITS, LABELS, K, 0.5, weight=2.0).item() == pytest.approx((clean + 2 * divergence) / 2)


def test_gloro_trades_with_cross_entropy_adds_the_entropy_of_the_clean_distribution():
    clean = cross_entropy([2, 1, 0], 0) + cross_entropy([0, 3, 1], 2)
    robust = 0.0
    for logits, bottom in (([2.0, 1.0, 0.0], 3.0), ([0.0, 3.0, 1.0], 2.0)):
        total = sum(math.exp(value) for value in logits)
        for value in logits:
            q = math.exp(value) / (total + math.exp(bottom))
            robust -= math.exp(value) / total * math.log(q)
    value = gloro_trades(LOGITS, LABELS, K, 0.5, weight=2.0, divergence="ce").item()
    assert value == pytest.approx((clean + 2 * robust) / 2, rel=1e-12)
