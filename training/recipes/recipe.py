"""What a training run is made of."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from torch import Tensor

from training.augment import Augmentation
from training.schedules import Cosine, Schedule

Loss = Callable[..., Tensor]  # (logits, labels, margin_lipschitz, epsilon, **options) -> scalar

WARM_UP = Cosine(warmup=0.025)


@dataclass(frozen=True)
class Generated:
    """Images of `training.data.load_generated` in every batch: `ratio` for each image of the data set."""

    ratio: int
    augment: tuple[Augmentation, ...] = ()


@dataclass(frozen=True)
class Published:
    """A result in print, in percent, None where the source does not give it; `str` is what the card says of it."""

    clean: float | None
    vra: float | None
    source: str
    at: str = "36/255"  # the radius of the VRA
    hardware: str = ""  # of one run
    of: str = ""  # what it is a result of, where that is not this recipe
    note: str = ""

    def __str__(self) -> str:
        clean = [] if self.clean is None else [f"{self.clean} % clean"]
        vra = [] if self.vra is None else [f"{self.vra} % VRA at {self.at}"]
        figures = ", ".join([*clean, *vra, *([f"on {self.hardware}"] if self.hardware else [])])
        note = f"; {self.note}" if self.note else ""
        return f"{self.of}{': ' if self.of else ''}{figures or 'no figures'} ({self.source}){note}"


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
    ema: float | None = None  # what the published weights, a moving average, keep of themselves in a step; no paper's
    estimate: Literal["product", "liplt"] = "product"  # of the margin constants
    power_iterations: int = 5  # a step, warm
    augment: tuple[Augmentation, ...] = ()  # in this order
    generated: Generated | None = None  # images of a generative model, beside the batch_size of the data set
    mixed_precision: Literal["no", "bf16"] = "no"  # of the forward pass; the Lipschitz estimate is always float32
    validate_every: int = 1  # epochs
    published: Published | None = None  # what the card shows beside ours
    time: str = ""  # of one run, measured by us, and on what

    @property
    def paper(self) -> str:
        """The published result in words, empty where there is none."""
        return str(self.published) if self.published else ""

    def options(self, progress: float) -> dict[str, float | str]:
        """The options of the loss at this progress, schedules evaluated."""
        return {
            name: value(progress) if isinstance(value, Schedule) else value for name, value in self.loss_options.items()
        }

    def describe(self) -> dict[str, Any]:
        """The JSON form: the loss and each augmentation by name, a schedule by its form, an infinite number as text."""
        settings = [entry.name for entry in fields(self) if entry.name not in ("published", "time")]
        return {name: _plain(getattr(self, name)) for name in (*settings, "paper")}

    def expected(self) -> dict[str, float | str]:
        """Clean accuracy and VRA that the paper has of this very recipe, in percent, and what a run took."""
        published = self.published if self.published and not self.published.of else None
        known = {
            "clean": published and published.clean,
            "vra": published and published.vra,
            "hardware": published and published.hardware,
            "time": self.time,
        }
        return {name: value or "not stated" for name, value in known.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Schedule):
        return {"schedule": type(value).__name__, **_plain(asdict(value))}
    if isinstance(value, Augmentation):
        return value.describe()
    if isinstance(value, Generated):
        return {"ratio": value.ratio, "augment": _plain(value.augment)}
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value.__name__ if callable(value) else value
