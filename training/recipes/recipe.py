"""What a training run is made of."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from torch import Tensor

from training.augment import Augmentation

Loss = Callable[..., Tensor]  # (logits, labels, margin_lipschitz, epsilon, **options) -> scalar


@dataclass(frozen=True)
class Generated:
    """Images of `training.data.load_generated` in every batch: `ratio` for each image of the data set."""

    ratio: int
    augment: tuple[Augmentation, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """One run, from the untrained network to the weights published under the same name."""

    name: str  # the published model's, which names architecture and data set
    epsilon: float  # the radius that the model is made for; validation reports VRA there
    loss: Loss
    epochs: int
    batch_size: int
    learning_rate: float
    loss_options: Mapping[str, float] = field(default_factory=dict)
    optimizer: str = "lookahead_nadam"  # timm's names
    epsilon_ratio: float = 2.0  # the training radius at the end, in epsilons
    warmup: float = 0.025  # the share of the steps in which the learning rate rises
    clip_norm: float = 3.0
    power_iterations: int = 5  # a step, warm
    augment: tuple[Augmentation, ...] = ()  # in this order
    generated: Generated | None = None  # images of a generative model, beside the batch_size of the data set
    mixed_precision: Literal["no", "bf16"] = "no"  # of the forward pass; the Lipschitz estimate is always float32
    validate_every: int = 1  # epochs
    paper: str = ""  # the published figure that the card shows beside ours, with its source and the differences

    def describe(self) -> dict[str, Any]:
        """The JSON form: the loss by its name, each augmentation by its name and settings."""
        augment = [augmentation.describe() for augmentation in self.augment]
        generated = self.generated and {
            "ratio": self.generated.ratio,
            "augment": [augmentation.describe() for augmentation in self.generated.augment],
        }
        options = {"loss": self.loss.__name__, "loss_options": dict(self.loss_options)}
        return {**asdict(self), **options, "augment": augment, "generated": generated}
