"""The types that the files of families use: the protocol of their classes, and the rows of their tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    from torch import nn


class Architecture(Protocol):
    """Frozen sizes, and the untrained network that has them. Each family's class follows this protocol."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    citation: ClassVar[str]  # whose work a network of this family is

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        ...

    @property
    def classes(self) -> int: ...

    def network(self) -> nn.Sequential:
        """The untrained network on [N, *input_shape]; `head`, a Linear, is its last child."""
        ...


class SquareImages:
    """The input of families that take square images, for their class to inherit."""

    input_size: int
    channels: int

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (self.channels, self.input_size, self.input_size)

    def check_side(self, multiple: int) -> None:
        """Raise ValueError unless the side is a multiple of so many pixels."""
        if self.input_size % multiple:
            raise ValueError(f"the side of the images must be a multiple of {multiple} pixels, got {self.input_size}")


@dataclass(frozen=True)
class Reported:
    """What a paper reports of a model, in percent."""

    clean: float | None  # None where the paper does not give it
    vra: float
    epsilon: str  # in the model's norm, pixels of [0, 1]
    source: str


@dataclass(frozen=True)
class Preset:
    """A registered model: a network of its family's table on a data set."""

    network: str
    dataset: str
    reported: Reported | None = None
    norm: Literal["l2", "linf"] = "l2"
    sizes: Mapping[str, int] = field(default_factory=dict)  # that replace the network's own
