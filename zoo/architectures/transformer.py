"""Lipschitz transformers of the LiResNet paper: other token mixings than attention, no layer normalisation.

Source: Hu et al. 2023, arXiv 2301.12549, appendix I and table 7. The paper gives names and results but no layers, and
no code is public; what follows is our own definition. The tokens are the 16 x 16 cells behind LiResNet's stem, and neck
and head are LiResNet's. Spatial mixing is the linear residual X + diag(beta) A X / sqrt(L) over the tokens, beta one
number a token, with no activation, as in ResMLP. OLSA is the conventional residual x + W attention(x), attention being
`zoo.layers.SelfAttention`. LiFFN is the linear residual over the channels of a token; FFN the conventional one,
x + W_2 MinMax(W_1 x), its hidden width the network's. MinMax follows either.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from zoo.architectures.liresnet import Backbone
from zoo.architectures.preset import Preset, Reported
from zoo.citations import HU

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Transformer(Backbone):
    """A mixing of the tokens, then LiFFN or FFN, `depth` times."""

    citation: ClassVar[str] = f"{HU}, with layers by our own definition, for theirs are not described"

    feedforward: Literal["liffn", "ffn"] = "liffn"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.feedforward not in ("liffn", "ffn"):
            raise ValueError(f"feedforward is 'liffn' or 'ffn', got {self.feedforward!r}")

    @abstractmethod
    def mixing(self) -> nn.Module:
        """The layer in which tokens see each other."""

    def block(self, number: int) -> dict[str, nn.Module]:
        from torch import nn

        from zoo.layers import MinMax, Residual

        linear = nn.Conv2d(self.width, self.width, 1)
        conventional = (MinMax("halves"), nn.Conv2d(self.width, self.width, 1))
        return {
            f"mixing{number}": self.mixing(),
            f"block{number}": linear if self.feedforward == "liffn" else Residual(linear, *conventional),
            f"block{number}_activation": MinMax("halves"),
        }


@dataclass(frozen=True)
class SpatialMLP(Transformer):
    """One matrix over the tokens, the same for every channel."""

    def mixing(self) -> nn.Module:
        from zoo.layers import TokenLinear

        return TokenLinear(self.map_size**2)


@dataclass(frozen=True)
class OLSA(Transformer):
    """One-Lipschitz self-attention of `heads` heads, then a linear map of each token, beside the identity."""

    heads: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(f"width {self.width} cannot be cut into {self.heads} equal heads")

    def mixing(self) -> nn.Module:
        from torch import nn

        from zoo.layers import Residual, SelfAttention

        return Residual(SelfAttention(self.width, self.heads), nn.Conv2d(self.width, self.width, 1))


NETWORKS = {
    "spatialmlp-liffn-l12w256": SpatialMLP(12, 256),
    "spatialmlp-ffn-l12w256": SpatialMLP(12, 256, feedforward="ffn"),
    "spatialmlp-liffn-l4w32": SpatialMLP(4, 32, features=256),
    "spatialmlp-ffn-l4w32": SpatialMLP(4, 32, features=256, feedforward="ffn"),
    "olsa-liffn-l12w256": OLSA(12, 256),
    "olsa-ffn-l12w256": OLSA(12, 256, feedforward="ffn"),
    "olsa-liffn-l4w32": OLSA(4, 32, features=256),
    "olsa-ffn-l4w32": OLSA(4, 32, features=256, feedforward="ffn"),
}


def _row(vra: float) -> Reported:
    return Reported(None, vra, "36/255", "Hu et al. 2023, table 7, whose layers are not described")


PRESETS = {
    "spatialmlp-liffn-l12w256-cifar10": Preset("spatialmlp-liffn-l12w256", "cifar10", _row(63.3)),
    "spatialmlp-liffn-l12w256-cifar10-jpeg75": Preset("spatialmlp-liffn-l12w256", "cifar10-jpeg75"),
    "spatialmlp-liffn-l12w256-cifar100": Preset("spatialmlp-liffn-l12w256", "cifar100", _row(36.5)),
    "spatialmlp-ffn-l12w256-cifar10": Preset("spatialmlp-ffn-l12w256", "cifar10", _row(62.6)),
    "spatialmlp-ffn-l12w256-cifar10-jpeg75": Preset("spatialmlp-ffn-l12w256", "cifar10-jpeg75"),
    "spatialmlp-ffn-l12w256-cifar100": Preset("spatialmlp-ffn-l12w256", "cifar100", _row(33.7)),
    "spatialmlp-liffn-l4w32-cifar10": Preset("spatialmlp-liffn-l4w32", "cifar10"),
    "spatialmlp-liffn-l4w32-cifar10-jpeg75": Preset("spatialmlp-liffn-l4w32", "cifar10-jpeg75"),
    "spatialmlp-liffn-l4w32-cifar100": Preset("spatialmlp-liffn-l4w32", "cifar100"),
    "spatialmlp-ffn-l4w32-cifar10": Preset("spatialmlp-ffn-l4w32", "cifar10"),
    "spatialmlp-ffn-l4w32-cifar10-jpeg75": Preset("spatialmlp-ffn-l4w32", "cifar10-jpeg75"),
    "spatialmlp-ffn-l4w32-cifar100": Preset("spatialmlp-ffn-l4w32", "cifar100"),
    "olsa-liffn-l12w256-cifar10": Preset("olsa-liffn-l12w256", "cifar10"),
    "olsa-liffn-l12w256-cifar10-jpeg75": Preset("olsa-liffn-l12w256", "cifar10-jpeg75"),
    "olsa-liffn-l12w256-cifar100": Preset("olsa-liffn-l12w256", "cifar100"),
    "olsa-ffn-l12w256-cifar10": Preset("olsa-ffn-l12w256", "cifar10", _row(56.6)),
    "olsa-ffn-l12w256-cifar10-jpeg75": Preset("olsa-ffn-l12w256", "cifar10-jpeg75"),
    "olsa-ffn-l12w256-cifar100": Preset("olsa-ffn-l12w256", "cifar100", _row(28.4)),
    "olsa-liffn-l4w32-cifar10": Preset("olsa-liffn-l4w32", "cifar10"),
    "olsa-liffn-l4w32-cifar10-jpeg75": Preset("olsa-liffn-l4w32", "cifar10-jpeg75"),
    "olsa-liffn-l4w32-cifar100": Preset("olsa-liffn-l4w32", "cifar100"),
    "olsa-ffn-l4w32-cifar10": Preset("olsa-ffn-l4w32", "cifar10"),
    "olsa-ffn-l4w32-cifar10-jpeg75": Preset("olsa-ffn-l4w32", "cifar10-jpeg75"),
    "olsa-ffn-l4w32-cifar100": Preset("olsa-ffn-l4w32", "cifar100"),
}
