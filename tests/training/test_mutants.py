"""Each parametrisation, broken on purpose: the test that watches it must turn red.

A mutant is the module's source with one text replaced, and the class or function of that name put in the place of the
real one for the test that is named, which must then fail.
"""

import inspect
import types
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

from tests.training import test_constraints, test_frequency, test_orthogonal
from training import constraints, frequency, orthogonal

Check = Callable[[ModuleType, pytest.MonkeyPatch], None]


def matrix(kind: str, shape: tuple[int, int], scale: float = 1.0) -> Check:
    test = test_orthogonal.test_a_matrix_has_norm_at_most_1
    return lambda mutant, patch: test(getattr(mutant, kind), shape, scale)


def named(module: ModuleType, test: str, name: str, *arguments: Any, patched: bool = False) -> Check:
    """The test of this name, with the mutant's `name` in its module."""

    def check(mutant: ModuleType, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(module, name, getattr(mutant, name))
        getattr(module, test)(*arguments, *([patch] if patched else []))

    return check


KERNEL = "test_a_kernel_has_norm_at_most_1_at_any_size_stride_and_padding"
BLOCK = named(test_orthogonal, KERNEL, "BlockOrthogonalKernel", "block", 6, 4, 3, 1)
AOL = named(test_orthogonal, KERNEL, "AlmostOrthogonalColumns", "aol", 6, 4, 3, 1)
ROWS = named(test_constraints, "test_almost_orthogonal_rows_have_norm_at_most_1", "AlmostOrthogonalRows")
SKEW = "test_skew_kernels_are_exactly_skew_and_reflections_no_longer_than_the_root_of_2"
REFLECTOR = named(test_orthogonal, "test_a_block_reflector_is_part_of_a_reflection", "BlockReflector", (16, 16))
BJORCK = named(
    test_orthogonal, "test_bjorck_has_norm_at_most_1_at_any_number_of_steps", "bjorck", 5, patched=True
)  # fmt: skip
LOT = named(test_frequency, "test_lot_has_norm_at_most_1_after_any_number_of_steps", "lot", 1.0, 10, patched=True)
SYMBOLS = named(
    test_frequency, "test_a_layer_by_the_symbols_of_a_kernel_is_its_circular_convolution", "symbols", 6
)  # fmt: skip

MUTANTS: dict[str, tuple[ModuleType, str, str, Check]] = {
    "Cholesky factor of half the Gram matrix": (
        orthogonal, "cholesky(gram + ridge", "cholesky(gram / 2 + ridge", matrix("CholeskyRows", (12, 30)),
    ),
    "Cholesky ridge taken away": (
        orthogonal, "gram + ridge * torch", "gram - ridge * torch", matrix("CholeskyRows", (12, 30)),
    ),
    "Cayley without its identity": (
        orthogonal, "2 * inverse - identity", "2 * inverse", matrix("Cayley", (16, 16)),
    ),
    "Cayley of a part that is not skew": (
        orthogonal, "upper - upper.mH", "upper", matrix("Cayley", (30, 12)),
    ),
    "Cayley without the rest": (
        orthogonal, " + rest.mH @ rest", "", matrix("Cayley", (30, 12)),
    ),
    "three times onto for twice": (orthogonal, "- 2 * onto", "- 3 * onto", REFLECTOR),
    "projector by the Gram matrix itself": (
        orthogonal, "torch.linalg.solve(gram + weight", "torch.matmul(gram + weight", REFLECTOR,
    ),
    "Bjorck's last step too long": (orthogonal, "rows = 1.5 * rows", "rows = 1.6 * rows", BJORCK),
    "Bjorck from a start that is too large": (orthogonal, "square = trace *", "square = 0.05 * trace *", BJORCK),
    "a block's projectors that do not add up": (orthogonal, "onto) - onto\n", "onto) + onto\n", BLOCK),
    "a block of one projector": (orthogonal, "not_p @ q, not_p", "p @ q, not_p", BLOCK),
    "sums of the correlation without absolute values": (
        constraints, ".abs().sum(dim=(2, 3))", ".sum(dim=(2, 3)).abs()", AOL,
    ),
    "correlation at shift 0 alone": (constraints, "padding=weight.shape[2] - 1", "padding=0", AOL),
    "root of the row sums not taken": (
        constraints,
        "+ more).rsqrt()",
        "+ more).reciprocal()",
        matrix("AlmostOrthogonalColumns", (12, 30), 1e-2),
    ),
    "row sums without their weights": (constraints, "@ q / q", "@ q", ROWS),
    "Gram matrix's signs kept": (constraints, "return product.abs()", "return product", ROWS),
    "a symmetric kernel for a skew one": (
        constraints, "weight - weight.flip", "weight + weight.flip", named(test_constraints, SKEW, "SkewKernel"),
    ),
    "reflections of full length": (
        constraints, " * (1.0 - 2.0**-21)", "", named(test_constraints, SKEW, "UnitPairs"),
    ),
    "Newton's step too long": (frequency, "(3 * identity - z @ y) / 2", "2 * identity - z @ y", LOT),
    "LOT not divided by the root of the size": (frequency, "z @ wide / size.sqrt()", "z @ wide", LOT),
    "symbols of the kernel turned over": (frequency, "* taps\n", "* -taps\n", SYMBOLS),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_parametrisation_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch):
    module, old, new, check = MUTANTS[name]
    source = inspect.getsource(module)
    assert source.count(old) == 1
    mutant = types.ModuleType(module.__name__)
    exec(compile(source.replace(old, new), name, "exec"), mutant.__dict__)
    torch.manual_seed(0)
    check(module, monkeypatch)
    with pytest.raises((AssertionError, torch.linalg.LinAlgError)):  # the latter where a number is NaN
        check(mutant, monkeypatch)
