"""What most of a small run and of its publication takes, left out."""

from __future__ import annotations

from functools import partialmethod

import pytest

from training.estimate import LipschitzEstimate
from training.liplt import LipLTEstimate


def shorten(patch: pytest.MonkeyPatch) -> None:
    """Estimates that do not converge, no curves, attacks of few steps: they only have to be made.

    How well each does is tested in tests/training.
    """
    for estimate in (LipschitzEstimate, LipLTEstimate):
        patch.setattr(estimate, "converge", partialmethod(estimate.converge, limit=20))
    patch.setattr("training.output._draw", lambda rows, path: None)
    patch.setattr("export.robustness.STEPS", 3)
    patch.setattr("export.robustness.RESTARTS", 2)
    patch.setattr("export.publish.TIGHTNESS_STEPS", 3)
