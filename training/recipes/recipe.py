"""What a training run is made of."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from torch import Tensor

from training.augment import Augmentation
from training.schedules import Cosine, Schedule
from zoo.registry import find

Loss = Callable[..., Tensor]  # (logits, labels, margin_lipschitz, epsilon, **options) -> scalar

WARM_UP = Cosine(warmup=0.025)


@dataclass(frozen=True)
class Generated:
    """Images of `training.data.load_generated` in every batch: `ratio` for each image of the data set."""

    ratio: int
    augment: tuple[Augmentation, ...] = ()


@dataclass(frozen=True)
class Paper:
    """A published row, for cards and leaderboard to show beside ours; rates in percent."""

    model: str  # the registered name of the row's network, whose recipe has the row's settings
    clean: float | None  # None where the paper does not give it
    vra: float
    epsilon: str  # in the model's norm, pixels of [0, 1]
    source: str
    hardware: str = ""  # of one run, where the paper says
    train_images: int | None = None  # None for the whole training split
    settings_known: bool = True  # False where we do not know the row's settings, which then no recipe has
    unlike: tuple[str, ...] = ()  # in words, in what else our runs differ from the row, beside the settings

    @classmethod
    def of(cls, model: str, **more: Any) -> "Paper":
        """The row that the table of the model's family has of it, and what else the paper says."""
        reported = find(model).reported
        if reported is None:
            raise ValueError(f"no paper's row is registered for {model}")
        return cls(model, reported.clean, reported.vra, reported.epsilon, reported.source, **more)


@dataclass(frozen=True)
class Recipe:
    """One run, from the untrained network to the weights published under the same name."""

    name: str  # the published model's, which names architecture, data set and, where there are several, the training
    epsilon: float  # the radius that the model is made for; validation reports VRA there
    loss: Loss
    training_epsilon: Schedule  # the radius that the loss is given
    epochs: int
    batch_size: int
    learning_rate: float
    rate: Schedule = WARM_UP  # the learning rate's factor
    loss_options: Mapping[str, float | str | Schedule] = field(default_factory=dict)
    learned: Mapping[str, float] = field(default_factory=dict)  # loss options that are trained too, from these values
    exponent: Schedule | None = None  # of l_p distance neurons; None for a network that has none
    optimizer: str = "lookahead_nadam"  # timm's names
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)  # timm's, such as betas, eps, weight_decay
    clip_norm: float | None = 3.0  # of the gradient
    ema: float | None = None  # decay of the moving average of the weights, which is published; our own addition
    # Of the margin constants; the last two are those of each image, in l-infinity: see `training.boxes`.
    estimate: Literal["product", "liplt", "intervals", "crown"] = "product"
    power_iterations: int = 5  # a step, warm
    augment: tuple[Augmentation, ...] = ()  # in this order
    generated: Generated | None = None  # images of a generative model, beside the batch_size of the data set
    mixed_precision: Literal["no", "bf16"] = "no"  # of the forward pass; the Lipschitz estimate is always float32
    validate_every: int = 1  # epochs
    paper: Paper | None = None  # the row that this run stands for, where there is one
    time: str = ""  # of one run, measured by us, and on what

    def options(self, progress: float) -> dict[str, float | str]:
        """The options of the loss at this progress, schedules evaluated."""
        return {
            name: value(progress) if isinstance(value, Schedule) else value for name, value in self.loss_options.items()
        }

    def describe(self) -> dict[str, Any]:
        """The JSON form: the loss and each augmentation by name, a schedule by its form, an infinite number as text."""
        return {entry.name: _plain(getattr(self, entry.name)) for entry in fields(self) if entry.name != "time"}

    def row(self) -> Paper | None:
        """The published row of this very recipe, where there is one."""
        return self.paper if self.paper and self.paper.model == self.name else None

    def expected(self) -> dict[str, float | str]:
        """Clean accuracy and VRA that the paper has of this very recipe, in percent, and what a run took."""
        row = self.row()
        known = {
            "clean": row and row.clean,
            "vra": row and row.vra,
            "hardware": row and row.hardware,
            "time": self.time,
        }
        return {name: value or "not stated" for name, value in known.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Schedule):
        return {"schedule": type(value).__name__, **_plain(asdict(value))}
    if isinstance(value, Augmentation):
        return value.describe()
    if isinstance(value, Paper):
        return _plain(asdict(value))
    if isinstance(value, Generated):
        return {"ratio": value.ratio, "augment": _plain(value.augment)}
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value.__name__ if callable(value) else value
