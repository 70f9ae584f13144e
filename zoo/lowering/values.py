"""The tensors that nodes of a graph pass on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the graph, for a batch of N.

    Vectors are [N, features]. Maps are [N, channels, rows, columns], or, where `places` is given, [pixels, N,
    channels]: a pixel's numbers lie together for the whole batch, the pixels in any order and perhaps some that are
    not in the map. Gathering pixels then copies long runs, and a product over channels is one matrix product.
    """

    name: str
    shape: tuple[int, ...]  # without the batch: [features] or [channels, rows, columns]
    places: Places | None = None  # [rows, columns]: where in the tensor each pixel of the map is
    pixels: int = 0  # in the tensor, where places are given
    order: Places | None = None  # [channels]: which channel stands where, where they do not stand in their own order

    @property
    def axis(self) -> int:
        """The axis of the channels, or features."""
        return 1 if self.places is None else 2


Ends = tuple[Value, Value]  # the least and the largest values of a layer


def natural(rows: int, columns: int) -> Places:
    """The places of pixels that lie row by row."""
    return np.arange(rows * columns).reshape(rows, columns)
