"""The layers that PyTorch lacks. Each has a row in `zoo.bounds.table`, by its exact type."""

from zoo.layers.fixed import (
    Abs,
    FirstChannels,
    GroupSort,
    L2Pool,
    MinMax,
    PadChannels,
    PatchPool,
    Pixels,
    SpatialShift,
)
from zoo.layers.frequency import FrequencyConv, Sandwich
from zoo.layers.trained import (
    ConvExponential,
    ConvexPotential,
    Householder,
    LInfDistance,
    PositionOffset,
    Residual,
    SelfAttention,
    SortedDistance,
    TokenLinear,
)

__all__ = [
    "Abs",
    "ConvExponential",
    "ConvexPotential",
    "FirstChannels",
    "FrequencyConv",
    "GroupSort",
    "Householder",
    "L2Pool",
    "LInfDistance",
    "MinMax",
    "PadChannels",
    "PatchPool",
    "Pixels",
    "PositionOffset",
    "Residual",
    "Sandwich",
    "SelfAttention",
    "SortedDistance",
    "SpatialShift",
    "TokenLinear",
]
