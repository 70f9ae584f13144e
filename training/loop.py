"""The training loop: from a recipe to the weights of a plain network, resumable at every step."""

import math
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any, Self

from accelerate import Accelerator
from accelerate.utils import set_seed
from timm.optim import create_optimizer_v2
from torch import Generator, Tensor, nn, tensor
from torch.nn.utils import parametrize
from tqdm import tqdm

from training.augment import crop_with_padding, flip
from training.constraints import constrain, folded_state
from training.data import EpochOrder, load_training_data, seeded, training_loader
from training.estimate import LipschitzEstimate, margin_lipschitz
from training.output import Output
from training.recipes.recipe import Recipe
from training.validation import validate
from zoo import registry
from zoo.errors import ZooError

LEARNED_RATE = 0.2  # of a learned loss option, in rates of the weights: Zhang et al. 2022, arXiv 2110.06850, appendix


class TrainingError(ZooError):
    """Training cannot go on: the loss is no longer a number."""


class Progress:
    """Where a run stands: the steps made, and the sums of the epoch's statistics so far."""

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
) -> None:
    """Leave in `folder` the recipe, its metrics and curves, a checkpoint and `weights.safetensors`, the plain weights.

    `limit` trains on the first images only; `steps` stops early, the schedules unchanged, and `resume` goes on. On
    one machine a resumed run gives the same bits as one that was never stopped. SIGTERM and Ctrl-C (SIGINT) save and
    return; a second Ctrl-C interrupts at once.
    Raises InputError where the folder or the data cannot be used, TrainingError where the loss is not a number.
    """
    accelerator = Accelerator(mixed_precision=recipe.mixed_precision)
    set_seed(seed)
    entry = registry.find(recipe.name)
    data = load_training_data(entry.dataset, limit)
    output = Output(folder)
    output.open({**recipe.describe(), "seed": seed, "limit": limit, "data_revision": data.revision}, resume)

    network = constrain(entry.architecture.network(), entry.architecture).to(accelerator.device)
    estimate = LipschitzEstimate(network, entry.architecture.input_shape, seed, recipe.power_iterations)
    order = EpochOrder(len(data.train.labels), seed)
    optimizer = create_optimizer_v2(network, opt=recipe.optimizer, lr=recipe.learning_rate, **recipe.optimizer_options)
    learned = nn.ParameterDict({name: tensor(value) for name, value in recipe.learned.items()}).to(accelerator.device)
    if learned:
        optimizer.add_param_group({"params": list(learned.values()), "lr_scale": LEARNED_RATE})
    model, optimizer, loader = accelerator.prepare(
        network, optimizer, training_loader(data.train, recipe.batch_size, order)
    )
    progress = Progress()
    accelerator.register_for_checkpointing(progress, estimate, learned)
    if resume:
        accelerator.load_state(str(output.latest_checkpoint()))

    total = recipe.epochs * len(loader)
    last = total if steps is None else min(steps, total)
    with _Terminated() as terminated, tqdm(total=total, initial=progress.step, disable=None, unit="step") as bar:
        while progress.step < last and not terminated:
            order.epoch = progress.step // len(loader)
            model.train()
            for images, labels in accelerator.skip_first_batches(loader, progress.step % len(loader)):
                started = time.perf_counter()
                rate = recipe.learning_rate * recipe.rate((progress.step + 1) / total)
                epsilon = recipe.training_epsilon(progress.step / total)
                options = recipe.options(progress.step / total) | dict(learned)
                for group in optimizer.param_groups:
                    group["lr"] = rate * group.get("lr_scale", 1.0)
                images = _augment(images, recipe, seeded(seed, progress.step, accelerator.process_index))

                with parametrize.cached():  # one evaluation of the weights for the network and for its estimate
                    logits = model(images.float() / 255)  # (N, C)
                    lipschitz = estimate()
                    margins = margin_lipschitz(lipschitz, network.head.weight)  # (C, C)
                    loss = recipe.loss(logits, labels, margins, epsilon, **options)
                    value = loss.item()
                    if not math.isfinite(value):
                        raise TrainingError(f"the loss is {value} at step {progress.step}: lower the learning rate")
                    accelerator.backward(loss)
                if recipe.clip_norm is not None:
                    accelerator.clip_grad_norm_(model.parameters(), recipe.clip_norm)
                optimizer.step()
                optimizer.zero_grad()

                progress.step += 1
                progress.loss += value * len(labels)
                progress.correct += int((logits.argmax(1) == labels).sum())
                progress.images += len(labels)
                progress.seconds += time.perf_counter() - started
                bar.set_description(f"epoch {order.epoch + 1}/{recipe.epochs}", refresh=False)
                bar.set_postfix(
                    loss=f"{progress.loss / progress.images:.3f}",
                    clean=f"{progress.correct / progress.images:.3f}",
                    K=f"{lipschitz.item():.2f}",
                    images_s=f"{progress.images / progress.seconds:.0f}",
                    refresh=False,
                )
                bar.update()
                if progress.step == last or terminated:
                    break

            if progress.step % len(loader):  # stopped within an epoch, by `steps` or by a signal
                break
            epoch = progress.step // len(loader)
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
            if epoch % recipe.validate_every == 0 or progress.step == total:
                metrics |= validate(network, entry.architecture, estimate, data.validation, recipe.epsilon)
                bar.write(_line(metrics))
            if accelerator.is_main_process:
                output.write_metrics(metrics)
                output.write_weights(folded_state(network))
            output.checkpoint(accelerator, progress.step)

        if progress.step % len(loader):
            output.checkpoint(accelerator, progress.step)
            if accelerator.is_main_process:
                output.write_weights(folded_state(network))


def _augment(images: Tensor, recipe: Recipe, generator: Generator) -> Tensor:
    if recipe.crop_padding:
        images = crop_with_padding(images, recipe.crop_padding, generator)
    return flip(images, generator) if recipe.flip else images


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
