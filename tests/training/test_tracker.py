"""Metrics for a tracker, and launches that are refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.loop import TrainingError, train
from training.losses import emma
from zoo.errors import InputError, MissingPackageError


def logged(run: Path, recipe: str) -> dict[int, float]:
    """The loss by step as TensorBoard shows it."""
    events = EventAccumulator(str(run / "tracker" / recipe)).Reload().Scalars("loss")
    assert [event.step for event in events] == sorted({event.step for event in events})
    return {event.step: event.value for event in events}


def test_a_resumed_run_goes_on_in_its_log_and_says_no_step_twice(small, tmp_path):
    calls = []

    def breaks(*arguments, **options):
        calls.append(1)
        return emma(*arguments, **options) * (torch.nan if len(calls) == 7 else 1)

    breaks.__name__ = "emma"
    recipe = dataclasses.replace(small, validate_every=2)
    with pytest.raises(TrainingError):  # in the fourth epoch: the third, logged, is not in the checkpoint
        train(dataclasses.replace(recipe, loss=breaks), tmp_path / "run", tracker="tensorboard")
    assert list(logged(tmp_path / "run", small.name)) == [2, 4, 6]
    train(recipe, tmp_path / "run", resume=True, tracker="tensorboard")
    rows = [json.loads(row) for row in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert logged(tmp_path / "run", small.name) == pytest.approx({row["step"]: row["loss"] for row in rows})
    assert [row["step"] for row in rows] == [2, 4, 6, 8]


def test_a_tracker_that_is_unknown_or_not_installed_is_refused_before_anything_is_written(small, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"no tracker is called 'nosuch': Accelerate knows .*tensorboard, wandb"):
        train(small, tmp_path / "run", tracker="nosuch")
    monkeypatch.setattr("training.loop.get_available_trackers", list)
    with pytest.raises(InputError, match="the tracker wandb is not installed: run pip install wandb"):
        train(small, tmp_path / "run", tracker="wandb")
    with pytest.raises(MissingPackageError, match=r"needs tensorboard: run pip install -e '\.\[train\]'"):
        train(small, tmp_path / "run", tracker="tensorboard")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("variable", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM"])
def test_a_launch_that_shards_weights_is_refused(variable, small, tmp_path, monkeypatch):
    monkeypatch.setenv(variable, "true")
    with pytest.raises(InputError, match="cuts weights into shards, whose norms are not known: launch without it"):
        train(small, tmp_path / "run")
    assert not (tmp_path / "run").exists()
