"""The dense network of CLL's two-moons figure.

Source: Losch, Stutz, Schiele, Fritz 2023 (CLL): 2-10-20-40-40-20-10-2 with MaxMin.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from zoo.architectures.preset import Preset, Reported
from zoo.citations import CLL

if TYPE_CHECKING:
    from torch import nn

WIDTHS = (10, 20, 40, 40, 20, 10)
CORNER, SIDE = (-1.5, -1.75), 4.0  # the square of the plane that holds both moons


@dataclass(frozen=True)
class TwoMoonsMLP:
    """Two coordinates in [0, 1], as the two channels of one pixel, to two classes.

    The unit square stands for the square of the plane with lower corner (-1.5, -1.75) and side 4, which holds both
    moons (x from -1 to 2, y from -0.5 to 1) with margins for noise; the first layer maps it there. So a radius counts
    in sides of that square: times 4 it is a distance between the moons' own points. Points outside are clamped.
    """

    citation: ClassVar[str] = CLL

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (2, 1, 1)

    @property
    def classes(self) -> int:
        return 2

    def network(self) -> nn.Sequential:
        """The untrained network on [N, 2, 1, 1]; `head` is its last child."""
        from torch import nn

        from zoo.layers import MinMax, Pixels

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["pixels"] = Pixels(mean=[-corner / SIDE for corner in CORNER], scale=[SIDE] * 2)
        layers["flatten"] = nn.Flatten()
        width = 2
        for number, out in enumerate(WIDTHS, start=1):
            layers[f"dense{number}"] = nn.Linear(width, out)
            layers[f"dense{number}_activation"] = MinMax("neighbours")
            width = out
        layers["head"] = nn.Linear(width, 2)
        return nn.Sequential(layers)


NETWORKS = {
    "mlp": TwoMoonsMLP(),
}
PRESETS = {
    "mlp-two-moons": Preset(
        "mlp", "two-moons", Reported(None, 100.0, "0.15/4", "Losch et al. 2023, figure 4, on the training points")
    ),
}
