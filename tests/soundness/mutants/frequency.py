"""Mutants of layers in the Fourier basis, and of the sandwich."""

from __future__ import annotations

from .mutant import FOURIER, FREQUENCY, LAYERS_BY_FREQUENCY, mutant

MUTANTS = (
    mutant(
        "a frequency left out", "frequency::test_a_convolution_is_bounded_by_its_matrices[zeros around-0.001]",
        FREQUENCY, "    bias = context.exact(layer.bias, outputs)\n    proof = context.prove(list(zip(real, imaginary,",
        "    bias = context.exact(layer.bias, outputs)\n    proof = context.prove(list(zip(real[1:], imaginary[1:],",
    ),
    mutant(
        "real parts alone", "frequency::test_a_convolution_is_bounded_by_its_matrices",
        FREQUENCY, "    return real, imaginary\n", "    return real, 0.0 * imaginary\n",
    ),
    mutant(
        "matrices on any map", "frequency::test_another_input_is_refused",
        FREQUENCY, "if list(sides) != [size, size]:", "if False:",
    ),
    mutant(
        "padding left out of the torus", "frequency::test_the_matrices_of_a_kernel_are_its_circular_convolution",
        FOURIER, "np.arange(padding, padding + side) % torus", "np.arange(side) % torus",
        LAYERS_BY_FREQUENCY, "return (back @ y)", "return (back.roll(padding, 0) @ y)",
    ),
    mutant(
        "conjugates count twice on every axis",
        "frequency::test_the_matrices_of_a_kernel_are_its_circular_convolution",
        FOURIER, "twice[[0, -1] if torus % 2 == 0 else [0]] = 1.0", "twice[[0]] = 1.0",
    ),
    mutant(
        "cosines of the machine", "frequency::test_the_transform_has_the_nearest_numbers_of_binary64",
        FOURIER, "float(entry / root)", "float(entry) / float(root)",
    ),
    mutant(
        "sandwich not squared", "frequency::test_a_sandwich_can_be_as_long_as_its_bound",
        FREQUENCY, "norm * norm * RAISED,", "norm * RAISED,",
    ),
    mutant(
        "sandwich by its inner matrix alone", "frequency::test_a_sandwich_can_be_as_long_as_its_bound",
        FREQUENCY, "context.prove([(weight, None)])", "context.prove([(weight[:, outputs:], None)])",
    ),
    mutant(
        "the larger of the sandwich's norms", "frequency::test_no_jacobian_of_a_sandwich_exceeds_its_bound",
        FREQUENCY, "norm * norm * RAISED,", "norm * norm / 2.0 * RAISED,",
    ),
    mutant(
        "a sandwich's bound without room for verify", "table::test_what_verify_takes_a_little_lower_was_raised_before",
        FREQUENCY, "norm * norm * RAISED,", "norm * norm * OUTWARD,",
    ),
    mutant(
        "sums over the hidden channels not counted",
        "frequency::test_a_sandwich_counts_the_terms_of_the_sums_of_both_its_matrices",
        FREQUENCY, "matrices[:, :, :outputs].swapaxes(1, 2)", "matrices[:, :, :outputs]",
    ),
    mutant(
        "rounding of one stage", "frequency::test_a_chain_adds_up_what_each_of_its_stages_errs_by",
        FREQUENCY, "return ChainRounding(terms, sum(parts) * OUTWARD)",
        "return ChainRounding(terms, max(parts) * OUTWARD)",
    ),
    mutant(
        "transforms that do not round",
        "frequency::test_the_amplification_of_rounding_covers_stages_that_err_in_all_their_products",
        FREQUENCY, "(perron_bound(np.abs(part)) for part in", "(1e-3 for part in",
    ),
    mutant(
        "matrices that do not round",
        "frequency::test_the_amplification_of_rounding_covers_stages_that_err_in_all_their_products",
        FREQUENCY, "max(norm, UNDERFLOW), absolute)", "max(norm, UNDERFLOW), 1e-3)",
    ),
    mutant(
        "sandwich's bias left out", "rules::test_every_rule_holds_for_its_layer[Sandwich]",
        FREQUENCY, "offset_norm=(2.0 * (norm + outer.absolute) * offset + lost) * RAISED", "offset_norm=lost",
    ),
)  # fmt: skip
