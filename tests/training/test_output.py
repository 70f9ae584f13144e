"""What a run keeps in its folder, and what is said of files that are damaged or another run's."""

import dataclasses
import json

import pytest
import torch

from tests.training.small import weights
from training.loop import train
from training.output import Output, trained_steps
from zoo.errors import InputError
from zoo.files import sha256, sums_text


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
    with pytest.raises(InputError, match=f"^{checkpoint / 'SHA256SUMS'} is missing: delete {checkpoint}, and --resume"):
        output.latest_checkpoint()
    (checkpoint / "SHA256SUMS").touch()
    with pytest.raises(InputError, match=f"^{checkpoint / 'SHA256SUMS'} is empty: delete {checkpoint}, and --resume"):
        output.latest_checkpoint()
    digest = sha256(checkpoint / "optimizer.bin")
    (checkpoint / "SHA256SUMS").write_text(sums_text({"optimizer.bin": digest}))
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


def test_the_weights_have_the_permissions_of_any_other_file(tmp_path):
    Output(tmp_path).write_weights({"weight": torch.ones(2)}, 1, 2)
    (tmp_path / "other").touch()
    assert (tmp_path / "weights.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode
    assert torch.equal(weights(tmp_path)["weight"], torch.ones(2))


def test_a_folder_in_use_is_refused_and_so_is_another_run(small, tmp_path):
    train(small, tmp_path / "run", steps=1)
    with pytest.raises(InputError, match="is not empty"):
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
    with pytest.raises(InputError, match=r"describes another run \(see its learning_rate\): resume"):
        train(dataclasses.replace(small, learning_rate=0.5), tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "recipe.json").read_bytes() == before
    train(small, tmp_path / "run", steps=2, resume=True)
