"""The paper's effect on two moons, in radii that are proved: CLL's figures 2 and 4."""

from pathlib import Path

import pytest

from training.__main__ import main
from training.moons import fit
from zoo.errors import InputError


@pytest.mark.slow
def test_cll_certifies_every_point_at_the_true_margin_and_gloro_does_not():
    cll, gloro = fit("CLL", 0.15), fit("GloRo", 0.15)
    assert cll.vra == 1.0
    assert gloro.vra < 1.0


def test_a_margin_too_wide_costs_gloro_its_steepness():
    cll = fit("CLL", 0.45, epochs=1)  # whose steepness is that of the loss, trained or not
    assert fit("GloRo", 0.45, epochs=10).steepness < 0.2 * cll.steepness


def test_the_picture_needs_a_file_that_can_be_written_and_nothing_else():
    for options, told in (
        ({"output": None}, "say where to write it, --output FILE.png"),
        ({"output": Path("folder")}, "say where to write it, --output FILE.png"),
        ({"output": Path("nothere/moons.png")}, "no folder nothere to write moons.png in"),
        ({"output": Path("moons.png"), "epochs": 3}, "no option but --output"),
        ({"output": Path("moons.png"), "resume": True}, "no option but --output"),
        ({"output": Path("moons.png"), "tracker": "wandb"}, "no option but --output"),
    ):
        with pytest.raises(InputError, match=told):
            main("two-moons", **options)
