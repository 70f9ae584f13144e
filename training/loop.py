"""The training loop: from a recipe to the weights of a plain network, resumable at every step.

It is the same on a CPU, on one GPU and on many machines: every process takes its share of each batch, gradients are
averaged, and all processes know the same Lipschitz estimate. FSDP, DeepSpeed and Megatron-LM are refused: constraints
and norms need whole weights, of which a process would have only a shard. The zoo's largest network has 2.2 billion
weights, which take up to 43 GB with gradients and optimiser.
"""

import math
import os
import signal
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, Self

import torch
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import DistributedDataParallelKwargs, set_seed, str_to_bool
from tqdm import tqdm

from training.data import in_memory, load_generated, load_training_data
from training.feed import Feed
from training.learner import Learner
from training.output import Output
from training.own import RECORD, OwnData
from training.pictures import open_pictures
from training.precision import available
from training.progress import Progress, TrainingError
from training.recipes.recipe import Recipe
from training.start import Start
from training.validation import vanished
from zoo import registry
from zoo.data.datasets import DATASETS
from zoo.errors import InputError, MissingPackageError

AGAIN = 0.5  # where the schedules of a run begin that goes on from a model's weights, for the same classes
READ_EVERY = 20  # steps between two looks at an accelerator's results, since each look waits for it
SHARDED = {  # the variables that `accelerate launch` sets for what is refused
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}


def train(
    recipe: Recipe,
    folder: Path,
    seed: int = 0,
    limit: int | None = None,
    steps: int | None = None,
    resume: bool = False,
    images: Path | None = None,
    accumulate: int = 1,
    tracker: str | None = None,
    own: OwnData | None = None,
    start: Start | None = None,
) -> bool:
    """Train by the recipe; `folder` gets the recipe, metrics, curves, a checkpoint and the plain `weights.safetensors`.

    Returns true once the last step is made. SIGTERM and Ctrl-C (SIGINT) save and return false; a second Ctrl-C
    interrupts at once. On one machine a resumed run gives the same bits as one that was never stopped.
    limit: train on the first images only.
    images: a folder to take the images from, with a subfolder for each class of the data set.
    own: a data set of somebody's own, after which the recipe is named.
    start: a model from whose weights to start, with a new head if the classes are others. If they are the same, the
        schedules begin half-way, where the training radius of most recipes has its last value.
    steps: stop after so many steps, with unchanged schedules. resume: go on with the run in `folder`, which is shared
        if there are several machines.
    accumulate: pass each batch in so many pieces, which changes only rounding; but layers that are constrained by a
        power iteration of their own make more steps, and those that subtract a mean over the batch (distance nets,
        LiResNet++, BRONet) subtract that of a piece.
    tracker: one of Accelerate's, which gets each epoch's metrics too; its files are in `folder`/tracker.
    Raises InputError where the seed, folder, data, tracker or kind of launch cannot be used, TrainingError where
    the loss is not a number or the accuracy falls back to chance, which leaves the checkpoint before that.
    """
    if not 0 <= seed < 2**32:
        raise InputError(f"a seed is a whole number from 0 to 4,294,967,295, got {seed}")
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    precision = available(recipe.mixed_precision, device)
    imitated, recipe = precision != recipe.mixed_precision, replace(recipe, mixed_precision=precision)
    accelerator = _accelerator(recipe, folder, tracker)
    device, main = accelerator.device, accelerator.is_main_process
    set_seed(seed)
    entry = own.entry if own else registry.find(recipe.name)
    if own:
        pictures = open_pictures(own.data, "train", own.labels)
        data = in_memory(pictures.split("train", own.input_shape, limit), device)
    else:
        data = load_training_data(entry.dataset, limit, images, device)
    generated = recipe.generated and (
        load_generated(entry.dataset, device),
        recipe.generated.ratio,
        recipe.generated.augment,
    )
    share = (accumulate, accelerator.process_index, accelerator.num_processes)
    feed = Feed(data.train, recipe.batch_size, recipe.augment, seed, generated, *share)
    output = Output(folder)
    counts = {"train_images": len(data.train), "validation_images": len(data.validation)}
    given = {"seed": seed, "limit": limit, "data": images and images.resolve().name}
    weights, begin = None, 0.0
    if start:
        labels = own.labels if own else DATASETS[entry.dataset].labels
        weights = start.weights(entry.architecture, labels)
        begin = AGAIN if start.folder.config.labels == labels else 0.0
        given |= {**start.describe(), "schedules_from": begin}
    if own:
        given |= own.settings()
    elif (part := data.name.removesuffix(f"[:{limit}]")) != "train" and images is None:
        given["split"] = part
        if main:
            print(f"training on {part}: a part of the split, the other shards are not there", file=sys.stderr)
    description = {**recipe.describe(), **given, **counts, "data_revision": data.revision}
    total = recipe.epochs * feed.epoch_steps
    last = total if steps is None else min(steps, total)
    read_every = 1 if device.type == "cpu" else READ_EVERY

    with ExitStack() as stack:
        if main:
            stack.enter_context(output.open(description, resume))
            if imitated:
                print("this CPU would imitate bfloat16: training in float32, as the run records", file=sys.stderr)
            if own:
                output.write_record(RECORD, own)
        accelerator.wait_for_everyone()
        learner = Learner(accelerator, recipe, seed, entry, weights)
        progress = Progress(accelerator, feed.batch_size)
        accelerator.register_for_checkpointing(progress, *learner.states())
        if resume:
            output.load(accelerator)
            if main:
                output.forget_after(progress.step)
                if progress.step >= last:  # otherwise they are written after a later step
                    output.write_weights(learner.weights(), progress.step, total)
        # TensorBoard hides the later steps of a run that was stopped without a checkpoint: they will come again.
        accelerator.init_trackers(recipe.name, init_kwargs={"tensorboard": {"purge_step": progress.step + 1}})
        bar = stack.enter_context(_bar(total, progress.step, main))
        terminated = stack.enter_context(_Terminated())
        progress.start_clock()
        for pieces in feed.batches(progress.step, last):
            before, after = (begin + (1 - begin) * step / total for step in (progress.step, progress.step + 1))
            progress.count(learner.step(pieces, feed.batch_size, before, after))
            bar.update()
            whole_epoch = progress.step % feed.epoch_steps == 0
            if not (progress.step % read_every == 0 or whole_epoch or progress.step == last):
                continue
            stop = progress.read(bool(terminated))
            epoch = math.ceil(progress.step / feed.epoch_steps)
            bar.set_description_str(f"epoch {epoch}/{recipe.epochs}", refresh=False)
            bar.set_postfix_str(progress.line(learner.lipschitz.item()), refresh=False)

            validated = whole_epoch and (epoch % recipe.validate_every == 0 or progress.step == total)
            saved = stop or progress.step == last or validated
            if saved:
                learner.settle(data.train)
            if whole_epoch:
                metrics: dict[str, Any] = {
                    "epoch": epoch,
                    "step": progress.step,
                    "learning_rate": recipe.learning_rate * recipe.rate(after),
                    "epsilon": recipe.training_epsilon(before),
                    **progress.epoch_metrics(),
                }
                progress.start_epoch()
                if validated:
                    metrics |= learner.validate(data.validation)
                    if recipe.exponent is None or recipe.exponent(before) == math.inf:  # else it validates another net
                        _follow_accuracy(metrics, progress, len(data.validation), entry.architecture.classes)
                    progress.vra = metrics["estimated_vra"]
                if main:
                    if validated:
                        bar.write(_line(metrics))
                    output.write_metrics(metrics, draw=validated)
                accelerator.log(metrics, step=progress.step)
            if saved:
                output.checkpoint(accelerator, learner.weights, progress.step, total)
            if stop:
                break
            progress.start_clock()
    accelerator.end_training()
    return progress.step >= last


def _accelerator(recipe: Recipe, folder: Path, tracker: str | None) -> Accelerator:
    """Accelerate for this launch, with whole weights in every process. Raises InputError, MissingPackageError."""
    for variable, name in SHARDED.items():
        if str_to_bool(os.environ.get(variable, "false")):
            raise InputError(f"{name} cuts weights into shards, whose norms are not known: launch without it, as DDP")
    if tracker is not None and tracker not in LOGGER_TYPE_TO_CLASS:
        raise InputError(f"no tracker is called {tracker[:80]!r}: Accelerate knows {', '.join(LOGGER_TYPE_TO_CLASS)}")
    if tracker is not None and tracker not in map(str, get_available_trackers()):
        if tracker == "tensorboard":
            raise MissingPackageError(tracker, "train")
        raise InputError(f"the tracker {tracker} is not installed: run pip install {tracker}")
    return Accelerator(
        mixed_precision=recipe.mixed_precision,
        cpu=not torch.accelerator.is_available(),  # or processes on CPUs would not know of each other
        log_with=tracker,
        project_dir=folder / "tracker",
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],  # each process computes the same
    )


def _follow_accuracy(metrics: dict[str, Any], progress: Progress, images: int, classes: int) -> None:
    """Keep the best accuracy; raise TrainingError if it has fallen back to chance, see `vanished`."""
    accuracy, best = metrics["validation_accuracy"], progress.best_accuracy
    if vanished(accuracy, best, images, classes):
        raise TrainingError(
            f"the validation accuracy fell from {best:.4f} to {accuracy:.4f}, chance, by step {progress.step}: "
            "lower the learning rate; the last checkpoint before is kept"
        )
    progress.best_accuracy = max(best, accuracy)


def _bar(total: int, step: int, shown: bool) -> tqdm:
    """The progress bar on stderr; only where that is a terminal."""
    form = "{desc} {percentage:3.0f}% {remaining} left{postfix}"
    return tqdm(total=total, initial=step, disable=None if shown else True, bar_format=form, dynamic_ncols=True)


def _line(metrics: dict[str, Any]) -> str:
    """An epoch's numbers for the terminal."""
    return (
        f"epoch {metrics['epoch']}: loss {metrics['loss']:.4f}, train {metrics['train_accuracy']:.4f}, validation "
        f"{metrics['validation_accuracy']:.4f}, estimated VRA {metrics['estimated_vra']:.4f}, "
        f"K {metrics['lipschitz_estimate']:.3f}, {metrics['images_per_second']:.0f} images/s"
    )


class _Terminated:
    """False until SIGTERM or SIGINT asks the process to end, which it does not do while the block runs.

    A second SIGINT raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.asked = False

    def __bool__(self) -> bool:
        return self.asked

    def __enter__(self) -> Self:
        self.previous = {number: signal.signal(number, self._ask) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
