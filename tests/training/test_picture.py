"""The paper's effect on two moons, in radii that are proved: CLL's figures 2 and 4."""

import subprocess
import sys

import pytest

from training.moons import fit


@pytest.mark.slow
def test_cll_certifies_every_point_at_the_true_margin_and_gloro_does_not():
    cll, gloro = fit("CLL", 0.15), fit("GloRo", 0.15)
    assert cll.vra == 1.0
    assert gloro.vra < 1.0


def test_a_margin_too_wide_costs_gloro_its_steepness():
    assert fit("GloRo", 0.45, epochs=10).steepness < 0.2 * fit("CLL", 0.45, epochs=10).steepness


def test_the_picture_needs_a_file():
    command = [sys.executable, "-m", "training", "two-moons", "--output", "folder"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert "--output FILE.png" in result.stderr
