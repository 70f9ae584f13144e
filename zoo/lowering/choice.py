"""Which matrix products a convolution becomes in the float64 graph.

The choice follows from its sizes alone, by arithmetic on integers, so that it is the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

from zoo.lowering.sizes import Pair, Sizes
from zoo.lowering.toomcook import POINTS

TILES = (1, 2, 4)  # outputs of a tile along each axis
BATCH = 6  # images of the run that the choice is made for: few, so that a single image does not wait for constants

# The time of one operation of each kind, in units of a multiplication inside a large matrix product (0.1 ns on the
# machine where they were measured): a term of a transform's short sums; a number that is copied, or read and written by
# a transform; a constant, which is read and packed once in each run.
TRANSFORMED, MOVED, CONSTANT = 2, 10, 22


@dataclass(frozen=True)
class Lowering:
    """The sides of a tile of outputs that are computed together; 1 x 1 stands for plain sums over the taps."""

    tile: Pair = (1, 1)

    def __str__(self) -> str:
        return "sums" if self.tile == (1, 1) else f"toom-cook {self.tile[0]}x{self.tile[1]}"


PLAIN_SUMS = Lowering()


def choose(sizes: Sizes, norm: str = "l2") -> Lowering:
    """The lowering that costs least; in l-infinity the plain sums over taps, since its rule bounds no other."""
    taps = sizes.cells.kernel
    if norm == "linf" or taps == (1, 1):
        return PLAIN_SUMS
    known = [tile for tile in TILES if tile == 1 or tile + max(taps) - 2 <= len(POINTS)]
    tiles = [(tile if taps[0] > 1 else 1, tile if taps[1] > 1 else 1) for tile in known]
    return min(map(Lowering, tiles), key=lambda lowering: cost(sizes.cells, lowering))


def cost(sizes: Sizes, lowering: Lowering) -> int:
    """The time of a convolution of stride 1 on a run of BATCH images, in the units above."""
    (tall, wide), (rows, columns) = lowering.tile, sizes.outputs
    high, broad = (tile + taps - 1 for tile, taps in zip(lowering.tile, sizes.kernel, strict=True))
    tiles, frequencies = -(-rows // tall) * -(-columns // wide), high * broad
    inner, outer = sizes.in_channels, sizes.out_channels
    products = tiles * frequencies * inner * outer
    transforms = [  # each on one channel of a tile: the channels, the terms of its sums, the numbers that it writes
        *([(inner, frequencies * high, frequencies)] if tall > 1 else []),
        *([(inner, frequencies * broad, frequencies)] if wide > 1 else []),
        (outer, tall * broad * high, tall * broad),
        (outer, tall * wide * broad, tall * wide),
    ]
    terms = tiles * sum(channels * count for channels, count, _ in transforms)
    moved = tiles * (inner * frequencies + outer * frequencies + sum(channels * out for channels, _, out in transforms))
    return BATCH * (products + TRANSFORMED * terms + MOVED * moved) + CONSTANT * frequencies * inner * outer
