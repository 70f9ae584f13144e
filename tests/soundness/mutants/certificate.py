"""Rounding, the radius, the graph and verify."""

from __future__ import annotations

from .mutant import CERTIFY, FIXED_LAYERS, MARGINS, MODEL, ROUNDING, VERIFY, mutant

K = "distance * body_lipschitz * OUTWARD * ROUND_DOWN"
RADII = "class_radii = ((margins - slack) / lipschitz).relu()"

MUTANTS = (
    # Rounding
    mutant(
        "gamma = 0", "rounding::test_dense_networks",
        ROUNDING, "return n * U / (1.0 - n * U) * (1.0 + 4.0 * U)", "return 0.0",
    ),
    mutant(
        "error not amplified by later layers", "rounding::test_composition_is_rounded_up",
        ROUNDING, "(layer.lipschitz_bound * error + local)", "(error + local)",
    ),
    mutant(
        "biases left out of the rounding", "rounding::test_biases_that_cancel_cost_what_they_destroy",
        ROUNDING, "(layer.absolute_norm * norm + layer.offset_norm)", "(layer.absolute_norm * norm)",
    ),
    mutant(
        "T = 0", "rounding::test_dense_networks",
        MARGINS, "slack[j] = 2.0 * error * OUTWARD + TINY", "slack[j] = 0.0",
    ),
    mutant(
        "head's own rounding left out of T", "rounding::test_biases_that_hide_the_logits",
        MARGINS, "distance * feature_error + local + local[j] + U * (logit + logit[j])", "distance * feature_error",
    ),
    mutant(
        "evaluation in float32", "rounding::test_dense_networks",
        MODEL, "logits = network(images)",
        "logits = cast_network(network, torch.float32)(images.to(torch.float32)).to(self.dtype)",
    ),
    mutant(
        "clamp left out", "rounding::test_points_of_the_ball_outside_the_box_are_clamped",
        FIXED_LAYERS, "(images.clamp(0, 1) - mean)", "(images - mean)",
    ),
    # The head and the radius
    mutant(
        "radius rounded to nearest", "radius::test_the_radius_is_rounded_down",
        MARGINS, K, "distance * body_lipschitz",
        MARGINS, "np.sqrt(total) * (1.0 + gamma(rows.shape[1] + 8))", "np.sqrt(total)",
    ),
    mutant(
        "row norms by one constant for all sizes", "radius::test_row_norms_are_rounded_up_for_any_number_of_features",
        MARGINS, "(1.0 + gamma(rows.shape[1] + 8))", "OUTWARD",
    ),
    mutant(
        "rows of the head, not their difference", "witness::test_one_layer",
        MARGINS, "distance = norms(weight - weight[j])", "distance = np.maximum(row_norm, row_norm[j])",
    ),
    mutant(
        "K times sqrt(2) / 2", "witness::test_one_layer",
        MARGINS, f"np.maximum({K}", f"np.maximum(0.7071067811865476 * {K}",
    ),
    mutant(
        "K a thousandth too small", "witness::test_one_layer",
        MARGINS, f"np.maximum({K}", f"np.maximum(0.999 * {K}",
    ),
    mutant(
        "ties of constant classes as 0 / 0", "radius::test_classes_that_never_move_tie_for_ever",
        MARGINS, f"np.maximum({K}, TINY)", K,
        MARGINS, "* OUTWARD + TINY", "* OUTWARD",
    ),
    mutant(
        "winner masked by the value of its logit", "radius::test_ties_have_radius_zero",
        MODEL, RADII, "class_radii = torch.where(margins == 0, torch.inf, ((margins - slack) / lipschitz).relu())",
    ),
    mutant(
        "K read by columns", "radius::test_rows_of_the_tables_are_the_predicted_class",
        MODEL, "F.embedding(label, self.margin_lipschitz)", "F.embedding(label, self.margin_lipschitz.T)",
    ),
    mutant(
        "T read by columns", "radius::test_rows_of_the_tables_are_the_predicted_class",
        MODEL, "F.embedding(label, self.slack)", "F.embedding(label, self.slack.T)",
    ),
    mutant("domain unchecked", "radius::test_inputs_outside_the_domain_have_radius_zero", MODEL, "inside & ", ""),
    mutant(
        "one pixel inside is enough", "radius::test_inputs_outside_the_domain_have_radius_zero",
        MODEL, ".amin(dim=(1, 2, 3))", ".amax(dim=(1, 2, 3))",
    ),
    mutant(
        "infinite logits unchecked", "radius::test_logits_that_are_not_finite_have_radius_zero",
        MODEL, " & (margins.sum(dim=1) < math.inf)", "",
    ),
    mutant(
        "farthest class instead of the nearest", "radius::test_the_radius_is_rounded_down",
        MODEL, "largest=False", "largest=True",
    ),
    # The files
    mutant(
        "tables in float32 in the graph", "graph::test_the_tables_in_the_graph_are_those_of_the_certificate",
        MODEL, "torch.from_numpy(tables.margin_lipschitz).to(dtype)",
        "torch.from_numpy(tables.margin_lipschitz).float().to(dtype)",
    ),
    mutant(
        "verify lets a potential be less than 1", "verify::test_a_potential_is_never_less_than_one",
        VERIFY, 'if row.checked == "composed, at least 1":', "if False:",
    ),
    mutant(
        "hooks inside of layers overlooked", "changed::test_a_certified_model_changed_since_does_not_answer",
        MODEL, "changed_by_hooks(layer) for layer in self.network.modules())",
        "changed_by_hooks(layer) for layer in (self.network, *self.network))",
    ),
    mutant(
        "images of another shape", "changed::test_images_of_another_shape_do_not_get_a_radius_of_their_own",
        MODEL, "if tuple(images.shape[1:]) != self.input_shape:", "if False:",
    ),
    mutant(
        "a radius without subnormal numbers",
        "changed::test_a_thread_that_flushes_subnormal_numbers_gets_neither_a_certificate_nor_a_radius",
        MODEL, "        check_arithmetic()\n", "",
    ),
    mutant(
        "a certificate without subnormal numbers",
        "changed::test_a_thread_that_flushes_subnormal_numbers_gets_neither_a_certificate_nor_a_radius",
        CERTIFY, "    check_arithmetic()\n", "",
    ),
    mutant(
        "lowered numbers pass verify", "verify::test_a_layer_number_lowered_by_a_millionth",
        VERIFY, "not least <= value <= least * REPEATED**4:", "False:",
    ),
    mutant(
        "bounds need not follow in verify", "verify::test_a_layer_number_lowered_by_a_millionth",
        VERIFY, "claimed.lipschitz_bound != follows:", "False:",
    ),
    mutant(
        "terms of proofs pass verify", "verify::test_a_changed_certificate[another torus]",
        VERIFY, "if bound.proof and not wrong:", "if bound.proof:",
        VERIFY, "for term in wrong:", "for term in ():",
    ),
    mutant(
        "verify takes the body's constants on trust", "verify::test_what_follows_from_the_layers_must_follow",
        VERIFY, "if getattr(published, field) != value]", "if False]",
    ),
    mutant(
        "verify takes the graph on trust", "verify::test_a_changed_graph",
        VERIFY, "return differences or list(_graph_differences(folder))", "return differences",
    ),
)  # fmt: skip
