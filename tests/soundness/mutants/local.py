"""Local bounds."""

from __future__ import annotations

from .mutant import LOCAL, mutant

MUTANTS = (
    mutant(
        "local: radius beyond its ball", "local::test_every_direction_of_a_plane",
        LOCAL, "LocalRadius(label, min(ball, found), ball)", "LocalRadius(label, max(ball, found), ball)",
    ),
    mutant(
        "local: units fixed by the image alone", "local::test_every_direction_of_a_plane",
        LOCAL, "_activation(layer, values, shape)", "_activation(layer, point, shape)",
    ),
    mutant(
        "local: off decided by the middle", "local::test_every_direction_of_a_plane[4]",
        LOCAL, "alive = high > 0.0", "alive = low + high > 0.0",
    ),
    mutant(
        "local: on decided by the middle", "local::test_a_unit_that_may_turn_off_counts",
        LOCAL, "alive & (low < 0.0)", "alive & (low + high < 0.0)",
    ),
    mutant(
        "local: pairs ordered by their upper ends", "local::test_every_direction_of_a_plane",
        LOCAL, "low[first] >= high[second], high", "high[first] >= high[second], high",
    ),
    mutant(
        "local: pairs exchanged by their lower ends", "local::test_every_direction_of_a_plane",
        LOCAL, "high[first] <= low[second]\n", "low[first] <= low[second]\n",
    ),
    mutant(
        "local: exchanged pairs kept in place", "local::test_every_direction_of_a_plane",
        LOCAL, "one[first[exchanged]] = two[first[exchanged]]", "_ = one[first[exchanged]]",
    ),
    mutant(
        "local: what may change not counted", "local::test_every_direction_of_a_plane",
        LOCAL, "[*through, PathTerm(choose, 0.0, _length(paths, differences) / 2)]", "through",
    ),
    mutant(
        "local: a change counted by a quarter", "local::test_every_direction_of_a_plane",
        LOCAL, "_length(paths, differences) / 2", "_length(paths, differences) / 4",
    ),
    mutant(
        "local: only the first path counts", "local::test_every_direction_of_a_plane",
        LOCAL, "for part in parts[1:]:", "for part in ():",
    ),
    mutant(
        "local: cut forgets what came before", "local::test_every_direction_of_a_plane",
        LOCAL, "_length(paths, lambda matrix: matrix[alive])", "1.0",
    ),
    mutant(
        "local: intervals of no width", "local::test_every_direction_of_a_plane",
        LOCAL, "(absolute @ half + gamma(terms)", "(gamma(terms)",
    ),
    mutant(
        "local: intervals in l2 of half the ball", "local::test_intervals_hold_the_exact_values",
        LOCAL, "ball * _row_sizes(paths)", "ball / 2 * _row_sizes(paths)",
    ),
    mutant(
        "local: intervals without rounding", "local::test_intervals_pay_for_sums_that_cancel",
        LOCAL, "absolute @ half + gamma(terms) * (absolute @ np.abs(middle) + np.abs(bias))", "absolute @ half",
    ),
    mutant(
        "local: slack left out", "local::test_a_margin_below_the_slack_has_radius_zero",
        LOCAL, "spare = (logits[label] - logits) - slack", "spare = logits[label] - logits",
    ),
    mutant(
        "local: scale left out", "local::test_every_direction_of_a_plane",
        LOCAL, "PathTerm(np.diag(scales), 0.0, 1.0)", "PathTerm(np.diag(np.sign(scales)), 0.0, 1.0)",
    ),
)  # fmt: skip
