"""Are the soundness tests worth anything? Each mutant breaks one step of the proof and must turn a test red.

    python tests/soundness/mutate.py [PATTERN ...] [--jobs N] [--mutants-only]

patches a temporary copy of `zoo/` and `export/`, runs there the tests that ought to notice, and prints which one did.
With "-" for a pattern it reads names from standard input, one a line, and answers each before it reads the next.
Exits with 1 if a mutant survives, cannot be applied, or breaks more than it should (the tests do not even collect).
"""

from __future__ import annotations

import argparse
import gc
import importlib
import itertools
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 120  # seconds for one mutant
AS_IS = Mutant("no mutant", (), "")
HEAVY = (
    *("pytest", "torch", "numpy", "hypothesis", "mpmath", "onnx", "onnxruntime"),
    *("safetensors.torch", "huggingface_hub.hf_api", "pyarrow.parquet", "PIL.Image", "rich.console"),
)


def load_libraries() -> None:
    """Once, for all the processes to come: what the tests import."""
    for name in HEAVY:
        importlib.import_module(name)


def make_copy(mutant: Mutant, folder: Path) -> None:
    """The checkout's code and soundness tests, with the mutant's edits. Raises ValueError where one does not apply."""
    for name in ("zoo", "export", "tests/soundness"):
        shutil.copytree(ROOT / name, folder / name)  # with the byte code, which saves half of a run
    for name in ("pyproject.toml", "tests/__init__.py"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)
    for file, old, new in mutant.edits:
        text = (folder / file).read_text()
        if text.count(old) != 1:
            raise ValueError(f"{file} has {text.count(old)} times, not once: {old!r}")
        (folder / file).write_text(text.replace(old, new))
        for stale in (folder / file).parent.glob(f"__pycache__/{Path(file).stem}.*"):
            stale.unlink()


def run_tests(folder: Path, tests: list[str]) -> None:
    """In a process of its own: run the tests of the copy and exit as pytest does."""
    signal.alarm(LIMIT)
    gc.freeze()  # nothing that is shared gets collected here
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    log = os.open("log", os.O_CREAT | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    import pytest

    nodes = [re.sub(r"^\w+", r"tests/soundness/test_\g<0>.py", name) for name in tests]
    code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--tb=line", "-c", "pyproject.toml", *nodes])
    sys.stdout.flush()
    os._exit(int(code))


def start(mutant: Mutant, folder: Path) -> int:
    """The process that tests a mutant; of the code as it is, every test that any mutant names."""
    tests = sorted({one.test for one in (MUTANTS if mutant is AS_IS else [mutant])})
    child = os.fork()
    if child == 0:
        try:
            run_tests(folder, tests)
        except BaseException:
            traceback.print_exc()
        os._exit(99)
    return child


def verdict(folder: Path, status: int) -> tuple[bool, str]:
    """Whether a test failed, and which one."""
    log = (folder / "log").read_text() if (folder / "log").exists() else ""
    red = re.search(r"^(?:FAILED|ERROR) tests/soundness/(\S+::.*?)(?: - .*)?$", log, re.MULTILINE)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 1 and red:
        return True, red[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
        return False, "no test failed"
    return False, f"the tests did not run: status {status}, {log.strip().splitlines()[-1:]}"


def asked() -> Iterator[Mutant]:
    """The mutants whose names standard input tells, each as soon as it is told."""
    named = {one.name: one for one in MUTANTS}
    for line in sys.stdin:
        yield named[line.rstrip("\n")]


def main() -> int:
    parser = argparse.ArgumentParser(description="Break the proof in one place at a time; a test must notice.")
    parser.add_argument(
        "patterns", nargs="*", default=[""], help="only mutants whose name contains one of these; - asks"
    )
    parser.add_argument("--jobs", type=int, default=2, help="mutants tested at a time")
    parser.add_argument("--mutants-only", action="store_true", help="do not first run the tests on the code as it is")
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if any(pattern in mutant.name for pattern in options.patterns)]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # its rewriting of assertions warns of what is imported already
    load_libraries()
    waiting = asked() if options.patterns == ["-"] else iter(chosen)
    waiting = waiting if options.mutants_only else itertools.chain([AS_IS], waiting)
    began, running, killed, survivors = time.monotonic(), {}, 0, []
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        while True:
            while len(running) < options.jobs and (current := next(waiting, None)):
                folder = Path(tempfile.mkdtemp(dir=scratch))
                try:
                    make_copy(current, folder)
                except ValueError as error:
                    survivors.append(current)
                    print(f"STALE     {current.name}: {error}", flush=True)
                    continue
                running[start(current, folder)] = (current, folder, time.monotonic())
            if not running:
                break
            child, status = os.wait()
            current, folder, started = running.pop(child)
            red, test = verdict(folder, status)
            if current is AS_IS:  # the code as it is: every test must pass, or a red one says nothing of a mutant
                if test != "no test failed":
                    print(f"RED       without any mutant: {test}")
                    survivors.append(current)
            elif red:
                killed += 1
                print(f"killed    {time.monotonic() - started:5.1f} s  {current.name:45} {test}", flush=True)
            else:
                survivors.append(current)
                print(f"SURVIVED  {current.name:45} {test}", flush=True)
            shutil.rmtree(folder)
    print(f"{killed} of {killed + len(survivors)} killed in {time.monotonic() - began:.0f} s")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
