"""Mutants of the layers of LipNeXt."""

from __future__ import annotations

from .mutant import FIXED, FIXED_LAYERS, LINEAR, LINF, mutant

MUTANTS = (
    mutant(
        "a shift of channels that are not there", "shifts::test_what_does_not_fit_is_refused",
        FIXED, "if not 0 < 4 * layer.group <= channels:", "if False:",
    ),
    mutant(
        "a shift out of the map", "shifts::test_a_shift_moves_each_group_its_own_way_around_the_map",
        FIXED_LAYERS, "((2, 1), (2, -1), (3, 1), (3, -1))", "((2, 1), (2, -1), (3, 1), (3, 1))",
    ),
    mutant(
        "offsets taken as exact", "rules::test_every_rule_holds_for_its_layer[PositionOffset]",
        LINEAR, '"offset", {}, fan_in=1, offset_norm=offset', '"offset", {}, offset_norm=offset',
    ),
    mutant(
        "offsets left out of the reach", "rules::test_every_rule_holds_for_its_layer[PositionOffset]",
        LINEAR, '"offset", {}, fan_in=1, offset_norm=offset', '"offset", {}, fan_in=1',
    ),
    mutant(
        "offsets counted on one channel", "rules::test_every_rule_holds_for_its_layer[PositionOffset]",
        LINEAR, "layer.weight, rows, columns), channels)", "layer.weight, rows, columns))",
    ),
    mutant(
        "squares that do not underflow", "shifts::test_the_rounding_of_roots_is_covered_also_where_squares_underflow",
        FIXED, "SQUARES_UNDERFLOW = 1e-140", "SQUARES_UNDERFLOW = 1e-280",
    ),
    mutant(
        "all ends as of absolute values", "shifts::test_the_ends_of_some_absolute_values",
        LINF, "first = lower.shape[1] if layer.channels is None else layer.channels", "first = lower.shape[1]",
    ),
)  # fmt: skip
