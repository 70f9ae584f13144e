"""Are the soundness tests worth anything? Each mutant breaks one step of the proof and must turn a test red.

    python tests/soundness/mutate.py [PATTERN ...] [--jobs N] [--mutants-only]

runs the tests that ought to notice in a process that imports the edited text for the file, and prints which one did.
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
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import IO

from mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 300  # seconds of CPU time for a process
AS_IS = Mutant("no mutant", (), "")
HEAVY = (
    *("pytest", "torch", "numpy", "hypothesis", "mpmath", "onnx", "onnxruntime"),
    *("safetensors.torch", "huggingface_hub.hf_api", "pyarrow.parquet", "PIL.Image", "rich.console"),
    "torch.fx.experimental.symbolic_shapes",  # with SymPy, which the first gradient imports
)


def load_libraries() -> None:
    """Once, for all the processes to come: what the tests import."""
    for name in HEAVY:
        importlib.import_module(name)


def tested(mutant: Mutant) -> tuple[Mutant, ...]:
    """The mutants whose files are imported and whose tests are run: of the code as it is, all of them."""
    return MUTANTS if mutant is AS_IS else (mutant,)


def edited(mutant: Mutant) -> dict[str, str]:
    """The texts of the files that the mutant changes. Raises ValueError where an edit does not apply."""
    texts = {file: (ROOT / file).read_text() for one in tested(mutant) for file, _, _ in one.edits}
    for file, old, new in mutant.edits:
        if texts[file].count(old) != 1:
            raise ValueError(f"{file} has {texts[file].count(old)} times, not once: {old!r}")
        texts[file] = texts[file].replace(old, new)
    return {str(ROOT / file): text for file, text in texts.items()}


def import_instead(texts: dict[str, str]) -> set[str]:
    """From now on a file of `texts` is imported as that text, whatever byte code there is. The set fills with those."""
    read, imported = SourceFileLoader.get_code, set()

    def get_code(loader: SourceFileLoader, module: str) -> object:
        if loader.path not in texts:
            return read(loader, module)
        imported.add(loader.path)
        return compile(texts[loader.path], loader.path, "exec", dont_inherit=True)

    SourceFileLoader.get_code = get_code
    return imported


def run_tests(texts: dict[str, str], tests: list[str]) -> int:
    """In a process of its own: the tests with these texts, and pytest's exit code, or 98 if one was not imported."""
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    gc.freeze()  # nothing that is shared gets collected here
    imported = import_instead(texts)
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    import pytest

    nodes = [re.sub(r"^\w+", r"tests/soundness/test_\g<0>.py", name) for name in tests]
    options = ["-x", "-q", "-p", "no:cacheprovider", "--tb=line", "--confcutdir=tests/soundness"]
    code = pytest.main([*options, *nodes])
    return int(code) if imported == set(texts) else 98


def start(mutant: Mutant, log: IO[str]) -> int:
    """The process that tests a mutant."""
    tests, texts = sorted({one.test for one in tested(mutant)}), edited(mutant)
    child = os.fork()
    if child == 0:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        code = 99
        try:
            code = run_tests(texts, tests)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return child


def verdict(log: str, status: int) -> tuple[bool, str]:
    """Whether a test failed, and which one."""
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
    while True:
        while len(running) < options.jobs and (current := next(waiting, None)):
            log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed when its process has ended)
            try:
                running[start(current, log)] = (current, log, time.monotonic())
            except ValueError as error:
                survivors.append(current)
                print(f"STALE     {current.name}: {error}", flush=True)
        if not running:
            break
        child, status = os.wait()
        current, log, started = running.pop(child)
        with log:
            log.seek(0)
            red, test = verdict(log.read(), status)
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
    print(f"{killed} of {killed + len(survivors)} killed in {time.monotonic() - began:.0f} s")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
