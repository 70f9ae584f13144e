"""The mutants of the proof; `mutate.py` tries them."""

from mutants import certificate, linf, liplt, local, lowered, norms
from mutants.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *norms.MUTANTS,
    *certificate.MUTANTS,
    *liplt.MUTANTS,
    *local.MUTANTS,
    *lowered.MUTANTS,
    *linf.MUTANTS,
)
