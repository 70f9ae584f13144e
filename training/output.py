"""The folder of a run: recipe.json, metrics.jsonl, curves.png, weights.safetensors and checkpoints/.

A run on a data set of somebody's own also has data.json, see `training.own`.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from zoo.errors import InputError, one_line
from zoo.files import flush, locked, replacing, sha256, sums_text, write_whole
from zoo.machine import machine
from zoo.publication.weights import data_start
from zoo.records import dumps

SUMS = "SHA256SUMS"  # of a checkpoint's files, in the format of coreutils


class Output:
    """Writes each file whole or not at all, so that a run stopped at any moment can be resumed."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.metrics = folder / "metrics.jsonl"
        self.weights = folder / "weights.safetensors"

    @contextmanager
    def open(self, description: dict[str, Any], resume: bool) -> Iterator[None]:
        """Start the folder, or with `resume` find the same recipe in it; keep other processes out during the block.

        Raises InputError if the folder is in use, or has no run or another one to resume.
        """
        path = self.folder / "recipe.json"
        text = json.dumps(description, indent=1) + "\n"
        if resume and not path.is_file():
            raise InputError(f"{self.folder} has no run to resume: leave out --resume")
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file: choose another --output")
        if not resume and self.folder.exists() and any(self.folder.iterdir()):
            raise InputError(f"{self.folder} is not empty: choose another --output, or --resume the run in it")
        self.folder.mkdir(parents=True, exist_ok=True)
        busy = InputError(f"{self.folder} is in use by a run that goes on: wait for it, or stop it")
        with locked(self.folder, busy):
            if not resume:
                write_whole(path, text)
            elif others := _differing(_read(path), json.loads(text)):
                alike = "on a machine with that precision" if others == ["mixed_precision"] else "with the same options"
                raise InputError(f"{path} describes another run (see its {', '.join(others)}): resume {alike}")
            yield

    def write_record(self, name: str, record: Any) -> None:
        """Write a record of the run, see `zoo.records.dumps`."""
        write_whole(self.folder / name, dumps(record))

    def checkpoint(
        self, accelerator: Accelerator, weights: Callable[[], dict[str, Tensor]], step: int, steps: int
    ) -> None:
        """Save the whole state of training and the weights, then drop the older state. Every process calls it.

        The weights are put in place before the checkpoint, so that none is without them. `weights` is called after the
        state is saved, because it may change it.
        """
        partial, final = self.checkpoints / "partial", self.checkpoints / f"step-{step:08d}"
        if accelerator.is_main_process and partial.exists():  # of a run that was stopped while it saved
            shutil.rmtree(partial)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(partial))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            write_whole(partial / SUMS, _sums(partial))
            older = list(self.checkpoints.glob("step-*"))
            self.write_weights(weights(), step, steps)
            partial.replace(final)
            for folder in older:
                shutil.rmtree(folder)
        accelerator.wait_for_everyone()

    def latest_checkpoint(self) -> Path:
        """The newest checkpoint. Raises InputError if there is none, or a file in it is missing or damaged."""
        folders = sorted(self.checkpoints.glob("step-*"))
        if not folders:
            raise InputError(f"{self.folder} was stopped before its first checkpoint: delete it and start again")
        *older, newest = folders
        if not (newest / SUMS).is_file():
            raise InputError(f"{newest / SUMS} is missing: {self._left(newest, older)}")
        lines = (newest / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
        if not lines:
            raise InputError(f"{newest / SUMS} is empty: {self._left(newest, older)}")
        for line in lines:
            digest, _, name = line.partition("  ")
            if not (newest / name).is_file():
                raise InputError(f"{newest / name} is missing: {self._left(newest, older)}")
            if sha256(newest / name) != digest:
                raise InputError(f"{newest / name} is damaged: {self._left(newest, older)}")
        return newest

    def load(self, accelerator: Accelerator) -> None:
        """Bring everything to the state of the newest checkpoint. Every process calls it. Raises InputError."""
        newest = self.latest_checkpoint()
        try:
            accelerator.load_state(str(newest))
        except Exception as error:  # its files have many readers
            raise InputError(f"{newest} cannot be read: {one_line(error)}") from error

    def _left(self, damaged: Path, older: list[Path]) -> str:
        """What to do about a run whose newest checkpoint is damaged."""
        if older:
            return f"delete {damaged}, and --resume goes on from {older[-1].name}"
        try:
            step, steps = trained_steps(self.weights)
        except InputError:
            return "nothing is left to resume from, start again in another folder"
        return (
            f"no checkpoint is left to resume from, but the weights after {step} of {steps} steps are: "
            f"`python -m export {self.folder}` publishes them, or start again in another folder"
        )

    def forget_after(self, step: int) -> None:
        """Drop the metrics of later steps, which will come again."""
        kept = [row for row in self.rows() if row["step"] <= step]
        write_whole(self.metrics, "".join(json.dumps(row) + "\n" for row in kept))

    def rows(self) -> list[dict[str, Any]]:
        """The metrics of each epoch so far. Raises InputError where they are damaged."""
        if not self.metrics.is_file():
            return []
        rows = []
        for number, line in enumerate(self.metrics.read_bytes().splitlines(), start=1):
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict) or not {"step", "seconds"} <= row.keys():
                raise InputError(f"{self.metrics} is damaged in line {number}: delete that line to go on without it")
            rows.append(row)
        return rows

    def write_metrics(self, row: dict[str, Any], draw: bool) -> None:
        """Add an epoch to metrics.jsonl, and with `draw` renew curves.png, which takes as long as many short epochs."""
        rows = [*self.rows(), {**row, "hardware": hardware()}]
        write_whole(self.metrics, "".join(json.dumps(row) + "\n" for row in rows))
        if draw:
            _draw(rows, self.folder / "curves.png")

    def write_weights(self, state: dict[str, Tensor], step: int, steps: int) -> None:
        """Write the plain network's weights as weights.safetensors, with `step` and `steps` in its metadata.

        The same weights give the same bytes.
        """
        content = save(state, {"step": str(step), "steps": str(steps)})
        start = data_start(content)
        header = json.loads(content[8:start])
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))  # which safetensors leaves to chance
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(start - 8)
        write_whole(self.weights, content[:8] + text + content[start:])


def trained_steps(weights: Path) -> tuple[int, int]:
    """The steps after which a run wrote these weights, and all steps of the run. Raises InputError without them."""
    try:
        with safe_open(weights, "pt") as file:
            said = file.metadata() or {}
        return int(said["step"]), int(said["steps"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(
            f"{weights} holds no weights that say how far they were trained: train with --resume, which writes them "
            "again, or anew"
        ) from error


def hardware() -> str:
    """The hardware that the processes of this run compute on, in words."""
    state = PartialState()
    device = state.device
    assert device is not None
    if device.type == "cpu":
        return machine()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{state.num_processes} x {name}"


def _read(path: Path) -> Any:
    """The JSON in a file. Raises InputError where it is damaged."""
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path} is damaged: put back what the run wrote, or start again elsewhere") from error


def _differing(run: Any, other: dict[str, Any]) -> list[str]:
    """The first three entries that two descriptions of runs do not share."""
    entries = run if isinstance(run, dict) else {}
    return [key for key in entries | other if entries.get(key, ...) != other.get(key, ...)][:3]


def _sums(folder: Path) -> str:
    """A line with the sha256 of each file in the folder, once all of them are on the disk."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        flush(path)
    return sums_text({path.relative_to(folder).as_posix(): sha256(path) for path in files})


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
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=100)
