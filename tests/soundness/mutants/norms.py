"""Norms of layers, and which layers have a rule."""

from __future__ import annotations

from .mutant import (
    ATTENTION,
    CERTIFY,
    CONV,
    FIXED,
    LAYERS,
    LINEAR,
    LOWERED,
    MODEL,
    ORTHOGONAL,
    POOLING,
    POTENTIAL,
    PRODUCTS,
    RESIDUAL,
    ROUNDING,
    RULE,
    SIZES,
    SPECTRAL,
    WINDOWS,
    mutant,
)


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
        *(SPECTRAL, "    headroom = HEADROOM\n", "    headroom, start = HEADROOM, tau\n"),
        *(
            SPECTRAL,
            "return tau, residual, (gram_error + diagonal_error) * OUTWARD",
            "return max(start, _power(gram)), 0.0, 0.0",
        ),
        *(SPECTRAL, "def _gram(", estimate),
    )


MUTANTS = (
    # Norms of layers
    mutant(
        "power iteration as the bound", "norms::test_separable_kernels",
        *power_iteration("np.random.default_rng(0).standard_normal(len(gram))", 10),
    ),
    mutant(
        "power iteration, 1000 steps from ones", "norms::test_separable_kernels",
        *power_iteration("np.ones(len(gram)) / len(gram) ** 0.5", 1000),
    ),
    mutant(
        "torus of the map's own size", "norms::test_separable_kernels",
        CONV, "-(-(side + padding) //", "-(-side //",
    ),
    mutant(
        "aliases divided by s^2, not s", "norms::test_ones_are_an_eigenvector_but_not_the_top_one",
        CONV, "symbol_count(stride, sides), math.sqrt(stride[0] * stride[1])",
        "symbol_count(stride, sides), float(stride[0] * stride[1])",
    ),
    mutant(
        "only one alias of a strided symbol", "norms::test_ones_are_an_eigenvector_but_not_the_top_one",
        CONV, "(a * alias_rows, b * alias_columns) for a in range(stride[0]) for b in range(stride[1])", "(0, 0)",
    ),
    mutant(
        "highest frequency left out", "norms::test_separable_kernels",
        CONV, "count = symbol_count(stride, sides)", "count = max(1, alias_rows // 2) * alias_columns",
    ),
    mutant(
        "norm of the reshaped kernel", "norms::test_separable_kernels",
        CONV, "if sizes.stride == sizes.kernel and sizes.padding == (0, 0):", "if True:",
    ),
    mutant(
        "residual's identity left out", "norms::test_residual_convolution_includes_its_identity",
        LINEAR, "    method, proof, torus = convolution_norm(kernels",
        """    if len(kernels[0]) == context.input_shape[0] and kernels[0].shape[2:] == (3, 3):
        kernels[0][:, :, 1, 1] -= np.eye(len(kernels[0]))
    method, proof, torus = convolution_norm(kernels""",
    ),
    mutant(
        "strides exchanged on the torus", "norms::test_random_tori",
        CONV, "stride, sides = sizes.stride,", "stride, sides = sizes.stride[::-1],",
    ),
    mutant(
        "stride left out of the dense operator", "norms::test_random_small_maps",
        CONV, "outputs * sizes.stride[axis] - sizes.padding[axis] + tap", "outputs - sizes.padding[axis] + tap",
    ),
    mutant(
        "padding left out of the dense operator", "norms::test_separable_kernels",
        CONV, "sizes.stride[axis] - sizes.padding[axis] + tap", "sizes.stride[axis] + tap",
    ),
    mutant(
        "residual of the Cholesky factor ignored", "norms::test_a_wrong_cholesky_factor_proves_nothing_false",
        SPECTRAL, "return residual * OUTWARD, diagonal_error", "return 0.0, diagonal_error",
    ),
    mutant(
        "residual of NaN lost in a maximum", "norms::test_a_wrong_cholesky_factor_proves_nothing_false",
        SPECTRAL, "if math.isnan(residual):", "if False:",
    ),
    mutant(
        "infinite constants accepted", "rounding::test_weights_beyond_all_bounds_are_refused",
        ROUNDING, "(norm <= MAX_BOUND and error <= MAX_BOUND)", "norm <= MAX_BOUND",
    ),
    mutant(
        "size of the numbers checked at the end only",
        "rounding::test_weights_beyond_all_bounds_are_refused[up, a branch, down]",
        ROUNDING, "        if not (norm <= MAX_BOUND", "    if not (norm <= MAX_BOUND",
    ),
    mutant(
        "size of the numbers inside a block unchecked",
        "rounding::test_weights_beyond_all_bounds_are_refused[up and down in a branch]",
        RESIDUAL, "if not gain <= MAX_BOUND:", "if False:",
    ),
    mutant(
        "size of the numbers counted anew inside each block",
        "rounding::test_weights_beyond_all_bounds_are_refused[up in each of six branches]",
        RESIDUAL, "gain=gain)", "gain=1.0)",
    ),
    mutant(
        "normalisation counted as 1", "witness::test_the_normalisation_is_part_of_the_network",
        FIXED, 'float(scale.max()),\n        "scale"', '1.0,\n        "scale"',
    ),
    mutant(
        "range of pixels from their mean alone", "rounding::test_points_of_the_ball_outside_the_box_are_clamped",
        FIXED, "np.maximum(np.abs(mean), np.abs(1.0 - mean)) * scale", "np.abs(mean) * scale",
    ),
    mutant(
        "absolute norm from the largest tap", "norms::test_random_patches",
        LOWERED, "math.prod(kernel.shape[1:]), schur_bound(np.abs(kernel).sum(axis=(2, 3)))",
        "math.prod(kernel.shape[1:]), schur_bound(np.abs(kernel).max(axis=(2, 3)))",
    ),
    mutant(
        "residual's identity not added", "composite::test_no_jacobian_exceeds_the_bound[residual, dense-0.001]",
        RESIDUAL, "skip.lipschitz + branch.lipschitz\n", "branch.lipschitz\n",
    ),
    mutant(
        "potential counted as 1", "composite::test_no_jacobian_exceeds_the_bound[potential, dense and narrow-0.3]",
        POTENTIAL, "max(1.0, (norm * norm * RAISED - 1.0) * OUTWARD)", "1.0",
    ),
    mutant(
        "steps left out of the potential",
        "composite::test_no_jacobian_exceeds_the_bound[potential, dense and narrow-0.3]",
        POTENTIAL, "np.sqrt(step) * (1.0 + 4.0 * U)", "np.ones_like(step)",
    ),
    mutant(
        "negative steps overlooked",
        "composite::test_a_layer_that_no_rule_proves_is_refused[potential with a negative step]",
        POTENTIAL, "if (step < 0).any():", "if False:",
    ),
    mutant(
        "exponential counted as 1", "composite::test_no_jacobian_exceeds_the_bound[exponential-0.3]",
        ORTHOGONAL, "        series * RAISED,\n", "        1.0,\n",
    ),
    mutant(
        "skewness unchecked",
        "composite::test_a_layer_that_no_rule_proves_is_refused[exponential of what is not skew]",
        ORTHOGONAL, "if not (weight == -weight", "if 0 and (weight == -weight",
    ),
    mutant(
        "skewness without the flip", "composite::test_no_jacobian_exceeds_the_bound[exponential-0.001]",
        ORTHOGONAL, "weight[:, :, ::-1, ::-1].swapaxes(0, 1)", "weight.swapaxes(0, 1)",
    ),
    mutant(
        "reflection counted as 1", "composite::test_no_jacobian_exceeds_the_bound[householder on maps-3.0]",
        ORTHOGONAL, "lipschitz = 1.0 if square <= 2 else", "lipschitz = 1.0 or",
    ),
    mutant(
        "odd patches overlooked",
        "composite::test_a_layer_that_no_rule_proves_is_refused[patches that do not fill the map]",
        FIXED, "rows % layer.size or columns % layer.size", "False",
    ),
    mutant(
        "potential by another kernel than its adjoint",
        "composite::test_no_jacobian_exceeds_the_bound[potential, convolution-0.001]",
        LAYERS, "weight.flip(2, 3).transpose(0, 1)", "weight.transpose(0, 1)",
    ),
    mutant(
        "attention counted as 1", "composite::test_no_jacobian_exceeds_the_bound[attention-3.0]",
        ATTENTION, "value * (1.0 + 3.0 * query * key) / 4.0 * RAISED", "1.0",
    ),
    mutant(
        "attention's scores taken as fixed", "composite::test_known_constants_are_met[attention of identities]",
        ATTENTION, "(1.0 + 3.0 * query", "(1.0 + query",
    ),
    mutant(
        "attention without its mean", "composite::test_no_jacobian_exceeds_the_bound[attention-0.001]",
        ATTENTION, "(1.0 + 3.0 * query", "(3.0 * query",
    ),
    mutant(
        "tokens left outside the ball", "composite::test_attention_is_the_sum_over_pairs_and_sees_any_size_of_token",
        LAYERS, "tokens / (tokens * tokens).sum(dim=1, keepdim=True).clamp(min=1).sqrt()", "tokens",
    ),
    mutant(
        "heads that do not fit",
        "composite::test_a_layer_that_no_rule_proves_is_refused[attention with heads that do not divide]",
        ATTENTION, "if layer.heads < 1 or channels % layer.heads:", "if 0:",
    ),
    mutant(
        "range of attention without its scores",
        "composite::test_floats_stay_within_the_stated_rounding[attention, one head and one token-0]",
        ATTENTION, "math.sqrt(tokens) * value * (1.0 + query * key)", "math.sqrt(tokens) * value * 0.5",
    ),
    # Layers without trained weights
    mutant(
        "windows that overlap count once", "rules::test_windows_that_overlap_are_all_moved_by_one_pixel",
        POOLING, 'math.prod(int(counts.sum(axis=0).max()) for counts in axes) if context.norm == "l2" else 1', "1",
    ),
    mutant(
        "averages along one axis", "composite::test_no_jacobian_exceeds_the_bound[averages that overlap-0.3]",
        POOLING, "math.prod(proof.bound for proof in proofs.values())", 'proofs["rows"].bound / 2.0',
    ),
    mutant(
        "divisors overlooked", "composite::test_no_jacobian_exceeds_the_bound[averages that overlap-0.3]",
        WINDOWS, "layer.divisor_override or kernel[0] * kernel[1]", "kernel[0] * kernel[1]",
    ),
    mutant(
        "windows of padding alone overlooked", "refused::test_a_layer_that_no_rule_proves_is_refused",
        WINDOWS, "if min(windows.outputs) > 0 and not all(", "if 0 and not all(",
    ),
    mutant(
        "windows that end outside overlooked", "refused::test_a_layer_that_no_rule_proves_is_refused",
        WINDOWS, "if layer.ceil_mode:", "if False:",
    ),
    mutant(
        "averages taken as exact", "rules::test_every_rule_holds_for_its_layer[AvgPool2d]",
        POOLING, "terms, fan_in=math.prod(windows.kernel)", "terms, fan_in=0",
    ),
    mutant(
        "normalisation without its weight", "rules::test_every_rule_holds_for_its_layer[BatchNorm2d]",
        LINEAR, "np.abs(context.exact(layer.weight, channels))", "np.ones(channels)",
    ),
    mutant(
        "normalisation by the variance", "rules::test_every_rule_holds_for_its_layer[BatchNorm2d]",
        LINEAR, "weight / np.sqrt(variance + layer.eps)", "weight / (variance + layer.eps)",
    ),
    mutant(
        "normalisation without its mean", "rules::test_every_rule_holds_for_its_layer[BatchNorm2d]",
        LINEAR, "scale * np.abs(mean) + np.abs(context", "np.abs(context",
    ),
    mutant(
        "training mode overlooked", "refused::test_a_layer_that_no_rule_proves_is_refused",
        RULE, "        if in_training(layer):\n", "        if False:\n",
    ),
    mutant(
        "a model in training mode answers", "rules::test_a_model_in_training_mode_does_not_answer",
        MODEL, "if any(in_training(layer) for layer in self.network.modules()):", "if False:",
    ),
    mutant(
        "leaks of any slope", "refused::test_a_layer_that_no_rule_proves_is_refused",
        FIXED, "if not 0.0 <= layer.negative_slope <= 1.0:", "if False:",
    ),
    mutant(
        "what ONNX Runtime leaves out", "graph::test_no_optimiser_leaves_out_a_constant_next_to_a_neutral_one",
        RULE, "return 0.0 < abs(number - neutral) < NEUTRAL[neutral]", "return False",
    ),
    mutant(
        "a leak next to 1", "refused::test_a_layer_that_no_rule_proves_is_refused",
        FIXED, "if left_out(layer.negative_slope, 1.0):", "if False:",
    ),
    mutant(
        "an eps next to 0", "refused::test_a_layer_that_no_rule_proves_is_refused",
        LINEAR, "if left_out(layer.eps, 0.0):", "if False:",
    ),
    mutant(
        "a branch's constant that underflows",
        "extremes::test_a_branch_whose_constant_underflows_on_the_way_keeps_what_comes_after[l2]",
        RESIDUAL, "walk.lipschitz * bound.lipschitz_bound + TINY", "walk.lipschitz * bound.lipschitz_bound",
    ),
    mutant(
        "a product that underflows", "extremes::test_liplt_leaves_products_that_would_underflow_to_the_product_bound",
        PRODUCTS, "<= MAX_NORM and least >= LEAST", "<= MAX_NORM",
    ),
    mutant(
        "squares that overflow", "extremes::test_norms_of_patches_whose_squares_would_overflow_are_refused",
        FIXED, "if context.gain > MAX_GAIN:", "if False:",
    ),
    mutant(
        "a scale next to 1", "refused::test_a_layer_that_no_rule_proves_is_refused",
        LINEAR, "if channels == 1 and left_out(", "if channels == 0 and left_out(",
    ),
    mutant(
        "a leak taken as exact", "rules::test_every_rule_holds_for_its_layer[LeakyReLU]",
        FIXED, '"slopes", {}, fan_in=1)', '"slopes", {})',
    ),
    mutant(
        "a clamp that fixes 0", "rules::test_every_rule_holds_for_its_layer[Hardtanh]",
        FIXED, "(min(max(0.0, low), high), max(-low, high))", "(0.0, max(-low, high))",
    ),
    mutant(
        "a clamp's reach from its upper end", "rules::test_every_rule_holds_for_its_layer[Hardtanh]",
        FIXED, "min(max(0.0, low), high), max(-low, high))", "min(max(0.0, low), high), high)",
    ),
    mutant(
        "groups that do not divide overlooked", "refused::test_a_layer_that_no_rule_proves_is_refused",
        FIXED, "if context.input_shape[0] % layer.size:", "if False:",
    ),
    # Which layers have a rule
    mutant(
        "unknown layer counts 1", "refused::test_a_layer_that_no_rule_proves_is_refused",
        RULE, "        if rule is None:\n",
        """        if rule is None:
            return Bound(self.input_shape, 1.0, "nonexpansive", {})
        if rule is None:
""",
    ),
    mutant(
        "rules by isinstance", "refused::test_a_layer_that_no_rule_proves_is_refused",
        RULE, "rule = rules.get(type(layer))",
        "rule = next((rule for kind, rule in rules.items() if isinstance(layer, kind)), None)",
    ),
    mutant(
        "hooks overlooked", "refused::test_a_layer_that_no_rule_proves_is_refused",
        RULE, "bool(layer._forward_hooks or layer._forward_pre_hooks or of_all or replaced)", "replaced",
    ),
    mutant(
        "hooks of all modules overlooked", "changed::test_a_hook_of_all_modules_is_noticed",
        RULE, "or of_all or", "or",
    ),
    mutant(
        "replaced methods overlooked", "refused::test_a_layer_that_no_rule_proves_is_refused",
        RULE, "or of_all or replaced)", "or of_all)",
    ),
    mutant(
        "compiled calls overlooked", "refused::test_a_layer_that_no_rule_proves_is_refused[compiled ReLU]",
        RULE, "replaced or layer._compiled_call_impl is not None", "replaced",
    ),
    mutant(
        "a layer that stands twice overlooked",
        "changed::test_a_certified_model_with_another_option_or_layer_does_not_answer",
        MODEL, "named_modules(remove_duplicate=False)", "named_modules()",
    ),
    mutant(
        "later weights answered for", "changed::test_a_certified_model_with_other_weights_or_tables_does_not_answer",
        MODEL, "if self._checksums != _checksums(self):", "if False:",
    ),
    mutant(
        "other weights answered for", "changed::test_a_certificate_answers_for_the_network_that_it_was_made_of_alone",
        MODEL, "if hashlib.sha256(save(weights_of(network))).hexdigest() != certificate.weights_sha256:", "if False:",
    ),
    mutant(
        "other layers answered for", "changed::test_a_certificate_answers_for_the_network_that_it_was_made_of_alone",
        MODEL, "if write_layers(network) != write_layers(described):", "if False:",
    ),
    mutant(
        "a later padding answered for", "refused::test_a_layer_whose_numbers_are_not_what_it_says_is_refused",
        CONV, "if list(padded) != [left, left, top, top]:", "if False:",
    ),
    mutant(
        "tensors of any class", "refused::test_a_layer_whose_numbers_are_not_what_it_says_is_refused",
        RULE, "return type(tensor) in (Tensor, nn.Parameter)", "return True",
    ),
    mutant(
        "residuals of the tau of the moment",
        "norms::test_a_proof_that_starts_from_a_published_tau_is_that_which_was_published",
        SPECTRAL, "islice(family, last)", "islice(family, 0)",
    ),
    mutant(
        "only the first group", "rules::test_convolutions_in_any_form_are_at_least_their_norm",
        CONV, "return np.split(filled, layer.groups), of_group", "return np.split(filled, layer.groups)[:1], of_group",
    ),
    mutant(
        "gaps overlooked", "rules::test_convolutions_in_any_form_are_at_least_their_norm",
        CONV, "filled[:, :, :: layer.dilation[0], :: layer.dilation[1]]",
        "filled[:, :, : layer.kernel_size[0], : layer.kernel_size[1]]",
    ),
    mutant(
        "a torus taken for zeros", "rules::test_convolutions_in_any_form_are_at_least_their_norm",
        SIZES, 'circular = layer.padding_mode == "circular" and any(padding)', "circular = False",
    ),
    mutant(
        "zeros taken for a torus", "rules::test_zeros_around_a_map_can_have_a_larger_norm_than_its_torus",
        SIZES, 'circular = layer.padding_mode == "circular" and any(padding)', "circular = any(padding)",
    ),
    mutant(
        "windows that meet on the torus", "refused::test_a_layer_that_no_rule_proves_is_refused",
        CONV, "or outputs * stride > side", "",
    ),
    mutant(
        "reflected padding overlooked", "refused::test_a_layer_that_no_rule_proves_is_refused",
        CONV, 'if layer.padding_mode not in ("zeros", "circular"):', "if False:",
    ),
    mutant(
        "half of a transposed convolution", "rules::test_convolutions_in_any_form_are_at_least_their_norm",
        LINEAR, "_convolution([weight], adjoint", "_convolution([weight / 2], adjoint",
    ),
    mutant(
        "other precisions overlooked", "refused::test_a_layer_that_no_rule_proves_is_refused",
        RULE, "if tensor.dtype != torch.float32:", "if False:",
    ),
    mutant(
        "shapes of weights overlooked", "refused::test_a_layer_that_no_rule_proves_is_refused",
        RULE, "if tuple(tensor.shape) != shape:", "if False:",
    ),
    mutant(
        "hooks of the head overlooked", "refused::test_a_network_that_no_theorem_covers_is_refused",
        CERTIFY, "if changed_by_hooks(head):", "if False:",
    ),
    mutant(
        "NaN weights overlooked", "refused::test_a_layer_that_no_rule_proves_is_refused",
        RULE, "if not np.isfinite(array).all():", "if False:",
    ),
    mutant(
        "odd halves overlooked", "refused::test_a_layer_that_no_rule_proves_is_refused",
        FIXED, 'layer.pairing == "halves" and context.input_shape[0] % 2:', "False:",
    ),
    mutant(
        "flatten's options overlooked", "refused::test_a_layer_that_no_rule_proves_is_refused",
        FIXED, "if (layer.start_dim, layer.end_dim) != (1, -1):", "if False:",
    ),
    mutant(
        "first layer unchecked", "refused::test_a_network_that_no_theorem_covers_is_refused",
        CERTIFY, "if type(first) is not Pixels:", "if False:",
    ),
    mutant(
        "a shared layer counted once", "witness::test_dense_chain",
        CERTIFY, "list(network._modules.items())", "list(network.named_children())",
    ),
)  # fmt: skip
