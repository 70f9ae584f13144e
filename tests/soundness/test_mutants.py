"""Every mutant of the proof turns a test red; see mutate.py, which also runs by itself and prints the table."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_no_mutant_survives():
    script = Path(__file__).with_name("mutate.py")
    command = [sys.executable, script, "--mutants-only"]  # the code as it is, is what the other files test
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
