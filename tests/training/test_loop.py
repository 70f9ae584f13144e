"""The loop, on a few random images: what it leaves behind, and that stopping it changes nothing."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from PIL import Image
from timm.optim import create_optimizer_v2

from tests.training import distributed
from tests.training.small import narrow, small_network, weights
from training.__main__ import main
from training.loop import TrainingError, train
from training.losses import clipped_hinge, emma
from training.output import Output, _draw, trained_steps
from training.recipes import RECIPES, find
from training.recipes.recipe import Recipe
from training.schedules import Points
from training.validation import certified, vanished
from zoo import registry
from zoo.cli.shell import run_script
from zoo.data.datasets import DATASETS
from zoo.errors import InputError, ZooError

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
    train(dataclasses.replace(find(name), name=small), tmp_path / "run", steps=2)
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
def test_so_does_one_whose_constraints_iterate(name, small, tmp_path, monkeypatch):
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


def test_weights_are_never_older_than_the_checkpoint(small, tmp_path, monkeypatch):
    def dies(*_):
        raise KeyboardInterrupt

    recipe = dataclasses.replace(small, epochs=2, validate_every=2)
    train(recipe, tmp_path / "run", steps=2)
    with monkeypatch.context() as patch:
        patch.setattr(Output, "write_weights", dies)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "run", resume=True)
    assert Output(tmp_path / "run").latest_checkpoint().name == "step-00000002"
    train(recipe, tmp_path / "run", resume=True)
    train(recipe, tmp_path / "whole")
    first, whole = weights(tmp_path / "run"), weights(tmp_path / "whole")
    (tmp_path / "run" / "weights.safetensors").unlink()
    train(recipe, tmp_path / "run", resume=True)  # no step is left, but to write them
    again = weights(tmp_path / "run")
    assert all(torch.equal(first[key], whole[key]) and torch.equal(again[key], whole[key]) for key in whole)


def test_a_damaged_file_of_a_checkpoint_is_named_and_what_is_left(small, tmp_path):
    run = tmp_path / "run"
    train(small, run, steps=1)
    output = Output(run)
    checkpoint = output.latest_checkpoint()
    names = {line.split("  ")[1] for line in (checkpoint / "SHA256SUMS").read_text().splitlines()}
    assert names >= {"model.safetensors", "optimizer.bin", "random_states_0.pkl", "custom_checkpoint_0.pkl"}
    left = f"no checkpoint is left .* the weights after 1 of 8 steps are: `python -m export {run}` publishes them, or "
    for name in sorted(names):
        content = (checkpoint / name).read_bytes()
        (checkpoint / name).write_bytes(content[:-1])
        with pytest.raises(InputError, match=f"^{checkpoint / name} is damaged: {left}"):
            output.latest_checkpoint()
        (checkpoint / name).unlink()
        with pytest.raises(InputError, match=f"^{checkpoint / name} is missing: {left}"):
            output.latest_checkpoint()
        (checkpoint / name).write_bytes(content)
    (checkpoint / "optimizer.bin").write_bytes(b"")
    (run / "weights.safetensors").write_bytes((run / "weights.safetensors").read_bytes()[:-1])
    with pytest.raises(InputError, match="is damaged: nothing is left to resume from, start again in another folder"):
        output.latest_checkpoint()
    (checkpoint.parent / "step-00000000").mkdir()
    with pytest.raises(InputError, match=f"delete {checkpoint}, and --resume goes on from step-00000000"):
        output.latest_checkpoint()
    (checkpoint / "SHA256SUMS").unlink()
    with pytest.raises(InputError, match=f"^{checkpoint} cannot be read: [^\\n]+$"):
        train(small, run, resume=True)


@pytest.mark.parametrize("line", ['{"step": 1, "sec', "[]", "{}", "\udcff"])
def test_damaged_metrics_are_named(line, small, tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text(f'{{"step": 1, "seconds": 1.0}}\n{line}\n', errors="surrogateescape")
    with pytest.raises(InputError, match=f"^{metrics} is damaged in line 2: delete that line to go on without it"):
        Output(tmp_path).rows()


def test_the_same_weights_are_the_same_bytes(tmp_path):
    written = set()
    for _ in range(12):
        Output(tmp_path).write_weights({"b": torch.ones(2), "é": torch.zeros(3, 1)}, 1, 2)
        written.add((tmp_path / "weights.safetensors").read_bytes())
    assert len(written) == 1
    assert trained_steps(tmp_path / "weights.safetensors") == (1, 2)
    assert torch.equal(weights(tmp_path)["é"], torch.zeros(3, 1))


def test_only_the_first_of_several_processes_tells_a_mistake_that_all_meet(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(sys, "argv", ["training", "2c2f-mnist"])
    monkeypatch.setattr("zoo.cli.shell.time.sleep", lambda seconds: calls.append(capsys.readouterr().err))
    for rank in ("0", "1"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        with pytest.raises(SystemExit):
            run_script(main, "python -m training")
    assert calls == ["error: say where to write: --output DIR\n"]  # of rank 0; rank 1 waited to be ended first


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
@pytest.mark.parametrize(("processes", "accumulate"), [(1, 3), (2, 1)], ids=["one process, 3 pieces", "two processes"])
def test_any_sharing_of_the_batch_trains_the_same(processes, accumulate, write_split, tmp_path, monkeypatch):
    path = write_split("cifar10-jpeg75", count=20)
    random = np.random.default_rng(1)
    generated = random.integers(0, 256, (11, 32, 32, 3), dtype=np.uint8)
    np.savez(path.parent / "generated.npz", image=generated, label=np.arange(11) % 10)
    recipe = distributed.recipe(monkeypatch)
    train(recipe, tmp_path / "one")
    if processes == 1:
        train(recipe, tmp_path / "shared", accumulate=accumulate)
    else:
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        command = [sys.executable, *torchrun, "-m", "tests.training.distributed", str(tmp_path / "shared")]
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


def test_the_weights_have_the_permissions_of_any_other_file(tmp_path):
    Output(tmp_path).write_weights({"weight": torch.ones(2)}, 1, 2)
    (tmp_path / "other").touch()
    assert (tmp_path / "weights.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode
    assert torch.equal(weights(tmp_path)["weight"], torch.ones(2))


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


def test_vanished_is_said_of_what_had_been_learned_only():
    assert vanished(0.15, 0.3, images=100, classes=10)
    assert not vanished(0.16, 0.3, images=100, classes=10)
    assert not vanished(0.1, 0.29, images=100, classes=10)  # nothing learned yet
    assert not vanished(0.0, 1.0, images=99, classes=10)  # too few to say
    assert vanished(0.0, 0.02, images=10_000, classes=1000)
    assert not vanished(0.0, 1.0, images=10_000, classes=2)


def test_a_folder_in_use_is_refused_and_so_is_another_run(small, tmp_path):
    train(small, tmp_path / "run", steps=1)
    with pytest.raises(InputError, match="in use"):
        train(small, tmp_path / "run")
    with pytest.raises(InputError, match="describes another run"):
        train(small, tmp_path / "run", seed=1, resume=True)
    with pytest.raises(InputError, match="no run to resume"):
        train(small, tmp_path / "other", resume=True)
    recipe = tmp_path / "run" / "recipe.json"
    for damaged in (recipe.read_bytes()[:100], b"", b"\xff"):
        recipe.write_bytes(damaged)
        with pytest.raises(InputError, match=r"recipe\.json is damaged: put back"):
            train(small, tmp_path / "run", resume=True)


def test_a_folder_that_another_run_holds_is_refused_until_it_ends(small, tmp_path):
    train(small, tmp_path / "run", steps=1)
    before = (tmp_path / "run" / "recipe.json").read_bytes()
    description = json.loads(before)
    with Output(tmp_path / "run").open(description, resume=True), pytest.raises(InputError, match="a run that goes on"):
        train(small, tmp_path / "run", resume=True)
    with pytest.raises(InputError, match="describes another run"):
        train(dataclasses.replace(small, learning_rate=0.5), tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "recipe.json").read_bytes() == before
    train(small, tmp_path / "run", steps=2, resume=True)


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


def test_bf16_is_for_the_forward_pass_alone(small, tmp_path):
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


def test_certified_is_strict_and_looks_at_every_other_class():
    constants = torch.tensor([[0.0, 1.0, 4.0], [1.0, 0.0, 1.0], [4.0, 1.0, 0.0]])
    logits = torch.tensor([[2.0, 0.9, 0.0], [2.0, 1.0, -9.0], [9.0, 1.0, 6.0], [1.0, 1.0, -9.0], [torch.nan, 0.0, 0.0]])
    assert certified(logits, constants, 1.0).tolist() == [False, False, False, False, False]
    assert certified(logits, constants, 0.4).tolist() == [True, True, True, False, False]


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(ZooError, match=r"did you mean .*2c2f-mnist"):
        find("2c2f-mnits")
    with pytest.raises(ZooError, match=r"^no recipe is called 'nosuch': --list shows all$"):
        find("nosuch")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("2c2f-mnist", "say where to write: --output DIR"),
        ("2c2f-mnist --bogus", "No such option: --bogus. See `python -m training --help`."),
        ("2c2f-mnist --epochs x", "Invalid value for '--epochs': .* See `python -m training --help`."),
        ("nosuch", "no recipe is called 'nosuch': --list shows all"),
        ("2c2f-mnist --output run --data nosuch", "nosuch is no folder: expected one with a subfolder for each class"),
        ("2c2f-mnist --output /proc/x --limit 100", "/proc/x: No such file or directory"),
    ],
)
def test_the_command_says_a_mistake_in_one_line_and_exits_2(arguments, message, write_split, monkeypatch, capsys):
    write_split("mnist", count=200)
    monkeypatch.setattr(sys, "argv", ["training", *arguments.split()])
    with pytest.raises(SystemExit) as end:
        run_script(main, "python -m training")
    assert end.value.code == 2
    assert re.fullmatch(f"error: {message}\n", capsys.readouterr().err)


def test_the_command_that_was_stopped_says_so_and_is_not_done(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("training.loop.train", lambda *arguments, **options: False)
    with pytest.raises(typer.Abort):  # exit code 130, so that a script does not export what is half trained
        main("2c2f-mnist", output=tmp_path)
    assert capsys.readouterr().err == "stopped and saved: the same command with --resume goes on\n"


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
