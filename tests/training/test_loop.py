"""The loop, on a few random images: what it leaves behind, and that stopping it changes nothing."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from PIL import Image
from timm.optim import create_optimizer_v2

from tests.training import distributed
from tests.training.small import narrow, small_network, weights
from training.loop import TrainingError, train
from training.losses import clipped_hinge, emma
from training.output import _draw, trained_steps
from training.precision import available
from training.recipes import RECIPES, find
from training.recipes.recipe import Recipe
from training.schedules import Points
from zoo import registry
from zoo.data.datasets import DATASETS
from zoo.errors import InputError

SMALL = "liresnet-l4w32-cifar10-jpeg75"


def kinds() -> list[str]:
    """One recipe of each small network, whose constraints are its own, with each of its losses and estimates."""
    return list(
        {(small_network(name), recipe.loss, recipe.estimate): name for name, recipe in RECIPES.items()}.values()
    )


# test_recipes.py has every recipe, without its network.
@pytest.mark.parametrize("name", kinds())
def test_every_kind_of_recipe_makes_two_steps_on_a_small_network(name, write_split, quick, tmp_path, monkeypatch):
    small = small_network(name)
    narrow(small, monkeypatch)
    entry = registry.find(small)
    if entry.dataset != "two-moons":  # made, not read
        write_split(entry.dataset, count=9)
    train(dataclasses.replace(find(name), name=small, generated=None), tmp_path / "run", steps=2)
    network = entry.architecture.network()
    start = {key: value.clone() for key, value in network.state_dict().items()}
    network.load_state_dict(weights(tmp_path / "run"))
    assert any(not torch.equal(value, start[key]) for key, value in network.state_dict().items())
    assert all(value.isfinite().all() for value in network.state_dict().values())


def test_a_run_leaves_its_recipe_metrics_curves_weights_and_one_checkpoint(small, tmp_path, monkeypatch):
    monkeypatch.setattr("training.output._draw", _draw)
    train(dataclasses.replace(small, epochs=2, validate_every=1), tmp_path / "run", seed=3)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "checkpoints",
        "curves.png",
        "metrics.jsonl",
        "recipe.json",
        "weights.safetensors",
    ]
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000004"]
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4]
    assert [row["seconds"] * row["images_per_second"] for row in rows] == pytest.approx([16, 16])
    assert trained_steps(tmp_path / "run" / "weights.safetensors") == (4, 4)
    assert all(0 <= row["estimated_vra"] <= row["validation_accuracy"] <= 1 for row in rows)
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["seed"] == 3


@pytest.mark.parametrize("ema", [None, 0.9], ids=["", "averaged"])
@pytest.mark.parametrize("steps", [3, 4], ids=["within an epoch", "between epochs"])
def test_a_resumed_run_ends_in_the_same_bits(steps, ema, small, tmp_path):
    assert_resumed_in_the_same_bits(dataclasses.replace(small, ema=ema), steps, tmp_path)


@pytest.mark.parametrize("name", ["cpl-xs-cifar10-jpeg75", "lipconvnet-5w8-cifar10-jpeg75"])
def test_a_resumed_run_of_iterated_constraints_ends_in_the_same_bits(name, small, tmp_path, monkeypatch):
    narrow(name, monkeypatch)
    recipe = dataclasses.replace(find(name), epochs=2, batch_size=8)
    assert_resumed_in_the_same_bits(recipe, 2, tmp_path)  # behind a checkpoint, weights are written


def assert_resumed_in_the_same_bits(recipe: Recipe, steps: int, folder: Path) -> None:
    train(recipe, folder / "whole")
    train(recipe, folder / "parts", steps=steps)
    train(recipe, folder / "parts", resume=True)
    whole, parts = weights(folder / "whole"), weights(folder / "parts")
    assert all(torch.equal(whole[key], parts[key]) for key in whole | parts)

    def rows(run: str) -> list[dict[str, float]]:
        read = [json.loads(row) for row in (folder / run / "metrics.jsonl").read_text().splitlines()]
        return [
            {key: value for key, value in row.items() if key not in ("images_per_second", "seconds")} for row in read
        ]

    assert rows("parts") == rows("whole")


def test_a_loss_gets_its_scheduled_and_its_learned_options_and_resumes_with_them(small, tmp_path):
    seen = []

    def watched(*arguments, weight, scale):
        seen.append((arguments[3], weight, scale.item()))
        return clipped_hinge(*arguments, threshold=1.0, weight=weight, scale=scale)

    recipe = dataclasses.replace(
        small,
        loss=watched,
        loss_options={"weight": Points(((0.0, 2.0), (1.0, 1.0)))},
        learned={"scale": 1.0},
        training_epsilon=Points(((0.0, 0.0), (1.0, 0.8))),
        rate=Points(((0.0, 1.0),)),
        epochs=2,
        validate_every=2,
        learning_rate=0.01,
        optimizer="sgd",
        clip_norm=None,
    )
    train(recipe, tmp_path / "whole")
    whole = seen.copy()
    assert [epsilon for epsilon, _, _ in whole] == pytest.approx([0.0, 0.2, 0.4, 0.6])
    assert [weight for _, weight, _ in whole] == pytest.approx([2.0, 1.75, 1.5, 1.25])
    scales = [scale for _, _, scale in whole]
    assert scales[0] == 1.0
    assert len(set(scales)) == 4
    seen.clear()
    train(recipe, tmp_path / "parts", steps=3)
    train(recipe, tmp_path / "parts", resume=True)
    assert seen == whole
    assert set(weights(tmp_path / "whole")) == set(registry.find(SMALL).architecture.network().state_dict())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "processes", "accumulate"),
    [
        ("liresnet-l4w32-cifar10-jpeg75", 1, 3),
        ("liresnet-l4w32-cifar10-jpeg75", 2, 1),
        ("liresnetpp-l4w32-cifar10-jpeg75", 2, 1),  # subtracts a mean over the batch and keeps a running one
        ("linfdist-6x256-cifar10-jpeg75", 2, 1),  # subtracts a mean over the batch
    ],
)
def test_any_sharing_of_the_batch_trains_the_same(name, processes, accumulate, write_split, tmp_path, monkeypatch):
    path = write_split("cifar10-jpeg75", count=20)
    random = np.random.default_rng(1)
    generated = random.integers(0, 256, (11, 32, 32, 3), dtype=np.uint8)
    np.savez(path.parent / "generated.npz", image=generated, label=np.arange(11) % 10)
    recipe = distributed.recipe(name, monkeypatch)
    train(recipe, tmp_path / "one")
    if processes == 1:
        train(recipe, tmp_path / "shared", accumulate=accumulate)
    else:
        command = [sys.executable, "-m", "tests.training.distributed", name, str(tmp_path / "shared"), str(processes)]
        root = Path(__file__).parents[2]
        result = subprocess.run(
            command, capture_output=True, text=True, cwd=root, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        assert result.returncode == 0, result.stderr
        states = list((tmp_path / "shared" / "checkpoints").glob("*/random_states_*.pkl"))
        assert len(states) == processes  # so many did take part
        assert (result.stdout + result.stderr).count("epoch 2: loss") == 1
    one, shared = weights(tmp_path / "one"), weights(tmp_path / "shared")
    for key in one | shared:
        assert torch.allclose(one[key], shared[key], rtol=1e-4, atol=1e-6), key
    rows = [json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[-1]) for name in ("one", "shared")]
    for key in ("loss", "train_accuracy", "validation_accuracy", "estimated_vra", "lipschitz_estimate"):
        assert rows[0][key] == pytest.approx(rows[1][key], rel=1e-4)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_returns(number, small, tmp_path):
    calls = []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), number)
        return emma(*arguments, **options)

    before = signal.getsignal(number)
    interrupted.__name__ = "emma"
    assert not train(dataclasses.replace(small, loss=interrupted), tmp_path / "run")
    assert len(calls) == 3
    assert signal.getsignal(number) is before
    assert train(small, tmp_path / "run", resume=True)
    train(small, tmp_path / "whole")
    assert torch.equal(weights(tmp_path / "run")["head.weight"], weights(tmp_path / "whole")["head.weight"])


def test_a_second_ctrl_c_interrupts(small, tmp_path):
    calls = []

    def interrupted(*arguments, **options):
        calls.append(1)
        os.kill(os.getpid(), signal.SIGINT)
        assert len(calls) == 1  # one signal only asks
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("not interrupted")

    interrupted.__name__ = "emma"
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(dataclasses.replace(small, loss=interrupted), tmp_path / "run")
    assert calls == [1]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_loss_that_is_no_number_stops_the_run(small, tmp_path):
    def broken(logits, *_):
        return logits.sum() * torch.nan

    with pytest.raises(TrainingError, match="the loss is nan at step 0: lower the learning rate"):
        train(dataclasses.replace(small, loss=broken), tmp_path / "run")


def test_accuracy_that_falls_back_to_chance_stops_the_run_and_leaves_the_last_checkpoint(
    small, write_split, tmp_path, monkeypatch
):
    write_split("cifar10-jpeg75", count=1000)  # 100 to validate on
    recipe = dataclasses.replace(small, epochs=3, batch_size=450, validate_every=1)

    def validates_as(*accuracies: float) -> None:
        rest = iter(accuracies)

        def scripted(*_) -> dict[str, float]:
            return {"validation_accuracy": next(rest), "estimated_vra": 0.0, "lipschitz_estimate": 1.0}

        monkeypatch.setattr("training.learner.validate", scripted)

    validates_as(0.1, 0.5, 0.13)
    with pytest.raises(TrainingError, match=r"accuracy fell from 0.5000 to 0.1300, chance, by step 6: lower the learn"):
        train(recipe, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000004"]
    kept = weights(tmp_path / "run")
    validates_as(0.13)  # the best is kept with the checkpoint
    with pytest.raises(TrainingError, match=r"from 0.5000 to 0.1300"):
        train(recipe, tmp_path / "run", resume=True)
    assert all(torch.equal(kept[key], value) for key, value in weights(tmp_path / "run").items())
    validates_as(0.5, 0.13, 0.5)  # at a finite exponent the network validated is not yet the one that is trained
    train(dataclasses.replace(recipe, exponent=Points(((0.0, 8.0),))), tmp_path / "relaxed")


def test_a_loss_that_breaks_later_leaves_the_last_checkpoint(small, tmp_path):
    calls = []

    def breaks(logits, *arguments, **options):
        calls.append(1)
        return emma(logits, *arguments, **options) * (torch.nan if len(calls) == 5 else 1)

    breaks.__name__ = "emma"
    recipe = dataclasses.replace(small, validate_every=1)
    with pytest.raises(TrainingError, match="the loss is nan at step 4"):
        train(dataclasses.replace(recipe, loss=breaks), tmp_path / "run")
    assert all(value.isfinite().all() for value in weights(tmp_path / "run").values())
    train(recipe, tmp_path / "run", resume=True)
    train(recipe, tmp_path / "whole")
    assert torch.equal(weights(tmp_path / "run")["head.weight"], weights(tmp_path / "whole")["head.weight"])


def test_bf16_is_for_the_forward_pass_alone(small, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: True)
    seen, computed = [], []

    def hook(layer, inputs, output):
        if isinstance(layer, torch.nn.Conv2d):
            computed.append(output.dtype)

    def looks(logits, labels, margins, *arguments, **options):
        seen.append((logits.dtype, margins))
        return emma(logits, labels, margins, *arguments, **options)

    looks.__name__ = "emma"
    for precision, expected in (("no", torch.float32), ("bf16", torch.bfloat16)):
        AcceleratorState._reset_state(reset_partial_state=True)
        computed.clear()
        with torch.nn.modules.module.register_module_forward_hook(hook):
            train(dataclasses.replace(small, loss=looks, mixed_precision=precision), tmp_path / precision, steps=1)
        assert computed[-1] == expected
    (_, exact), (dtype, estimated) = seen
    assert dtype == torch.float32
    assert torch.equal(exact, estimated)
    assert all(value.dtype == torch.float32 for value in weights(tmp_path / "bf16").values())


def test_a_cpu_without_bf16_trains_in_float32_and_says_so(small, tmp_path, monkeypatch, capsys):
    recipe = dataclasses.replace(small, mixed_precision="bf16")
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: False)
    train(recipe, tmp_path / "run", steps=1)
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["mixed_precision"] == "no"
    assert "would imitate bfloat16: training in float32" in capsys.readouterr().err
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: True)
    AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.raises(InputError, match=r"\(see its mixed_precision\): resume on a machine with that precision"):
        train(recipe, tmp_path / "run", resume=True)
    assert "bfloat16" not in capsys.readouterr().err
    assert available("bf16", torch.device("cuda")) == "bf16"


def test_a_folder_of_images_is_trained_on(small, tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_DATA", str(tmp_path / "nothing"))
    generator = np.random.default_rng(0)
    for label in DATASETS["cifar10"].labels:
        (tmp_path / "images" / label).mkdir(parents=True)
        pixels = generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / label / "a.png")
    recipe = dataclasses.replace(small, batch_size=4, epochs=2, validate_every=2)
    train(recipe, tmp_path / "run", images=tmp_path / "images")
    train(recipe, tmp_path / "parts", images=tmp_path / "images", steps=1)
    assert trained_steps(tmp_path / "parts" / "weights.safetensors") == (1, 4)
    assert json.loads((tmp_path / "parts" / "recipe.json").read_text())["data"] == "images"
    train(recipe, tmp_path / "parts", images=tmp_path / "images", resume=True)
    whole, parts = weights(tmp_path / "run"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[key], parts[key]) for key in whole | parts)


def test_a_run_on_some_shards_says_so_in_its_recipe_and_on_the_terminal(write_split, quick, tmp_path, capsys):
    path = write_split("cifar10-jpeg75", count=9)
    path.rename(path.with_name("train-00001-of-00003.parquet"))
    train(dataclasses.replace(find(SMALL), batch_size=4), tmp_path / "run", limit=5, steps=1)
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["split"] == "train[shard 1 of 3]"
    assert "training on train[shard 1 of 3]: a part of the split" in capsys.readouterr().err


def test_lookahead_steps_back_to_its_slow_weights_through_accelerate():
    network = torch.nn.Linear(3, 2)
    base = create_optimizer_v2(network, opt="lookahead_nadam", lr=0.1, weight_decay=0.0)
    model, optimizer = Accelerator().prepare(network, base)
    for step in range(1, 13):
        model(torch.ones(4, 3)).square().sum().backward()
        optimizer.step()
        slow = optimizer.state_dict()["state"][0].get("lookahead_slow_buff")
        if step >= 6:
            assert torch.equal(slow, network.weight) == (step % 6 == 0)
