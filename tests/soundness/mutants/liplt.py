"""LipLT and the loop transformation."""

from __future__ import annotations

from .mutant import (
    ATTENTION,
    CERTIFY,
    LINEAR,
    LIPLT,
    MARGINS,
    ORTHOGONAL,
    POTENTIAL,
    PRODUCTS,
    RESIDUAL,
    TABLE,
    VERIFY,
    mutant,
)

MUTANTS = (
    mutant(
        "a term of LipLT's sum dropped", "liplt::test_above_every_jacobian_and_below_the_product",
        LIPLT, "(norms[k][0] * scale + math.fsum(halves))", "(norms[k][0] * scale + math.fsum(halves[1:]))",
    ),
    mutant(
        "LipLT's linear part dropped", "liplt::test_above_every_jacobian_and_below_the_product",
        LIPLT, "(norms[k][0] * scale + math.fsum(halves))", "math.fsum(halves)",
    ),
    mutant(
        "LipLT's sum dropped from the pairs", "liplt::test_above_every_jacobian_and_below_the_product",
        LIPLT, "best = np.minimum(best, looped + measured * reach[k])", "best = np.minimum(best, measured * reach[k])",
    ),
    mutant(
        "slopes' half of the range left out", "liplt::test_above_every_jacobian_and_below_the_product",
        RESIDUAL, "max(self.centre - self.slopes[0], self.slopes[1] - self.centre)", "0.5 * self.centre",
    ),
    mutant(
        "alpha ignored in the centre", "liplt::test_the_recursion_of_the_theorem",
        RESIDUAL, "return sum(self.slopes) / 2.0", "return self.slopes[1] / 2.0",
    ),
    mutant(
        "the pixels' scale left out of LipLT", "witness::test_every_direction_of_a_plane",
        LIPLT, "layers[0].lipschitz_bound)\n\n\ndef _refusal", "1.0)\n\n\ndef _refusal",
    ),
    mutant(
        "products on the torus of the map", "products::test_products_are_above_their_svd",
        LINEAR, 'if layer.padding_mode == "circular":', "if True:",
    ),
    mutant(
        "rounding of products left out", "products::test_the_stated_error_of_a_product_is_above_the_true_one",
        PRODUCTS, "gamma(operator.terms + 2) * operator.absolute * vectors.size", "0.0",
    ),
    mutant(
        "sqrt(2) halved", "liplt::test_tables_against_every_activation_pattern",
        MARGINS, "math.sqrt(2.0) * network", "math.sqrt(0.5) * network",
    ),
    mutant(
        "sums of one class only", "liplt::test_tables_against_every_activation_pattern",
        MARGINS, "(single[:, None] + single)", "(single[:, None] + 0 * single)",
    ),
    mutant(
        "T of the theorem without its off-diagonal", "liplt::test_refinements_of_one_layer",
        RESIDUAL, "(gram @ q) / q", "gram.diagonal()",
    ),
    mutant(
        "the loop's linear part without H", "liplt::test_the_recursion_of_the_theorem",
        RESIDUAL, "    if loop.skip is None:\n        return inner", "    if True:\n        return inner",
    ),
    mutant(
        "cuts without the skip", "liplt::test_the_recursion_of_the_theorem",
        LIPLT, "            if loop.skip is None:\n                behind",
        "            if True:\n                behind",
    ),
    mutant(
        "MinMax taken for a ReLU", "liplt::test_other_activations_keep_the_product",
        TABLE, "MinMax: _activation(None,", "MinMax: _activation((0.0, 1.0),",
    ),
    mutant(
        "squares of products that underflow", "products::test_sizes_survive_squares_that_underflow",
        PRODUCTS, "self.computed.square().sum()) + TINY)", "self.computed.square().sum()))",
    ),
    mutant(
        "pairs written in another order", "liplt::test_the_certificate_takes_the_smaller_of_both_for_each_pair",
        CERTIFY, "np.tril_indices(len(found.pairwise), -1)", "np.triu_indices(len(found.pairwise), 1)",
    ),
    mutant(
        "pairs read in another order", "liplt::test_the_certificate_takes_the_smaller_of_both_for_each_pair",
        MARGINS, "np.tril_indices(classes, -1)", "np.triu_indices(classes, 1)",
    ),
    mutant(
        "rounding of the Gram matrix left out", "products::test_the_gram_matrix_of_a_cancelling_product_is_rounded_up",
        RESIDUAL, " + error * OUTWARD + TINY", "",
    ),
    mutant(
        "errors of products not amplified",
        "products::test_an_error_grows_with_the_layers_behind_it_and_counts_in_every_norm",
        PRODUCTS, "(operator.norm * vectors.error + local)", "(vectors.error + local)",
    ),
    mutant(
        "errors of rows left out of their norms",
        "products::test_an_error_grows_with_the_layers_behind_it_and_counts_in_every_norm",
        LIPLT, "math.sqrt(2.0) * rows.error", "0.0 * rows.error",
    ),
    mutant(
        "a skip left out of the reach", "products::test_what_is_not_written_out_is_the_product_of_all_its_factors",
        LIPLT, "(skipped + block.loop.slopes[1]", "(block.loop.slopes[1]",
    ),
    mutant(
        "G left out of a cut", "products::test_what_is_not_written_out_is_the_product_of_all_its_factors",
        LIPLT, "state = behind[k] * chain_norm(loop.after) * OUTWARD", "state = behind[k]",
    ),
    mutant(
        "a residual's inner rounding left out", "stated_rounding",
        RESIDUAL, "walk.slope += bound.absolute_norm * reach_slope", "walk.slope += 0.0",
    ),
    mutant(
        "a residual's inner offsets left out", "stated_rounding",
        RESIDUAL, "walk.constant += bound.absolute_norm * reach_constant + bound.offset_norm + UNDERFLOW",
        "walk.constant += 0.0",
    ),
    mutant(
        "an exponential's products taken as exact", "stated_rounding",
        ORTHOGONAL, "absolute_norm=(1.0 + absolute) * grown * RAISED", "absolute_norm=0.0",
    ),
    mutant(
        "a potential's products taken as exact", "stated_rounding",
        POTENTIAL, "absolute_norm=(1.0 + absolute * computed) * RAISED", "absolute_norm=0.0",
    ),
    mutant(
        "attention's products taken as exact", "stated_rounding",
        ATTENTION, "absolute_norm=absolutes[2] * (1.0 + absolutes[0] * absolutes[1]) / 4.0 * RAISED",
        "absolute_norm=0.0",
    ),
    mutant("reflections taken as exact", "stated_rounding", ORTHOGONAL, "fan_in=2,", "fan_in=0,"),
    mutant(
        "pairwise constants on trust", "verify::test_a_pairwise_constant_changed",
        VERIFY, "if not bound / REPEATED <= claim <= bound * REPEATED**4:", "if False:",
    ),
)  # fmt: skip
