"""Every recipe: registered, described exactly, and fit for the loop from its first step to its last."""

import dataclasses
import json
import math

import pytest
import torch
from timm.optim import create_optimizer_v2
from torch import nn

from training.__main__ import main
from training.losses import clipped_hinge
from training.recipes import RECIPES
from training.recipes.recipe import Recipe
from training.schedules import constant, exponent_phases, weight_phases
from zoo.data.datasets import DATASETS
from zoo.registry import ENTRIES

STAGES = (0.0, 0.1, 0.5, 0.999)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_registered_described_and_trains_a_head(name):
    recipe = RECIPES[name]
    data = DATASETS[ENTRIES[name].dataset]
    assert recipe.name == name
    assert json.loads(json.dumps(recipe.describe(), allow_nan=False)) == recipe.describe()
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(6, data.classes)
    optimizer = create_optimizer_v2(head, opt=recipe.optimizer, lr=recipe.learning_rate, **recipe.optimizer_options)
    features = torch.randn(8, 6, generator=generator)
    for progress in STAGES:
        assert recipe.training_epsilon(progress) > 0
        assert 0 <= recipe.rate(progress) <= 1
        constants = torch.cdist(head.weight, head.weight, compute_mode="donot_use_mm_for_euclid_dist")
        labels = torch.randint(data.classes, (8,), generator=generator)
        loss = recipe.loss(
            head(features), labels, constants, recipe.training_epsilon(progress), **recipe.options(progress)
        )
        before = head.weight.detach().clone()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert loss.isfinite()
        assert head.weight.isfinite().all()
        assert not torch.equal(head.weight, before)


def test_every_family_has_a_small_recipe():
    small = {
        type(ENTRIES[name].architecture).__name__ for name in RECIPES if name.endswith(("-jpeg75", "-mnist", "-moons"))
    }
    trained = {type(ENTRIES[name].architecture).__name__ for name in RECIPES}
    assert small == trained


def test_the_list_and_the_description_are_what_is_known(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    main(list_recipes=True)
    lines = capsys.readouterr().out.splitlines()
    first = [line.split(" ")[0] for line in lines]
    assert all(first.count(name) == 1 for name in RECIPES)  # no name is cut
    assert max(map(len, lines)) <= 80
    row = next(line.split() for line in lines if line.startswith("liresnet-l12w512-cifar100"))
    assert row[1:] == ["emma", "800", "55.20", "38.30", "36/255"]
    row = next(line.split() for line in lines if line.startswith("linfdist-5x5120-mnist"))
    assert row[1:] == ["clipped", "450", "98.56", "93.20", "0.3"]  # "hinge" is on the next line
    assert {"mnist, l2", "mnist, linf"} < set(map(str.strip, lines))
    main("liresnet-l12w512-cifar100", describe=True)
    described = json.loads(capsys.readouterr().out)
    assert described["expected"] == {"clean": 55.2, "vra": 38.3, "hardware": "one A100", "time": "not stated"}
    main("liresnet-l4w32-cifar10-jpeg75", describe=True)  # its figures are another network's
    assert json.loads(capsys.readouterr().out)["expected"] == {
        "clean": "not stated",
        "vra": "not stated",
        "hardware": "not stated",
        "time": "1 to 4 hours on one shared core",
    }


def test_the_settings_of_the_papers_by_hand():
    liresnet = RECIPES["liresnet-l12w512-cifar100"]
    assert liresnet.rate(10 / 800) == 0.5
    assert liresnet.training_epsilon(0.5) == 2 * liresnet.epsilon == 72 / 255
    crm = RECIPES["8c2f-liplt-tiny-imagenet"]
    assert crm.options(9.9 / 300) == {"sharpness": 12.0, "cap": 0.2, "weight": 0.0}
    assert crm.options(10 / 300) == {"sharpness": 12.0, "cap": 0.2, "weight": 150.0}
    assert crm.learning_rate * crm.rate(1.0) == pytest.approx(1e-7)
    assert all(recipe.ema is None for recipe in RECIPES.values())
    cll = RECIPES["4c3f-cll-cifar10"]
    assert [cll.rate(epoch / 801) for epoch in (399, 400, 599, 600, 779, 780)] == pytest.approx(
        [1, 0.1, 0.1, 0.01, 0.01, 0.001]
    )


def test_crm_as_it_was_run_is_the_corrected_recipe_in_pixels_of_half_the_size():
    corrected, as_run = RECIPES["6c2f-liplt-cifar10"], RECIPES["6c2f-liplt-epsilon18-cifar10"]
    logits, labels = torch.tensor([[1.0, 0.5, 0.0]], dtype=torch.float64), torch.tensor([0])
    doubled = torch.full((3, 3), 6.0, dtype=torch.float64)  # constants for pixels of [-1, 1] are half of these
    terms = [
        recipe.loss(logits, labels, constants, 0.0, **recipe.options(0.5)).item()
        for recipe, constants in ((corrected, doubled / 2), (as_run, doubled))
    ]
    assert terms[0] == pytest.approx(terms[1], rel=1e-12)
    assert as_run.epsilon == corrected.epsilon / 2


def test_an_infinite_exponent_and_a_learned_option_are_described():
    recipe = Recipe(
        name="a",
        epsilon=8 / 255,
        loss=clipped_hinge,
        training_epsilon=constant(8 / 255),
        epochs=1300,
        batch_size=512,
        learning_rate=0.03,
        loss_options={"threshold": 48 / 255, "weight": weight_phases(0.1, 0.9, 0.1, 5e-4)},
        learned={"scale": 1.0},
        exponent=exponent_phases(0.1, 0.9),
        optimizer_options={"betas": (0.9, 0.99), "eps": 1e-10},
    )
    described = recipe.describe()
    assert described["loss"] == "clipped_hinge"
    assert described["exponent"] == {
        "schedule": "Points",
        "points": [[0.0, 8.0], [0.1, 8.0], [0.9, 1000.0], [0.9, "inf"]],
        "curve": "geometric",
    }
    assert described["optimizer_options"] == {"betas": [0.9, 0.99], "eps": 1e-10}
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert recipe.options(1.0) == {"threshold": 48 / 255, "weight": 0.0}
    assert recipe.exponent is not None
    assert recipe.exponent(1.0) == math.inf
    other = dataclasses.replace(recipe, exponent=exponent_phases(0.2, 0.9))
    assert other.describe() != described
