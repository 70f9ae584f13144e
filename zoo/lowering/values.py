"""The tensors that nodes of a graph pass on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the graph, for a batch of N.

    Vectors are [N, features]. Maps are [N, channels, rows, columns], or, if `places` is given, [pixels, N, channels]:
    the numbers of a pixel lie together for the whole batch. The pixels may be in any order, and some may be outside of
    the map. In this layout gathering pixels copies long runs, and a product over channels is one matrix product.
    """

    name: str
    shape: tuple[int, ...]  # without the batch: [features] or [channels, rows, columns]
    places: Places | None = None  # [rows, columns]: where in the tensor each pixel of the map is
    pixels: int = 0  # in the tensor, if places are given
    order: Places | None = None  # [channels]: the channel at each position; None for 0, 1, 2, ...

    @property
    def axis(self) -> int:
        """The axis of the channels, or features."""
        return 1 if self.places is None else 2


Ends = tuple[Value, Value]  # the least and the largest values of a layer


def natural(rows: int, columns: int) -> Places:
    """The places of pixels that lie row by row."""
    return np.arange(rows * columns).reshape(rows, columns)
