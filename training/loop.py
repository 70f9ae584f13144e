"""The training loop: from a recipe to the weights of a plain network, resumable at every step.

It is the same on a CPU, on one GPU and on many machines: every process takes its share of each batch, whose
gradients are averaged, and knows the same Lipschitz estimate.
"""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any, Self

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from timm.optim import create_optimizer_v2
from torch import nn
from torch.nn.utils import parametrize
from tqdm import tqdm

from training.constraints import constrain, folded_state
from training.data import load_generated, load_training_data, pixels
from training.distance import set_exponent
from training.estimate import LipschitzEstimate, RowSums
from training.feed import Feed
from training.liplt import LipLTEstimate
from training.output import Output
from training.recipes.recipe import Recipe
from training.validation import validate
from zoo import registry
from zoo.errors import ZooError

LEARNED_RATE = 0.2  # of a learned loss option, in rates of the weights: Zhang et al. 2022, arXiv 2110.06850, appendix
READ_EVERY = 20  # steps between two looks at what an accelerator has computed: each look waits for it


class TrainingError(ZooError):
    """Training cannot go on: the loss is no longer a number."""


class Progress:
    """Where a run stands: the steps made, and the sums of the epoch's statistics so far, over all processes."""

    def __init__(self) -> None:
        self.step = 0
        self.loss = self.correct = self.images = self.seconds = 0.0

    def start_epoch(self) -> None:
        self.loss = self.correct = self.images = self.seconds = 0.0

    def state_dict(self) -> dict[str, float]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, float]) -> None:
        vars(self).update(state)


def train(
    recipe: Recipe,
    folder: Path,
    seed: int = 0,
    limit: int | None = None,
    steps: int | None = None,
    resume: bool = False,
    images: Path | None = None,
    accumulate: int = 1,
) -> None:
    """Leave in `folder` the recipe, its metrics and curves, a checkpoint and `weights.safetensors`, the plain weights.

    `limit` trains on the first images only, `images` on those of a folder with a subfolder for each class; `steps`
    stops early, the schedules unchanged, and `resume` goes on. On one machine a resumed run gives the same bits as
    one that was never stopped. `accumulate` passes each batch in as many pieces, which changes nothing but rounding
    (and, for layers that are constrained by a power iteration of their own, its number of steps). Many machines
    share `folder`. SIGTERM and Ctrl-C (SIGINT) save and return; a second Ctrl-C interrupts at once.
    Raises InputError where the folder or the data cannot be used, TrainingError where the loss is not a number.
    """
    accelerator = Accelerator(
        mixed_precision=recipe.mixed_precision,
        cpu=not torch.accelerator.is_available(),  # without it, processes on CPUs would not know of each other
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],  # each process computes the same
    )
    device, main = accelerator.device, accelerator.is_main_process
    set_seed(seed)
    entry = registry.find(recipe.name)
    data = load_training_data(entry.dataset, limit, images, device)
    generated = recipe.generated and (
        load_generated(entry.dataset, device),
        recipe.generated.ratio,
        recipe.generated.augment,
    )
    share = (accumulate, accelerator.process_index, accelerator.num_processes)
    feed = Feed(data.train, recipe.batch_size, recipe.augment, seed, generated, *share)
    output = Output(folder)
    description = {**recipe.describe(), "seed": seed, "limit": limit, "data_revision": data.revision}

    with ExitStack() as stack:
        if main:
            stack.enter_context(output.open(description, resume))
        accelerator.wait_for_everyone()
        network = constrain(entry.architecture.network(), entry.architecture).to(device)
        estimate = _estimate(network, entry, recipe, seed)
        optimizer = create_optimizer_v2(
            network, opt=recipe.optimizer, lr=recipe.learning_rate, **recipe.optimizer_options
        )
        learned = nn.ParameterDict({name: torch.tensor(value) for name, value in recipe.learned.items()}).to(device)
        if learned:
            optimizer.add_param_group({"params": list(learned.values()), "lr_scale": LEARNED_RATE})
        model, optimizer = accelerator.prepare(network, optimizer)
        progress = Progress()
        accelerator.register_for_checkpointing(progress, estimate, learned)
        if resume:
            accelerator.load_state(str(output.latest_checkpoint()))
            if main:
                output.forget_after(progress.step)

        total = recipe.epochs * feed.epoch_steps
        last = total if steps is None else min(steps, total)
        read_every = 1 if device.type == "cpu" else READ_EVERY
        sums, since = torch.zeros(2, dtype=torch.float64, device=device), progress.step  # loss, correct answers
        bar = stack.enter_context(tqdm(total=total, initial=since, disable=None if main else True, unit="step"))
        terminated = stack.enter_context(_Terminated())
        started = time.perf_counter()
        for pieces in feed.batches(progress.step, last):
            model.train()
            rate = recipe.learning_rate * recipe.rate((progress.step + 1) / total)
            epsilon = recipe.training_epsilon(progress.step / total)
            options = recipe.options(progress.step / total) | dict(learned)
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("lr_scale", 1.0)
            if recipe.exponent is not None:
                set_exponent(network, recipe.exponent(progress.step / total))
            for number, (inputs, labels) in enumerate(pieces, start=1):
                averaged = nullcontext() if number == len(pieces) else accelerator.no_sync(model)
                # One evaluation of the weights for the network and its estimate: first the estimate, in float32.
                with averaged, parametrize.cached():
                    with _float32():
                        lipschitz = estimate(improve=number == 1)
                    margins = estimate.margins(lipschitz)  # (C, C)
                    logits = model(pixels(inputs))  # (N, C)
                    loss = recipe.loss(logits, labels, margins, epsilon, **options)
                    # Gradients are averaged over the processes, whatever their shares.
                    loss = loss * (len(labels) * accelerator.num_processes / feed.batch_size)
                    accelerator.backward(loss)
                sums += torch.stack([loss.detach().double(), (logits.argmax(1) == labels).sum().double()])
            for option in learned.values():  # outside the model, whose gradients are averaged already
                option.grad = accelerator.reduce(option.grad, "mean")
            if recipe.clip_norm is not None:
                accelerator.clip_grad_norm_(model.parameters(), recipe.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            progress.step += 1

            bar.update()
            whole_epoch = progress.step % feed.epoch_steps == 0
            if not (progress.step % read_every == 0 or whole_epoch or progress.step == last):
                continue
            asked = torch.tensor([float(bool(terminated))], dtype=torch.float64, device=device)
            mean_loss, correct, stop = accelerator.reduce(torch.cat([sums, asked])).tolist()
            mean_loss /= accelerator.num_processes * (progress.step - since)
            if not math.isfinite(mean_loss):
                raise TrainingError(
                    f"the loss is {mean_loss} at step {since}{'' if since + 1 == progress.step else ' or soon after'}: "
                    "lower the learning rate"
                )
            now = time.perf_counter()
            count = (progress.step - since) * feed.batch_size
            progress.loss += mean_loss * count
            progress.correct += correct
            progress.images += count
            progress.seconds += now - started
            since, started = progress.step, now
            sums.zero_()
            epoch = math.ceil(progress.step / feed.epoch_steps)
            bar.set_description(f"epoch {epoch}/{recipe.epochs}", refresh=False)
            bar.set_postfix(
                loss=f"{progress.loss / progress.images:.3f}",
                clean=f"{progress.correct / progress.images:.3f}",
                K=f"{lipschitz.item():.2f}",
                images_s=f"{progress.images / progress.seconds:.0f}",
                refresh=False,
            )

            if whole_epoch:
                metrics: dict[str, Any] = {
                    "epoch": epoch,
                    "step": progress.step,
                    "learning_rate": rate,
                    "epsilon": epsilon,
                    "loss": progress.loss / progress.images,
                    "train_accuracy": progress.correct / progress.images,
                    "images_per_second": progress.images / progress.seconds,
                }
                progress.start_epoch()
                if validated := epoch % recipe.validate_every == 0 or progress.step == total:
                    with _float32():
                        metrics |= validate(
                            accelerator, network, entry.architecture, estimate, data.validation, recipe.epsilon
                        )
                    bar.write(_line(metrics))
                if main:
                    output.write_metrics(metrics)
            if stop or progress.step == last or (whole_epoch and validated):
                output.checkpoint(accelerator, progress.step)
                if main:
                    output.write_weights(folded_state(network))
            if stop:
                break
            started = time.perf_counter()
    accelerator.end_training()


def _estimate(
    network: nn.Sequential, entry: registry.Entry, recipe: Recipe, seed: int
) -> LipschitzEstimate | LipLTEstimate | RowSums:
    """What stands for the proved constants while the network is trained, by the model's norm and the recipe."""
    if entry.norm == "linf":
        return RowSums(network)
    kind = LipLTEstimate if recipe.estimate == "liplt" else LipschitzEstimate
    return kind(network, entry.architecture.input_shape, seed, recipe.power_iterations)


@contextmanager
def _float32() -> Iterator[None]:
    """Convolutions on a GPU in float32, not in TF32 with its 10 bits: for what an estimate or validation reports."""
    with torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled,
        benchmark=torch.backends.cudnn.benchmark,
        deterministic=torch.backends.cudnn.deterministic,
        allow_tf32=False,
    ):
        yield


def _line(metrics: dict[str, Any]) -> str:
    """An epoch's numbers for the terminal."""
    return (
        f"epoch {metrics['epoch']}: loss {metrics['loss']:.4f}, train {metrics['train_accuracy']:.4f}, validation "
        f"{metrics['validation_accuracy']:.4f}, estimated VRA {metrics['estimated_vra']:.4f}, "
        f"K {metrics['lipschitz_estimate']:.3f}, {metrics['images_per_second']:.0f} images/s"
    )


class _Terminated:
    """False until the process is asked to end by SIGTERM or SIGINT, which it then outlives until the block is left.

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
