"""A mutant breaks one step of the proof, and the test that it names must notice."""

from __future__ import annotations

from dataclasses import dataclass

ATTENTION = "zoo/bounds/attention.py"
CERTIFY = "zoo/certificate/certify.py"
CONV = "zoo/bounds/convolution.py"
CONVOLVE = "zoo/lowering/convolution.py"
FIXED = "zoo/bounds/fixed.py"
FOURIER = "zoo/layers/fourier.py"
FIXED_LAYERS = "zoo/layers/fixed.py"
FREQUENCY = "zoo/bounds/frequency.py"
INTERVAL = "zoo/bounds/interval.py"
LAYERS = "zoo/layers/trained.py"
LINEAR = "zoo/bounds/linear.py"
LINF = "zoo/bounds/linf.py"
LIPLT = "zoo/bounds/liplt.py"
LAYERS_BY_FREQUENCY = "zoo/layers/frequency.py"
LOCAL = "zoo/certificate/local.py"
LOWERED = "zoo/bounds/lowered.py"
MARGINS = "zoo/bounds/margins.py"
MODEL = "zoo/certificate/model.py"
ORTHOGONAL = "zoo/bounds/orthogonal.py"
POOLING = "zoo/bounds/pooling.py"
POTENTIAL = "zoo/bounds/potential.py"
PRODUCTS = "zoo/bounds/products.py"
RESIDUAL = "zoo/bounds/residual.py"
ROUNDING = "zoo/bounds/rounding.py"
RULE = "zoo/bounds/rule.py"
SIZES = "zoo/lowering/sizes.py"
SPECTRAL = "zoo/bounds/spectral.py"
TABLE = "zoo/bounds/table.py"
VERIFY = "zoo/publication/verify.py"
WINDOWS = "zoo/lowering/windows.py"


@dataclass(frozen=True)
class Mutant:
    name: str
    edits: tuple[tuple[str, str, str], ...]  # file, the text that stands there exactly once, the text instead
    test: str  # of tests/soundness: the middle of a file's name, or that and a test of it: "liplt::test_cuts"


def mutant(name: str, test: str, *edits: str) -> Mutant:
    """Edits come in threes: file, old text, new text."""
    return Mutant(name, tuple(zip(edits[::3], edits[1::3], edits[2::3], strict=True)), test)
