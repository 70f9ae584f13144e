"""Lipschitz transformers of the LiResNet paper: attention replaced by spatial mixing, no layer normalisation.

Source: Hu et al. 2023, arXiv 2301.12549, appendix I and table 7. The paper gives names and results but no layers, and
no code is public; what follows is our own definition. The tokens are the 16 x 16 cells behind LiResNet's stem, and neck
and head are LiResNet's. Spatial mixing is the linear residual X + diag(beta) A X / sqrt(L) over the tokens, beta one
number a token, with no activation, as in ResMLP. LiFFN is the linear residual over the channels of a token; FFN the
conventional one, x + W_2 MinMax(W_1 x), its hidden width the network's. MinMax follows either. OLSA is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from zoo.architectures.liresnet import Backbone

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class SpatialMLP(Backbone):
    """Spatial mixing with LiFFN or FFN, `depth` times."""

    feedforward: Literal["liffn", "ffn"] = "liffn"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.feedforward not in ("liffn", "ffn"):
            raise ValueError(f"feedforward is 'liffn' or 'ffn', got {self.feedforward!r}")

    def block(self, number: int) -> dict[str, nn.Module]:
        from torch import nn

        from zoo.layers import MinMax, Residual, TokenLinear

        linear = nn.Conv2d(self.width, self.width, 1)
        conventional = (MinMax("halves"), nn.Conv2d(self.width, self.width, 1))
        return {
            f"mixing{number}": TokenLinear(self.map_size**2),
            f"block{number}": linear if self.feedforward == "liffn" else Residual(linear, *conventional),
            f"block{number}_activation": MinMax("halves"),
        }
