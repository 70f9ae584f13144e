"""What the second verifier says of a folder: `tests/checker`, which shares no code with the zoo."""

from __future__ import annotations

from typing import Any

from benchmarks.soundness.subject import Subject
from tests import checker


def test(subject: Subject, count: int) -> dict[str, Any]:
    """The row of a model; what could not be checked is asked again the next time."""
    try:
        return {"holds": True, "told": checker.check(subject.folder.path), "violations": 0}
    except checker.Unchecked as error:
        return {"asked": 0, "holds": False, "told": f"not checked: {error}", "violations": 0}
    except checker.Failed as error:
        return {"holds": False, "told": str(error), "violations": 1}
