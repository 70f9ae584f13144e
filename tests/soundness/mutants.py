"""The mutants of the proof: each breaks one step of it, and the tests it names must notice. `mutate.py` tries them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    name: str
    edits: tuple[tuple[str, str, str], ...]  # file, the text that stands there exactly once, the text instead
    tests: str  # of tests/soundness: the middle of a file's name, or that and a test of it: "norms liplt::test_cuts"


def mutant(name: str, tests: str, *edits: str) -> Mutant:
    """Edits come in threes: file, old text, new text."""
    return Mutant(name, tuple(zip(edits[::3], edits[1::3], edits[2::3], strict=True)), tests)


RULES, RULE, SPECTRAL, CONV, MARGINS, OTHERS, RESIDUAL, LIPLT, PRODUCTS = (
    f"zoo/bounds/{room}.py"
    for room in (
        "__init__", "rule", "spectral", "convolution", "margins", "nonlinear", "residual", "liplt", "products",
    )
)  # fmt: skip
LOCAL = "zoo/bounds/local.py"
ROUNDING, MODEL, LAYERS, CERTIFY, VERIFY, ATTENTION = (
    f"zoo/{room}.py" for room in ("rounding", "model", "layers", "certify", "verify", "bounds/attention")
)
LINF, INTERVAL = "zoo/bounds/linf.py", "zoo/bounds/interval.py"
ONNX = "zoo/onnx.py"

K = "distance * body_lipschitz * OUTWARD * ROUND_DOWN"
RADII = "class_radii = ((margins - slack) / lipschitz).relu()"


def power_iteration(start: str, steps: int) -> tuple[str, ...]:
    """The edits that put an estimate in the place of each proof."""
    estimate = f"""def _power(gram):
    vector = {start}
    for _ in range({steps}):
        image = gram @ vector
        vector = image / max(float(np.linalg.norm(image)), 1e-300)
    return float(np.linalg.norm(gram @ vector))


def _gram("""
    return (
        *(SPECTRAL, "    residual, rounding = 0.0, 0.0\n", "    residual, rounding, best = 0.0, 0.0, 0.0\n"),
        *(SPECTRAL, "residual = max(residual, factor_residual)", "best = max(best, _power(gram))"),
        *(
            SPECTRAL,
            "return NormProof(tau, ",
            "return NormProof(best, 0.0, 0.0, 0.0, divisor)\n    return NormProof(tau, ",
        ),
        *(SPECTRAL, "def _gram(", estimate),
    )


MUTANTS = (
    # Norms of layers
    mutant(
        "power iteration as the bound", "norms witness",
        *power_iteration("np.random.default_rng(0).standard_normal(len(gram))", 10),
    ),
    mutant(
        "power iteration, 1000 steps from ones", "norms witness",
        *power_iteration("np.ones(len(gram)) / len(gram) ** 0.5", 1000),
    ),
    mutant(
        "torus of the map's own size", "norms",
        CONV, "-(-(input_shape[1 + axis] + int(layer.padding[axis])) //", "-(-input_shape[1 + axis] //",
    ),
    mutant(
        "aliases divided by s^2, not s", "norms",
        CONV, "symbol_count(stride, sides), math.sqrt(stride[0] * stride[1])",
        "symbol_count(stride, sides), float(stride[0] * stride[1])",
    ),
    mutant(
        "only one alias of a strided symbol", "norms",
        CONV, "(a * alias_rows, b * alias_columns) for a in range(stride[0]) for b in range(stride[1])", "(0, 0)",
    ),
    mutant(
        "highest frequency left out", "norms",
        CONV, "for r in range(alias_rows // 2 + 1) for c", "for r in range(max(1, alias_rows // 2)) for c",
    ),
    mutant(
        "norm of the reshaped kernel", "norms witness",
        CONV, "if layer.stride == layer.kernel_size and layer.padding == (0, 0):", "if True:",
    ),
    mutant(
        "residual's identity left out", "norms witness",
        RULES, "    method, proof, torus = convolution_norm(",
        """    if len(kernel) == context.input_shape[0] and kernel.shape[2:] == (3, 3):
        kernel[:, :, 1, 1] -= np.eye(len(kernel))
    method, proof, torus = convolution_norm(""",
    ),
    mutant(
        "strides exchanged on the torus", "norms",
        CONV, "stride, sides = (layer.stride[0], layer.stride[1])",
        "stride, sides = (layer.stride[1], layer.stride[0])",
    ),
    mutant(
        "stride left out of the dense operator", "norms witness",
        CONV, "np.arange(outputs) * stride - padding + tap", "np.arange(outputs) - padding + tap",
    ),
    mutant(
        "padding left out of the dense operator", "norms witness",
        CONV, "np.arange(outputs) * stride - padding + tap", "np.arange(outputs) * stride + tap",
    ),
    mutant(
        "residual of the Cholesky factor ignored", "norms",
        SPECTRAL, "return residual * OUTWARD, diagonal_error", "return 0.0, diagonal_error",
    ),
    mutant("residual of NaN lost in a maximum", "norms", SPECTRAL, "if math.isnan(residual):", "if False:"),
    mutant(
        "infinite constants accepted", "rounding::test_weights_beyond_all_bounds_are_refused",
        ROUNDING, "(norm <= 1e100 and error <= 1e100)", "norm <= 1e100",
    ),
    mutant(
        "normalisation counted as 1", "witness rules",
        RULES, 'float(scale.max()),\n        "scale"', '1.0,\n        "scale"',
    ),
    mutant(
        "range of pixels from their mean alone", "rounding::test_points_of_the_ball_outside_the_box_are_clamped",
        RULES, "np.maximum(np.abs(mean), np.abs(1.0 - mean)) * scale", "np.abs(mean) * scale",
    ),
    mutant(
        "absolute norm from the largest tap", "norms",
        RULES, "schur_bound(np.abs(kernel).sum(axis=(2, 3)))", "schur_bound(np.abs(kernel).max(axis=(2, 3)))",
    ),
    mutant(
        "residual's identity not added", "composite::test_no_jacobian_exceeds_the_bound",
        RESIDUAL, "skip.lipschitz + branch.lipschitz\n", "branch.lipschitz\n",
    ),
    mutant(
        "potential counted as 1", "composite::test_no_jacobian_exceeds_the_bound",
        OTHERS, "max(1.0, (norm * norm * RAISED - 1.0) * OUTWARD)", "1.0",
    ),
    mutant(
        "steps left out of the potential", "composite::test_no_jacobian_exceeds_the_bound",
        OTHERS, "np.sqrt(step) * (1.0 + 4.0 * U)", "np.ones_like(step)",
    ),
    mutant(
        "negative steps overlooked", "composite::test_a_layer_that_no_rule_proves_is_refused",
        OTHERS, "if (step < 0).any():", "if False:",
    ),
    mutant(
        "exponential counted as 1", "composite::test_no_jacobian_exceeds_the_bound",
        OTHERS, "        series * RAISED,\n", "        1.0,\n",
    ),
    mutant(
        "skewness unchecked", "composite::test_a_layer_that_no_rule_proves_is_refused",
        OTHERS, "if not (weight == -weight", "if 0 and (weight == -weight",
    ),
    mutant(
        "skewness without the flip", "composite::test_no_jacobian_exceeds_the_bound",
        OTHERS, "weight[:, :, ::-1, ::-1].swapaxes(0, 1)", "weight.swapaxes(0, 1)",
    ),
    mutant(
        "reflection counted as 1", "composite::test_no_jacobian_exceeds_the_bound",
        OTHERS, "lipschitz = 1.0 if square <= 2 else", "lipschitz = 1.0 or",
    ),
    mutant(
        "odd patches overlooked", "composite::test_a_layer_that_no_rule_proves_is_refused",
        OTHERS, "rows % layer.size or columns % layer.size", "False",
    ),
    mutant(
        "potential by another kernel than its adjoint", "composite::test_no_jacobian_exceeds_the_bound",
        LAYERS, "weight.flip(2, 3).transpose(0, 1)", "weight.transpose(0, 1)",
    ),
    mutant(
        "attention counted as 1", "composite::test_no_jacobian_exceeds_the_bound",
        ATTENTION, "value * (1.0 + 3.0 * query * key) / 4.0 * RAISED", "1.0",
    ),
    mutant(
        "attention's scores taken as fixed", "composite::test_known_constants_are_met",
        ATTENTION, "(1.0 + 3.0 * query", "(1.0 + query",
    ),
    mutant(
        "attention without its mean", "composite::test_no_jacobian_exceeds_the_bound",
        ATTENTION, "(1.0 + 3.0 * query", "(3.0 * query",
    ),
    mutant(
        "tokens left outside the ball", "composite::test_attention_is_the_sum_over_pairs_and_sees_any_size_of_token",
        LAYERS, "tokens / (tokens * tokens).sum(dim=1, keepdim=True).clamp(min=1).sqrt()", "tokens",
    ),
    mutant(
        "heads that do not fit", "composite::test_a_layer_that_no_rule_proves_is_refused",
        ATTENTION, "if layer.heads < 1 or channels % layer.heads:", "if 0:",
    ),
    mutant(
        "range of attention without its scores", "composite::test_floats_stay_within_the_stated_rounding",
        ATTENTION, "math.sqrt(tokens) * value * (1.0 + query * key)", "math.sqrt(tokens) * value * 0.5",
    ),
    # Which layers have a rule
    mutant(
        "unknown layer counts 1", "rules",
        RULES, "    if rule is None:\n",
        """    if rule is None:
        return Bound(context.input_shape, 1.0, "nonexpansive", {})
    if rule is None:
""",
    ),
    mutant(
        "rules by isinstance", "rules",
        RULES, "rule = rules.get(type(layer))",
        "rule = next((rule for kind, rule in rules.items() if isinstance(layer, kind)), None)",
    ),
    mutant(
        "hooks overlooked", "rules",
        RULES, "bool(layer._forward_hooks or layer._forward_pre_hooks or replaced)", "replaced",
    ),
    mutant(
        "replaced methods overlooked", "rules",
        RULES, "bool(layer._forward_hooks or layer._forward_pre_hooks or replaced)",
        "bool(layer._forward_hooks or layer._forward_pre_hooks)",
    ),
    mutant(
        "groups and dilation overlooked", "rules",
        CONV, '(("groups", 1), ("dilation", (1, 1)), ("padding_mode", "zeros"))', '(("padding_mode", "zeros"),)',
    ),
    mutant(
        "circular padding overlooked", "rules",
        CONV, '("dilation", (1, 1)), ("padding_mode", "zeros"))', '("dilation", (1, 1)))',
    ),
    mutant("other precisions overlooked", "rules", RULE, "if tensor.dtype != torch.float32:", "if False:"),
    mutant("shapes of weights overlooked", "rules", RULE, "if tuple(tensor.shape) != shape:", "if False:"),
    mutant("hooks of the head overlooked", "rules", CERTIFY, "if changed_by_hooks(head):", "if False:"),
    mutant("NaN weights overlooked", "rules", RULE, "if not np.isfinite(array).all():", "if False:"),
    mutant(
        "odd halves overlooked", "rules",
        RULES, 'layer.pairing == "halves" and context.input_shape[0] % 2:', "False:",
    ),
    mutant(
        "flatten's options overlooked", "rules",
        RULES, "if (layer.start_dim, layer.end_dim) != (1, -1):", "if False:",
    ),
    mutant("first layer unchecked", "rules", CERTIFY, "if type(first) is not Pixels:", "if False:"),
    mutant(
        "a shared layer counted once", "witness",
        CERTIFY, "list(network._modules.items())", "list(network.named_children())",
    ),
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
        MODEL, "value.to(self.dtype) for name", "value.to(torch.float32) for name",
        MODEL, "weights, (images,))", "weights, (images.to(torch.float32),)).to(self.dtype)",
    ),
    mutant(
        "clamp left out", "rounding::test_points_of_the_ball_outside_the_box_are_clamped",
        LAYERS, "(images.clamp(0, 1) - mean)", "(images - mean)",
    ),
    # The head and the radius
    mutant(
        "radius rounded to nearest", "radius",
        MARGINS, K, "distance * body_lipschitz",
        MARGINS, "np.sqrt(total) * (1.0 + gamma(rows.shape[1] + 8))", "np.sqrt(total)",
    ),
    mutant("row norms by one constant for all sizes", "radius", MARGINS, "(1.0 + gamma(rows.shape[1] + 8))", "OUTWARD"),
    mutant(
        "rows of the head, not their difference", "witness radius",
        MARGINS, "distance = norms(weight - weight[j])", "distance = np.maximum(row_norm, row_norm[j])",
    ),
    mutant("K times sqrt(2) / 2", "witness radius", MARGINS, f"np.maximum({K}", f"np.maximum(0.7071067811865476 * {K}"),
    mutant("K a thousandth too small", "witness", MARGINS, f"np.maximum({K}", f"np.maximum(0.999 * {K}"),
    mutant(
        "ties of constant classes as 0 / 0", "radius",
        MARGINS, f"np.maximum({K}, TINY)", K,
        MARGINS, "* OUTWARD + TINY", "* OUTWARD",
    ),
    mutant(
        "winner masked by the value of its logit", "radius",
        MODEL, RADII, "class_radii = torch.where(margins == 0, torch.inf, ((margins - slack) / lipschitz).relu())",
    ),
    mutant(
        "K read by columns", "radius",
        MODEL, "F.embedding(label, self.margin_lipschitz)", "F.embedding(label, self.margin_lipschitz.T)",
    ),
    mutant("T read by columns", "radius", MODEL, "F.embedding(label, self.slack)", "F.embedding(label, self.slack.T)"),
    mutant("domain unchecked", "radius", MODEL, "inside & ", ""),
    mutant("one pixel inside is enough", "radius", MODEL, ".amin(dim=(1, 2, 3))", ".amax(dim=(1, 2, 3))"),
    mutant("infinite logits unchecked", "radius", MODEL, " & (margins.sum(dim=1) < math.inf)", ""),
    mutant("farthest class instead of the nearest", "radius witness", MODEL, "largest=False", "largest=True"),
    # LipLT and the loop transformation
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
        "the pixels' scale left out of LipLT", "liplt witness",
        LIPLT, "layers[0].lipschitz_bound)\n\n\ndef compose", "1.0)\n\n\ndef compose",
    ),
    mutant(
        "products on the torus of the map", "liplt::test_products_are_above_their_svd",
        PRODUCTS, "        if isinstance(bias := getattr(",
        "        self.layer.padding_mode = 'circular'\n        if isinstance(bias := getattr(",
    ),
    mutant(
        "rounding of products left out", "liplt::test_the_stated_error_of_a_product_is_above_the_true_one",
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
        RESIDUAL, "{nn.ReLU: (0.0, 1.0)}", "{nn.ReLU: (0.0, 1.0), __import__('zoo.layers').layers.MinMax: (0.0, 1.0)}",
    ),
    mutant(
        "squares of products that underflow", "liplt::test_sizes_survive_squares_that_underflow",
        PRODUCTS, "self.computed.square().sum()) + TINY)", "self.computed.square().sum()))",
    ),
    mutant(
        "pairs written in another order", "liplt::test_the_certificate_takes_the_smaller_of_both_for_each_pair",
        CERTIFY, "np.tril_indices(len(table), -1)", "np.triu_indices(len(table), 1)",
    ),
    mutant(
        "pairs read in another order", "liplt",
        MARGINS, "np.tril_indices(classes, -1)", "np.triu_indices(classes, 1)",
    ),
    mutant("rounding of the Gram matrix left out", "liplt", RESIDUAL, " + error * OUTWARD + TINY", ""),
    mutant(
        "errors of products not amplified", "liplt",
        PRODUCTS, "(operator.norm * vectors.error + local)", "(vectors.error + local)",
    ),
    mutant("errors of rows left out of their norms", "liplt", LIPLT, "math.sqrt(2.0) * rows.error", "0.0 * rows.error"),
    mutant("a skip left out of the reach", "liplt", LIPLT, "(skipped + block.loop.slopes[1]", "(block.loop.slopes[1]"),
    mutant(
        "G left out of a cut", "liplt",
        LIPLT, "state = behind[k] * path_norm(loop.after) * OUTWARD", "state = behind[k]",
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
        OTHERS, "absolute_norm=(1.0 + absolute) * grown * RAISED", "absolute_norm=0.0",
    ),
    mutant(
        "a potential's products taken as exact", "stated_rounding",
        OTHERS, "absolute_norm=(1.0 + absolute * computed) * RAISED", "absolute_norm=0.0",
    ),
    mutant(
        "attention's products taken as exact", "stated_rounding",
        ATTENTION, "absolute_norm=absolutes[2] * (1.0 + absolutes[0] * absolutes[1]) / 4.0 * RAISED",
        "absolute_norm=0.0",
    ),
    mutant("reflections taken as exact", "stated_rounding", OTHERS, "fan_in=2,", "fan_in=0,"),
    mutant(
        "pairwise constants on trust", "verify::test_a_pairwise_constant_changed",
        VERIFY, "if not bound / REPEATED <= claim <= bound * REPEATED**4:", "if False:",
    ),
    # Local bounds
    mutant(
        "local: radius beyond its ball", "local::test_every_direction_of_a_plane",
        LOCAL, "LocalRadius(label, min(ball, found), ball)", "LocalRadius(label, max(ball, found), ball)",
    ),
    mutant(
        "local: units fixed by the image alone", "local::test_every_direction_of_a_plane",
        LOCAL, "_activation(layer, values, shape)", "_activation(layer, point, shape)",
    ),
    mutant(
        "local: off decided by the middle", "local::test_every_direction_of_a_plane",
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
        LOCAL, "[*through, Path(choose, 0.0, _length(paths, differences) / 2)]", "through",
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
        LOCAL, "Path(np.diag(scales), 0.0, 1.0)", "Path(np.diag(np.sign(scales)), 0.0, 1.0)",
    ),
    # l-infinity
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
        LINF, 'float(scale.max()),\n        "scale"', '1.0,\n        "scale"',
    ),
    mutant(
        "distances from weights of no size", "linf::test_every_rule_holds_for_its_layer",
        LINF, "(np.abs(weight).max(axis=1) + np.abs(bias))", "np.abs(bias)",
    ),
    mutant(
        "exact distances", "linf_intervals::test_a_distance_from_far_away_rounds",
        LINF, "{}, fan_in=1, absolute_norm=1.0", "{}, fan_in=0, absolute_norm=1.0",
    ),
    mutant(
        "norm lost inside a residual", "linf::test_every_rule_holds_for_its_layer",
        RULE, "replace(self, name=name,", 'replace(self, norm="l2", name=name,',
    ),
    mutant(
        "distance in l1", "linf::test_every_rule_holds_for_its_layer",
        LAYERS, ".abs().amax(dim=2)", ".abs().sum(dim=2)",
    ),
    mutant(
        "mean for maximum", "linf::test_no_point_of_the_ball_has_another_label",
        LAYERS, ".abs().amax(dim=2)", ".abs().mean(dim=2)",
    ),
    mutant(
        "mean for maximum in the upper end", "linf_intervals::test_ends_err_by_no_more_than_the_certificate_says",
        INTERVAL, "high.amax(dim=2), -low", "high.mean(dim=2), -low",
    ),
    mutant(
        "lower end from one side", "linf_intervals::test_ends_err_by_no_more_than_the_certificate_says",
        INTERVAL, "torch.maximum(low.amax(dim=2), -high.amin(dim=2))", "low.amax(dim=2)",
    ),
    mutant(
        "upper end from one side", "linf::test_no_point_of_the_ball_has_another_label",
        INTERVAL, "torch.maximum(high.amax(dim=2), -low.amin(dim=2))", "high.amax(dim=2)",
    ),
    mutant(
        "lower end from the nearest coordinate", "linf::test_no_point_of_the_ball_has_another_label",
        INTERVAL, "torch.cat(nearest, dim=1).clamp(min=0)", "torch.cat(farthest, dim=1)",
    ),
    mutant(
        "signs of weights lost", "linf::test_no_point_of_the_ball_has_another_label",
        INTERVAL, 'weights["weight"].abs())', 'weights["weight"])',
    ),
    mutant(
        "width of intervals lost", "linf::test_no_point_of_the_ball_has_another_label",
        INTERVAL, "return centre - reach, centre + reach", "return centre, centre",
    ),
    mutant(
        "half of the width", "linf::test_no_point_of_the_ball_has_another_label",
        INTERVAL, "product((upper - lower) / 2,", "product((upper - lower) / 4,",
    ),
    mutant(
        "scales assumed positive", "linf::test_no_point_of_the_ball_has_another_label",
        INTERVAL, "torch.minimum(one, other), torch.maximum(one, other)", "one, other",
    ),
    mutant(
        "box forgotten", "linf::test_the_lower_edge_of_the_box_counts_as_well",
        INTERVAL, "(lower.clamp(0, 1) - mean)", "(lower - mean)",
    ),
    mutant(
        "upper edge of the box forgotten", "linf::test_no_point_of_the_ball_has_another_label",
        INTERVAL, "(upper.clamp(0, 1) - mean)", "(upper - mean)",
    ),
    mutant(
        "box too small", "linf::test_no_point_of_the_ball_has_another_label",
        INTERVAL, "(upper.clamp(0, 1) - mean)", "(upper.clamp(0, 0.9) - mean)",
    ),
    mutant(
        "one side of the box", "linf::test_no_point_of_the_ball_has_another_label",
        INTERVAL, "(images - reach).flatten", "(images - 0 * reach).flatten",
    ),
    mutant(
        "width of the features lost", "linf::test_no_point_of_the_ball_has_another_label",
        INTERVAL, " - rows.abs() @ reach[:, :, None]", "",
    ),
    mutant(
        "rows of the head without signs", "linf::test_no_point_of_the_ball_has_another_label",
        INTERVAL, "rows.abs() @ reach", "rows @ reach",
    ),
    mutant(
        "biases of the head exchanged", "linf::test_no_point_of_the_ball_has_another_label",
        INTERVAL, "(bias.index_select(0, chosen)[:, None] - bias)", "(bias - bias.index_select(0, chosen)[:, None])",
    ),
    mutant(
        "identity left out of a residual's interval", "linf::test_no_point_of_the_ball_has_another_label",
        INTERVAL, "return lower + low, upper + high", "return low, high",
    ),
    mutant("skip left out of a residual's interval", "linf", INTERVAL, "if layer.skip is not None:", "if False:"),
    mutant(
        "only the first pixels clamped", "linf",
        INTERVAL, "(lower.clamp(0, 1) - mean) * scale, (upper.clamp(0, 1) - mean)",
        "(lower - mean) * scale, (upper - mean)",
        INTERVAL, "(images - reach).flatten", "(images - reach).clamp(min=0).flatten",
        INTERVAL, "(images + reach).flatten", "(images + reach).clamp(max=1).flatten",
    ),
    mutant(
        "biases published as they are in l-infinity", "linf",
        LINF, "np.abs(bias).max()) * RAISED", "np.abs(bias).max())",
    ),
    mutant("residuals that work in place", "rules", RESIDUAL, 'if getattr(layer, "inplace", False):', "if False:"),
    mutant(
        "levels as float32", "linf_intervals::test_the_graph_tries_the_level_that_it_answers",
        INTERVAL, "reach = levels[", "reach = levels.float().to(levels.dtype)[",
    ),
    mutant(
        "levels one off", "linf::test_no_point_of_the_ball_has_another_label",
        MODEL, "proved, levels[:, None, None]", "proved, levels.roll(-1)[:, None, None]",
    ),
    mutant(
        "smallest of the proved levels", "linf::test_no_point_of_the_ball_has_another_label",
        MODEL, "levels[:, None, None], 0).amax(dim=0)", "levels[:, None, None], 9).amin(dim=0)",
    ),
    mutant(
        "one level proves all", "linf::test_no_point_of_the_ball_has_another_label",
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
        "levels outside of the domain", "linf::test_no_level_counts_for_inputs_outside_the_domain",
        MODEL, "(least > 2 * slack) & admissible", "least > 2 * slack",
    ),
    mutant(
        "domain of a hundredth", "linf_intervals::test_ends_err_by_no_more_than_the_certificate_says",
        CERTIFY, 'if norm == "l2" else 1.0', 'if norm == "l2" else 0.01',
    ),
    mutant(
        "levels unchecked", "linf::test_another_norm_and_other_levels_are_refused",
        CERTIFY, "not all(low < high for", "not all(low != 9 or high for",
    ),
    mutant(
        "another norm unchecked", "linf::test_a_certificate_relabelled_as_another_norm_does_not_load",
        MODEL, "if certificate.norm not in TABLES:", "if False:",
    ),
    # The files
    mutant(
        "kernel transposed in the graph", "graph::test_margins_of_the_graph_are_within_half_of_the_slack",
        ONNX, "in itertools.product(range(kernel_rows), range(kernel_columns)):",
        "in ((r, c) for c in range(kernel_columns) for r in range(kernel_rows)):",
    ),
    mutant(
        "tables in float32 in the graph", "graph::test_the_tables_in_the_graph_are_those_of_the_certificate",
        MODEL, "torch.from_numpy(tables.margin_lipschitz).to(dtype)",
        "torch.from_numpy(tables.margin_lipschitz).float().to(dtype)",
    ),
    mutant(
        "verify lets a potential be less than 1", "verify",
        VERIFY, 'if bound.method == "convex-potential":', "if False:",
    ),
    mutant(
        "hooks inside of layers overlooked", "rules",
        MODEL, "for layer in self.network.modules())", "for layer in (self.network, *self.network))",
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
        "terms of proofs pass verify", "verify::test_a_changed_certificate",
        VERIFY, "if bound.proof and not wrong:", "if bound.proof:",
        VERIFY, "for term in wrong:", "for term in ():",
    ),
    mutant(
        "verify takes the body's constants on trust", "verify::test_what_follows_from_the_layers_must_follow",
        VERIFY, "if getattr(published, field) != value]", "if False]",
    ),
    mutant(
        "a forged graph says that another version wrote it",
        "verify::test_a_graph_that_cannot_be_exported_again_is_not_verified",
        VERIFY, "elif not is_pinned(folder.config.name, folder.digest):", "elif False:",
    ),
    mutant(
        "verify takes the graph on trust", "verify::test_a_changed_graph",
        VERIFY, "return differences or list(_graph_differences(folder))", "return differences",
    ),
)  # fmt: skip
