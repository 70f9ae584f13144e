"""Convolutions as products of tiles, and what their rounding costs."""

from __future__ import annotations

from .mutant import CONVOLVE, LOWERED, mutant

MUTANTS = (
    mutant(
        "tiles that overlap count once", "lowered::test_tiles_that_overlap_count_as_often_as_a_pixel_is_read",
        LOWERED, "* math.sqrt(shared) *", "*",
    ),
    mutant(
        "no amplification by tiles", "lowered::test_the_norm_of_the_absolute_map_is_bounded",
        LOWERED, "perron_bound(back * norms @ data)", "float(norms.max())",
    ),
    mutant(
        "gamma of the direct sum", "lowered::test_constants_hold_for_sums_and_for_tiles",
        LOWERED, "max(terms, tiled), absolute,", "terms, absolute,",
    ),
    mutant(
        "transformed kernels as if they were exact", "lowered::test_roundings_are_those_of_the_graph_s_sums",
        LOWERED, "terms += sum(part.kernel.shape[1] + 1 for part in tiled)", "terms += 0",
    ),
    mutant(
        "plain sums not covered", "lowered::test_constants_hold_for_sums_and_for_tiles",
        LOWERED, "absolute = max(absolute, share * amplified)", "absolute = share * amplified * 1e-3",
    ),
    mutant(
        "kernel transposed in the graph", "lowered::test_every_tile_gives_the_convolution",
        CONVOLVE, "name = nodes.transpose(kernel, 2, 3, 1, 0)", "name = nodes.transpose(kernel, 3, 2, 1, 0)",
    ),
    mutant(
        "padding reads the last pixel", "lowered::test_every_tile_gives_the_convolution",
        CONVOLVE, "places[places < 0] = x.pixels", "places[places < 0] = x.pixels - 1",
    ),
)  # fmt: skip
