"""The layers that PyTorch lacks. Each has a row in `zoo.bounds.table`, by its exact type."""

from zoo.layers.fixed import Abs, FirstChannels, GroupSort, MinMax, PadChannels, PatchPool, Pixels
from zoo.layers.frequency import FrequencyConv, Sandwich
from zoo.layers.trained import (
    ConvExponential,
    ConvexPotential,
    Householder,
    LInfDistance,
    Residual,
    SelfAttention,
    TokenLinear,
    few_rows,
)

__all__ = [
    "Abs",
    "ConvExponential",
    "ConvexPotential",
    "FirstChannels",
    "FrequencyConv",
    "GroupSort",
    "Householder",
    "LInfDistance",
    "MinMax",
    "PadChannels",
    "PatchPool",
    "Pixels",
    "Residual",
    "Sandwich",
    "SelfAttention",
    "TokenLinear",
    "few_rows",
]
