"""The folder of a run: recipe.json, metrics.jsonl, curves.png, weights.safetensors and checkpoints/."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from safetensors.torch import save
from torch import Tensor

from zoo.errors import InputError
from zoo.evaluate import machine


class Output:
    """Writes each file whole or not at all, so that a run stopped at any moment can be resumed."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.metrics = folder / "metrics.jsonl"

    @contextmanager
    def open(self, description: dict[str, Any], resume: bool) -> Iterator[None]:
        """Start the folder, or find the same recipe in it; no other process opens it until the block is left.

        Raises InputError where neither is so, the recipe in it is damaged, or another process has it open.
        """
        path = self.folder / "recipe.json"
        text = json.dumps(description, indent=1) + "\n"
        if resume and not path.is_file():
            raise InputError(f"{self.folder} has no run to resume: leave out --resume")
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file: choose another --output")
        if not resume and self.folder.exists() and any(self.folder.iterdir()):
            raise InputError(f"{self.folder} is in use: choose another --output, or --resume the run in it")
        self.folder.mkdir(parents=True, exist_ok=True)
        with _locked(self.folder):
            if not resume:
                _replace(path, text.encode())
            elif _read(path) != json.loads(text):
                raise InputError(f"{path} describes another run: resume with the options that it was started with")
            yield

    def checkpoint(
        self, accelerator: Accelerator, weights: Callable[[], dict[str, Tensor]], step: int, steps: int
    ) -> None:
        """Save the whole state of training and the weights, then drop the older state. Every process calls it.

        The weights come first into their place, so that no checkpoint is without them; they are asked for when the
        state is saved, which they may change.
        """
        partial, final = self.checkpoints / "partial", self.checkpoints / f"step-{step:08d}"
        if accelerator.is_main_process and partial.exists():  # of a run that was stopped while it saved
            shutil.rmtree(partial)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(partial))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            older = list(self.checkpoints.glob("step-*"))
            self.write_weights(weights(), step, steps)
            partial.replace(final)
            for folder in older:
                shutil.rmtree(folder)
        accelerator.wait_for_everyone()

    def latest_checkpoint(self) -> Path:
        """The newest checkpoint. Raises InputError where there is none."""
        folders = sorted(self.checkpoints.glob("step-*"))
        if not folders:
            raise InputError(f"{self.folder} was stopped before its first checkpoint: delete it and start again")
        return folders[-1]

    def forget_after(self, step: int) -> None:
        """Drop the metrics of later steps: they will come again."""
        kept = [row for row in self.rows() if row["step"] <= step]
        _replace(self.metrics, "".join(json.dumps(row) + "\n" for row in kept).encode())

    def rows(self) -> list[dict[str, Any]]:
        """The metrics of each epoch so far."""
        return [json.loads(line) for line in self.metrics.read_text().splitlines()] if self.metrics.is_file() else []

    def write_metrics(self, row: dict[str, Any]) -> None:
        """Add an epoch to metrics.jsonl and draw curves.png anew."""
        rows = [*self.rows(), {**row, "hardware": hardware()}]
        _replace(self.metrics, "".join(json.dumps(row) + "\n" for row in rows).encode())
        _draw(rows, self.folder / "curves.png")

    def write_weights(self, state: dict[str, Tensor], step: int, steps: int) -> None:
        """Write the plain network's weights as weights.safetensors, which says after how many of the run's steps."""
        _replace(self.folder / "weights.safetensors", save(state, {"step": str(step), "steps": str(steps)}))


def hardware() -> str:
    """What the processes of this run compute on, in words."""
    state = PartialState()
    if state.device.type == "cpu":
        return machine()
    name = torch.cuda.get_device_name(state.device) if state.device.type == "cuda" else state.device.type
    return f"{state.num_processes} x {name}"


def _read(path: Path) -> Any:
    """The JSON in a file. Raises InputError where it is damaged."""
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path} is damaged: put back what the run wrote, or start again elsewhere") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system takes back when the process ends, however it ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{folder} is in use by a run that goes on: wait for it, or stop it") from error
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Loss, accuracies and the Lipschitz estimate by epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.5), layout="constrained")
    panels = {
        "loss": ("loss",),
        "accuracy": ("train_accuracy", "validation_accuracy", "estimated_vra"),
        "Lipschitz constant of the body": ("lipschitz_estimate",),
    }
    for axes, (title, names) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for name in names:
            measured = [row for row in rows if name in row]
            epochs, values = [row["epoch"] for row in measured], [row[name] for row in measured]
            axes.plot(epochs, values, marker=".", label=name.replace("_", " "))
        axes.set(title=title, xlabel="epoch")
        axes.legend()
    figure.savefig(path.with_suffix(".partial"), format="png", dpi=100)
    path.with_suffix(".partial").replace(path)
