"""Every mutant of the proof turns a test red; see mutate.py, which also runs by itself and prints the table."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.once import once

from .mutants import MUTANTS, TELLING

ALL = [pytest.param(one.name, marks=() if one.name in TELLING else pytest.mark.slow, id=one.name) for one in MUTANTS]


@pytest.fixture(scope="session")
def verdicts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What mutate.py prints of the mutants that this session asks for."""
    chosen = [item.callspec.params["name"] for item in request.session.items if "verdicts" in item.fixturenames]

    def try_all(folder: Path) -> None:
        # The code without a mutant is what the other files test.
        command = [sys.executable, Path(__file__).with_name("mutate.py"), "--mutants-only", "--jobs", "1", *chosen]
        done = subprocess.run(command, capture_output=True, text=True)
        (folder / "verdicts").write_text(done.stdout + done.stderr)

    return (once(tmp_path_factory, "mutants", try_all) / "verdicts").read_text()


@pytest.mark.parametrize("name", ALL)
def test_a_mutant_turns_a_test_red(name: str, verdicts: str):
    assert re.search(rf"^killed +\S+ s +{re.escape(name)} ", verdicts, re.MULTILINE), verdicts


def test_the_telling_ones_are_mutants():
    assert set(TELLING) < {one.name for one in MUTANTS}
