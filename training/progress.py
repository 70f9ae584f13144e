"""The progress of a run: what the terminal shows of it, and what a checkpoint keeps."""

import math
import time

import torch
from accelerate import Accelerator
from torch import Tensor

from zoo.errors import ZooError


class TrainingError(ZooError):
    """Training cannot go on, because the loss is no number or the accuracy has fallen back to chance."""


class Progress:
    """The steps made, the sums of the epoch's statistics so far over all processes, and the best validation so far.

    Steps are counted on the device, without waiting for it; `read` waits.
    """

    KEPT = ("step", "loss", "correct", "images", "seconds", "best_accuracy", "vra")

    def __init__(self, accelerator: Accelerator, batch_size: int):
        self.accelerator, self.batch_size = accelerator, batch_size
        self.step = 0
        self.best_accuracy = 0.0
        self.vra = math.nan  # the last validation's, estimated
        self.start_epoch()
        self.unread = torch.zeros(2, dtype=torch.float64, device=accelerator.device)  # loss, correct answers
        self.start_clock()

    def start_epoch(self) -> None:
        self.loss = self.correct = self.images = self.seconds = 0.0

    def start_clock(self) -> None:
        """Do not count the time since the last reading as training."""
        self.read_step, self.read_time = self.step, time.perf_counter()

    def count(self, counted: Tensor) -> None:
        """Add a step, given what `Learner.step` returned."""
        self.unread += counted
        self.step += 1

    def read(self, asked: bool) -> bool:
        """Bring the statistics up to date; returns whether any process was `asked` to stop. Every process calls it.

        Raises TrainingError if the loss is not a number.
        """
        stop = torch.tensor([float(asked)], dtype=torch.float64, device=self.unread.device)
        total = self.accelerator.reduce(torch.cat([self.unread, stop]))
        assert isinstance(total, Tensor)
        mean_loss, correct, stopping = total.tolist()
        steps = self.step - self.read_step
        mean_loss /= self.accelerator.num_processes * steps
        if not math.isfinite(mean_loss):
            later = "" if steps == 1 else " or soon after"
            raise TrainingError(f"the loss is {mean_loss} at step {self.read_step}{later}: lower the learning rate")
        self.loss += mean_loss * steps * self.batch_size
        self.correct += correct
        self.images += steps * self.batch_size
        self.seconds += time.perf_counter() - self.read_time
        self.unread.zero_()
        self.start_clock()
        return stopping > 0

    def epoch_metrics(self) -> dict[str, float]:
        """The epoch's means so far, and the seconds of its steps alone."""
        return {
            "loss": self.loss / self.images,
            "train_accuracy": self.correct / self.images,
            "images_per_second": self.images / self.seconds,
            "seconds": self.seconds,
        }

    def line(self, lipschitz: float) -> str:
        """The line of the progress bar: the epoch's means, the last estimated VRA and the present estimate of K."""
        means = self.epoch_metrics()
        vra = "-" if math.isnan(self.vra) else f"{self.vra:.3f}"
        return (
            f"loss {means['loss']:.3f} clean {means['train_accuracy']:.3f} VRA {vra} K {lipschitz:.3g} "
            f"{means['images_per_second']:.0f} img/s"
        )

    def state_dict(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in self.KEPT}

    def load_state_dict(self, state: dict[str, float]) -> None:
        vars(self).update(state)
        self.start_clock()
