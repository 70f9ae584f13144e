"""Rounding, bounded: the constants of IEEE-754 binary64 and the error that a network's layers accumulate.

Model of arithmetic (M): every entry of a matrix product is a sum of n products, evaluated by binary64
round-to-nearest additions, multiplications and fused multiply-adds in *any* order. Then |fl(XY) - XY| <=
gamma_n |X||Y| entrywise (Higham 2002, "Accuracy and Stability of Numerical Algorithms", sections 3.1 and 3.5).
Conventional blocked GEMM obeys it; kernels by Strassen, Winograd or FFT do not. The graph's own Toom-Cook (Winograd)
products of convolutions are chains of matrix products, each of which obeys it: see `zoo.bounds.lowered`.
"""

from __future__ import annotations

from collections.abc import Iterable

from zoo.errors import CertificateError, UncertifiableLayerError
from zoo.records import LayerBound

U = 2.0**-53  # the unit roundoff of binary64
TINY = 1e-300  # above everything that underflow can lose here
UNDERFLOW = 1e-280  # inside a layer: gamma times this outweighs what underflow loses, also once it is amplified

# Bounds up to this one are accepted, after every layer and after every layer inside a block. An input of such a norm,
# amplified by as much, is at most 1e200, and what one layer of float32 weights makes of it on the way stays below
# 1e300: so no number overflows, and (M) holds. Squares are larger: `l2_pool` has a limit of its own inside a block.
MAX_BOUND = 1e100

# One factor that outweighs the rounding of any scalar expression in this package: its positive terms are added and
# multiplied fewer than 2^12 times, so their relative error stays below gamma_4096 < 2^-40.
OUTWARD = 1.0 + 2.0**-40

SMALLEST, NORMAL = 2.0**-1074, 2.0**-1022  # positive numbers of float64: the smallest, and the smallest normal one
LOST = 2.0**-60  # what a sum with 1 loses if it is rounded to nearest


def check_arithmetic() -> None:
    """Raise CertificateError unless this thread rounds to nearest and keeps subnormal numbers, as IEEE-754 says."""
    if SMALLEST == 0.0 or NORMAL / 2.0 == 0.0:
        raise CertificateError(
            "this process flushes subnormal numbers to zero, and no certificate speaks of that: "
            "torch.set_flush_denormal(False), or leave out the library that sets it"
        )
    if not 1.0 + LOST == 1.0 == 1.0 - LOST:
        raise CertificateError(
            "this thread does not round to the nearest number, and no certificate speaks of that: restore "
            "round-to-nearest before you call the zoo"
        )


def gamma(n: int) -> float:
    """At least n u / (1 - n u), the relative error of a sum of n products."""
    return n * U / (1.0 - n * U) * (1.0 + 4.0 * U)


def propagate(layers: Iterable[LayerBound], domain_norm: float) -> tuple[float, float]:
    """Bounds (norm, error) of the body's computed output x^: |x^| <= norm, |x^ - x| <= error, in the layers' norm.

    `domain_norm` bounds that norm, l2 or l-infinity, of every admissible input. For a layer x -> A x + b whose sums
    have n terms, followed by nothing or by an exact nonexpansive map that fixes 0, one step is

        e     = gamma_{n+2} (| |A| | norm + |b|)
        norm' = min(K norm + |b|, range) + e
        error' = K error + e

    so one static pair of numbers holds for every input of the domain, in any order of summation. The rule of a layer
    of another form states its three constants (`fan_in` n, `absolute_norm` | |A| |, `offset_norm` |b|) such that e
    bounds its local error, and |h(0)| <= |b|.
    Raises UncertifiableLayerError where a bound is above MAX_BOUND after any layer, however small it is at the end.
    Source: Higham 2002, section 3.5; Murray 2026, arXiv 2603.13334, has the same recursion per input.
    """
    norm, error = domain_norm, 0.0
    for layer in layers:
        local = 0.0
        if layer.fan_in:
            local = gamma(layer.fan_in + 2) * (layer.absolute_norm * norm + layer.offset_norm) * OUTWARD + TINY
        reach = layer.lipschitz_bound * norm + layer.offset_norm
        if layer.range_norm is not None:
            reach = min(reach, layer.range_norm)
        norm = (reach + local) * OUTWARD
        error = (layer.lipschitz_bound * error + local) * OUTWARD
        if not (norm <= MAX_BOUND and error <= MAX_BOUND):
            told = "the weights are too large: the rounding of binary64 cannot be bounded"
            raise UncertifiableLayerError(f"layer {layer.name!r} cannot be certified: {told}")
    return norm, error
