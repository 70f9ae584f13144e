"""The mutants of the proof; `mutate.py` tries them."""

from . import certificate, frequency, linf, liplt, local, lowered, norms, shifts
from .mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *norms.MUTANTS,
    *certificate.MUTANTS,
    *liplt.MUTANTS,
    *local.MUTANTS,
    *lowered.MUTANTS,
    *linf.MUTANTS,
    *frequency.MUTANTS,
    *shifts.MUTANTS,
)

# Those that `make test` tries, one for each kind of claim.
TELLING = (
    "torus of the map's own size",
    "hooks overlooked",
    "residual's identity not added",
    "no amplification by tiles",  # what Toom-Cook's transforms cost
    "tiles that overlap count once",
    "T = 0",  # the slack of rounding
    "radius rounded to nearest",
    "winner masked by the value of its logit",  # ties
    "a term of LipLT's sum dropped",
    "exact distances",  # the rounding of intervals
)
