"""What counts as certified while training, and when accuracy has vanished."""

import torch

from training.validation import certified, vanished


def test_certified_is_strict_and_looks_at_every_other_class():
    constants = torch.tensor([[0.0, 1.0, 4.0], [1.0, 0.0, 1.0], [4.0, 1.0, 0.0]])
    logits = torch.tensor([[2.0, 0.9, 0.0], [2.0, 1.0, -9.0], [9.0, 1.0, 6.0], [1.0, 1.0, -9.0], [torch.nan, 0.0, 0.0]])
    assert certified(logits, constants, 1.0).tolist() == [False, False, False, False, False]
    assert certified(logits, constants, 0.4).tolist() == [True, True, True, False, False]


def test_vanished_is_said_of_what_had_been_learned_only():
    assert vanished(0.15, 0.3, images=100, classes=10)
    assert not vanished(0.16, 0.3, images=100, classes=10)
    assert not vanished(0.1, 0.29, images=100, classes=10)  # nothing learned yet
    assert not vanished(0.0, 1.0, images=99, classes=10)  # too few to say
    assert vanished(0.0, 0.02, images=10_000, classes=1000)
    assert not vanished(0.0, 1.0, images=10_000, classes=2)
