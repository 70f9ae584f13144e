"""The l-infinity norm."""

from __future__ import annotations

from .mutant import CERTIFY, FIXED, INTERVAL, LAYERS, LINF, MARGINS, MODEL, POOLING, RESIDUAL, RULE, TABLE, mutant

MUTANTS = (
    mutant(
        "norm of rows in l2 for its dual", "linf::test_margin_constants_are_dual",
        MARGINS, '"linf": l1_of_rows', '"linf": _row_norms',
    ),
    mutant(
        "largest entry for the largest row sum", "linf::test_every_rule_holds_for_its_layer",
        RULE, "total = total + column\n", "total = np.maximum(total, column)\n",
    ),
    mutant(
        "row sums not rounded up", "linf::test_row_sums_are_rounded_up",
        RULE, "return total * (1.0 + gamma(rows.shape[1] + 8))", "return total",
    ),
    mutant(
        "column sums for row sums", "linf::test_every_rule_holds_for_its_layer",
        LINF, "l1_of_rows(rows)", "l1_of_rows(rows.T)",
    ),
    mutant(
        "taps of one input channel only", "linf::test_every_rule_holds_for_its_layer",
        LINF, "kernel.reshape(len(kernel), -1)", "kernel[:, 0].reshape(len(kernel), -1)",
    ),
    mutant(
        "scale counted as 1 in l-infinity", "linf::test_every_rule_holds_for_its_layer",
        FIXED, 'float(scale.max()),\n        "scale"', '1.0,\n        "scale"',
    ),
    mutant(
        "distances from weights of no size", "linf::test_every_rule_holds_for_its_layer",
        LINF, "(np.abs(weight).max(axis=1) + np.abs(bias))", "np.abs(bias)",
    ),
    mutant(
        "averages divided as if they were whole", "linf::test_every_rule_holds_for_its_layer[AvgPool2d]",
        POOLING, "for counts in axes) / windows.divisor", "for counts in axes) / 9",
    ),
    mutant(
        "absolute values taken as rising", "linf_intervals::test_ends_err_by_no_more_than_the_certificate_says",
        LINF, "torch.maximum(low, -high).clamp(min=0), torch.maximum(low.abs(), high.abs())",
        "low.abs(), high.abs()",
    ),
    mutant(
        "normalisation taken as rising", "linf_intervals::test_ends_err_by_no_more_than_the_certificate_says",
        LINF, "torch.minimum(one, other), torch.maximum(one, other)  # a scale may be negative\n\n\ndef linear",
        "one, other\n\n\ndef linear",
    ),
    mutant(
        "exact distances", "linf_intervals::test_a_distance_from_far_away_rounds",
        LINF, "{}, fan_in=1, absolute_norm=1.0", "{}, fan_in=0, absolute_norm=1.0",
    ),
    mutant(
        "norm lost inside a residual", "linf::test_every_rule_holds_for_its_layer",
        RULE, "replace(self, name=", 'replace(self, norm="l2", name=',
    ),
    mutant(
        "distance in l1", "linf::test_every_rule_holds_for_its_layer",
        LAYERS, ".abs().amax(dim=2)", ".abs().sum(dim=2)",
    ),
    mutant(
        "mean for maximum", "linf::test_no_point_of_the_ball_has_another_label[distance_net]",
        LAYERS, ".abs().amax(dim=2)", ".abs().mean(dim=2)",
    ),
    mutant(
        "mean for maximum in the upper end",
        "linf_intervals::test_ends_err_by_no_more_than_the_certificate_says[0-distances]",
        LINF, "high.amax(dim=2), -low", "high.mean(dim=2), -low",
    ),
    mutant(
        "lower end from one side", "linf_intervals::test_ends_err_by_no_more_than_the_certificate_says[0-distances]",
        LINF, "torch.maximum(low.amax(dim=2), -high.amin(dim=2))", "low.amax(dim=2)",
    ),
    mutant(
        "upper end from one side", "linf::test_no_point_of_the_ball_has_another_label[distance_net]",
        LINF, "torch.maximum(high.amax(dim=2), -low.amin(dim=2))", "high.amax(dim=2)",
    ),
    mutant(
        "lower end from the nearest coordinate", "linf::test_no_point_of_the_ball_has_another_label[distance_net]",
        LINF, "torch.cat(nearest, dim=1).clamp(min=0)", "torch.cat(farthest, dim=1)",
    ),
    mutant(
        "only the share of the largest difference", "linf::test_every_rule_holds_for_its_layer[SortedDistance]",
        LINF, "float(l1_of_rows(np.array([layer.shares()]))[0])", "layer.keep",
    ),
    mutant(
        "sorted distances from weights of no size", "linf::test_every_rule_holds_for_its_layer[SortedDistance]",
        LINF, "np.abs(weight).max(axis=1) * whole + np.abs(bias)", "np.abs(bias)",
    ),
    mutant(
        "shares of any size", "linf::test_shares_that_are_not_proved_are_refused",
        LINF, "0.0 < layer.keep < 1.0 and ", "",
    ),
    mutant(
        "a sum of shares compared with tolerance",
        "verify::test_a_bound_that_has_nothing_to_spare_is_compared_bit_for_bit",
        TABLE, 'checked="single",\n        lowering=layers.sorted_distance',
        'checked="composed",\n        lowering=layers.sorted_distance',
    ),
    mutant(
        "the smallest differences first", "linf::test_no_point_of_the_ball_has_another_label[sorted_net]",
        LAYERS, "gaps.topk(self.terms, dim=2)", "gaps.topk(self.terms, dim=2, largest=False)",
    ),
    mutant(
        "lower end of sorted distances from one side",
        "linf_intervals::test_ends_err_by_no_more_than_the_certificate_says[0-sorted]",
        LINF, "torch.maximum(below, above).clamp(min=0)", "above.clamp(min=0)",
    ),
    mutant(
        "upper end of sorted distances from one side",
        "linf::test_no_point_of_the_ball_has_another_label[sorted_net]",
        LINF, "layer.weighed(torch.maximum(-below, -above))", "layer.weighed(-below)",
    ),
    mutant(
        "signs of weights lost", "linf::test_no_point_of_the_ball_has_another_label",
        LINF, "layer.weight.abs())", "layer.weight)",
    ),
    mutant(
        "width of intervals lost", "linf::test_no_point_of_the_ball_has_another_label",
        LINF, "return centre - reach, centre + reach", "return centre, centre",
    ),
    mutant(
        "half of the width", "linf::test_no_point_of_the_ball_has_another_label",
        LINF, "product((upper - lower) / 2,", "product((upper - lower) / 4,",
    ),
    mutant(
        "scales assumed positive", "linf::test_no_point_of_the_ball_has_another_label",
        LINF, "(upper.clamp(0, 1) - mean) * scale\n    return torch.minimum(one, other), torch.maximum(one, other)",
        "(upper.clamp(0, 1) - mean) * scale\n    return one, other",
    ),
    mutant(
        "box forgotten", "linf_witness::test_the_lower_edge_of_the_box_counts_as_well",
        LINF, "(lower.clamp(0, 1) - mean)", "(lower - mean)",
    ),
    mutant(
        "upper edge of the box forgotten", "linf::test_no_point_of_the_ball_has_another_label[distance_net]",
        LINF, "(upper.clamp(0, 1) - mean)", "(upper - mean)",
    ),
    mutant(
        "box too small", "linf::test_no_point_of_the_ball_has_another_label",
        LINF, "(upper.clamp(0, 1) - mean)", "(upper.clamp(0, 0.9) - mean)",
    ),
    mutant(
        "one side of the box", "linf::test_no_point_of_the_ball_has_another_label[distance_net]",
        INTERVAL, "(images - reach).flatten", "(images - 0 * reach).flatten",
    ),
    mutant(
        "width of the features lost", "linf::test_no_point_of_the_ball_has_another_label[distance_net]",
        INTERVAL, " - rows.abs() @ half[:, :, None]", "",
    ),
    mutant(
        "rows of the head without signs", "linf::test_no_point_of_the_ball_has_another_label[distance_net]",
        INTERVAL, "rows.abs() @ half", "rows @ half",
    ),
    mutant(
        "biases of the head exchanged", "linf::test_no_point_of_the_ball_has_another_label",
        INTERVAL, "(bias.index_select(0, chosen)[:, None] - bias)", "(bias - bias.index_select(0, chosen)[:, None])",
    ),
    mutant(
        "identity left out of a residual's interval", "linf::test_no_point_of_the_ball_has_another_label[residual_net]",
        LINF, "return lower + low, upper + high", "return low, high",
    ),
    mutant(
        "skip left out of a residual's interval", "linf::test_no_point_of_the_ball_has_another_label[skip_net]",
        LINF, "if layer.skip is not None:", "if False:",
    ),
    mutant(
        "only the first pixels clamped", "linf::test_no_point_of_the_ball_has_another_label[twice_clamped_net]",
        LINF, "(lower.clamp(0, 1) - mean) * scale, (upper.clamp(0, 1) - mean)",
        "(lower - mean) * scale, (upper - mean)",
        INTERVAL, "(images - reach).flatten", "(images - reach).clamp(min=0).flatten",
        INTERVAL, "(images + reach).flatten", "(images + reach).clamp(max=1).flatten",
    ),
    mutant(
        "biases published as they are in l-infinity", "linf",
        LINF, "np.abs(bias).max()) * RAISED", "np.abs(bias).max())",
    ),
    mutant(
        "residuals that work in place",
        "refused::test_a_layer_that_no_rule_proves_is_refused[a residual that overwrites its input]",
        RESIDUAL, 'if getattr(layer, "inplace", False):', "if False:",
    ),
    mutant(
        "levels as float32", "linf_intervals::test_the_graph_tries_the_level_that_it_answers",
        INTERVAL, "reach = levels[", "reach = levels.float().to(levels.dtype)[",
    ),
    mutant(
        "levels one off", "linf::test_no_point_of_the_ball_has_another_label[distance_net]",
        MODEL, "proved, levels[:, None, None]", "proved, levels.roll(-1)[:, None, None]",
    ),
    mutant(
        "smallest of the proved levels", "linf::test_no_point_of_the_ball_has_another_label[distance_net]",
        MODEL, "levels[:, None, None], 0).amax(dim=0)", "levels[:, None, None], 9).amin(dim=0)",
    ),
    mutant(
        "one level proves all", "linf::test_no_point_of_the_ball_has_another_label[distance_net]",
        MODEL, "(least > 2 * slack)", "(least > 2 * slack).any(dim=0)",
    ),
    mutant(
        "slack dropped from levels", "linf_intervals::test_biases_that_cancel_cost_what_they_destroy",
        MODEL, "least > 2 * slack", "least > 0 * slack.clamp(min=0)",
    ),
    mutant(
        "slack counted once for levels", "linf_intervals::test_the_slack_counts_twice_for_a_level",
        MODEL, "least > 2 * slack", "least > slack",
    ),
    mutant(
        "levels outside of the domain", "linf_witness::test_no_level_counts_for_inputs_outside_the_domain",
        MODEL, "(least > 2 * slack) & admissible", "least > 2 * slack",
    ),
    mutant(
        "domain of a hundredth", "linf_intervals::test_ends_err_by_no_more_than_the_certificate_says[0-mixed]",
        CERTIFY, 'if norm == "l2" else 1.0', 'if norm == "l2" else 0.01',
    ),
    mutant(
        "levels unchecked", "linf::test_another_norm_and_other_levels_are_refused",
        CERTIFY, "not all(low < high for", "not all(low != 9 or high for",
    ),
    mutant(
        "another norm unchecked", "linf::test_a_certificate_relabelled_as_another_norm_does_not_load",
        MODEL, "if certificate.norm not in NORMS:", "if False:",
    ),
)  # fmt: skip
