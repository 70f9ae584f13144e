"""The learner: a network, the estimate of its Lipschitz constant, and the optimiser that moves its weights."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from timm.optim import create_optimizer_v2  # pyright: ignore[reportPrivateImportUsage]  timm's documented place
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.boxes import Boxes
from training.constraints import converge_norms, folded_state
from training.data import Batch, Source, pixels
from training.distance import set_exponent, settle_means
from training.estimate import LipschitzEstimate, RowSums
from training.layers import constrain
from training.liplt import LipLTEstimate
from training.precision import float32
from training.recipes.recipe import Recipe
from training.start import start_from
from training.toomcook import FastConvolutions
from training.validation import Estimate, validate
from zoo.registry import Entry

# The rate of learned loss options over that of weights: Zhang et al. 2022, arXiv 2110.06850, appendix.
LEARNED_RATE = 0.2
SETTLED = 10_000  # training images whose mean stands for that of all


class Learner:
    """Weights that are the same on every process after each step, and a moving average, if any, which is published.

    The average is that of the parameters beneath the constraints. It has an estimate of its own, since the constant of
    averaged weights is not the average of constants.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        recipe: Recipe,
        seed: int,
        entry: Entry,
        start: Mapping[str, Tensor] | None = None,
    ):
        self.accelerator, self.recipe, self.seed, self.entry = accelerator, recipe, seed, entry
        network = constrain(self.entry.architecture.network(), self.entry.architecture)
        if start is not None:
            start_from(network, start)
        network = network.to(accelerator.device)
        self.network = network.to(memory_format=torch.channels_last)  # convolutions are faster so
        self.estimate = self.published_estimate = self._estimate(self.network)
        self.published = self.network
        self.average = None
        if recipe.ema is not None:
            self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema))
            published = self.average.module
            assert isinstance(published, nn.Sequential)
            self.published = published
            self.published_estimate = self._estimate(self.published)
        optimizer = create_optimizer_v2(
            self.network, opt=recipe.optimizer, lr=recipe.learning_rate, **recipe.optimizer_options
        )
        learned = {name: torch.tensor(value) for name, value in recipe.learned.items()}
        self.learned = nn.ParameterDict(learned).to(accelerator.device)
        if learned:
            optimizer.add_param_group({"params": list(self.learned.values()), "lr_scale": LEARNED_RATE})
        self.model, self.optimizer = accelerator.prepare(self.network, optimizer)
        self.lipschitz = torch.full((), torch.nan)  # the last step's estimate for the body

    def _estimate(self, network: nn.Sequential) -> Estimate:
        """The estimate that stands for the proved constants in training, by the model's norm and the recipe."""
        if self.recipe.estimate in ("intervals", "crown"):
            return Boxes(network, self.recipe.training_epsilon(1.0) if self.recipe.estimate == "crown" else None)
        if self.entry.norm == "linf":
            return RowSums(network)
        kind = LipLTEstimate if self.recipe.estimate == "liplt" else LipschitzEstimate
        return kind(network, self.entry.architecture.input_shape, self.seed, self.recipe.power_iterations)

    def states(self) -> list[Any]:
        """What a checkpoint holds besides the model and the optimiser."""
        averaged = [] if self.average is None else [self.average, self.published_estimate]
        return [self.estimate, self.learned, *averaged]

    def step(self, pieces: list[Batch], batch_size: int, before: float, after: float) -> Tensor:
        """Move the weights by a batch of `batch_size` images, of which `pieces` are this process's share.

        `before` and `after` are the run's progress. Returns the share's part of the loss, times the number of
        processes, and its number of correct answers: float64 [2] on the device, for which this does not wait.
        """
        recipe, accelerator = self.recipe, self.accelerator
        self.model.train()
        epsilon = recipe.training_epsilon(before)
        options = recipe.options(before) | dict(self.learned)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * recipe.rate(after) * group.get("lr_scale", 1.0)
        if recipe.exponent is not None:
            set_exponent(self.network, recipe.exponent(before))
        counted = torch.zeros(2, dtype=torch.float64, device=accelerator.device)
        for number, (inputs, labels) in enumerate(pieces, start=1):
            averaged = nullcontext() if number == len(pieces) else accelerator.no_sync(self.model)
            # The constraints are evaluated once for the estimate, which comes first and in float32, and the network.
            with averaged, parametrize.cached():
                with float32():
                    self.lipschitz = self.estimate(improve=number == 1)
                margins = self.estimate.margins(self.lipschitz)  # (C, C)
                images = pixels(inputs).contiguous(memory_format=torch.channels_last)
                with FastConvolutions():
                    logits = self.model(images)  # (N, C)
                if isinstance(self.estimate, Boxes):
                    margins = self.estimate.of_images(images, labels, logits, epsilon)
                loss = recipe.loss(logits, labels, margins, epsilon, **options)
                # Gradients are averaged over the processes, whatever their shares.
                loss = loss * (len(labels) * accelerator.num_processes / batch_size)
                accelerator.backward(loss)
            counted += torch.stack([loss.detach().double(), (logits.argmax(1) == labels).sum().double()])
        for option in self.learned.values():  # outside the model, whose gradients are averaged already
            option.grad = accelerator.reduce(option.grad, "mean")
        if recipe.clip_norm is not None:
            accelerator.clip_grad_norm_(self.model.parameters(), recipe.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.network)
        return counted

    def settle(self, images: Source) -> None:
        """Set what does not depend on the steps: the means of distance layers, over the first 10,000 images."""
        if self.recipe.exponent is not None:
            rows = torch.arange(min(len(images), SETTLED))
            [(settled, _)] = images.batches([(rows, None)])
            settle_means(self.published, pixels(settled))

    def validate(self, images: Source) -> dict[str, float]:
        """`training.validation.validate` of the weights that would be published now."""
        plain = self.entry.architecture.network().to(self.accelerator.device).eval()
        plain.load_state_dict(self.weights())
        with float32():
            return validate(self.accelerator, plain, self.published_estimate, images, self.recipe.epsilon)

    def weights(self) -> dict[str, Tensor]:
        """The weights of the plain network, float32 on the CPU."""
        if self.average is not None:
            converge_norms(self.published)
        return folded_state(self.published)
