"""Every mutant of the proof turns a test red; see mutate.py, which also runs by itself and prints the table."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .mutants import MUTANTS, TELLING

ALL = [pytest.param(one.name, marks=() if one.name in TELLING else pytest.mark.slow, id=one.name) for one in MUTANTS]


@pytest.fixture(scope="session")
def mutate() -> Iterator[subprocess.Popen[str]]:
    """mutate.py, which takes names and answers them; the code without a mutant is what the other files test."""
    command = [sys.executable, Path(__file__).with_name("mutate.py"), "-", "--mutants-only", "--jobs", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as running:
        yield running
        running.communicate()


@pytest.mark.parametrize("name", ALL)
def test_a_mutant_turns_a_test_red(name: str, mutate: subprocess.Popen[str]):
    assert mutate.stdin is not None
    assert mutate.stdout is not None
    mutate.stdin.write(f"{name}\n")
    answer = mutate.stdout.readline()
    assert re.match(rf"killed +\S+ s +{re.escape(name)} ", answer), answer


def test_the_telling_ones_are_mutants():
    assert set(TELLING) < {one.name for one in MUTANTS}
