"""The command as a process: its help, its exit codes, closed outputs and signals."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import zoo

from .command import Zoo

INTERRUPTED = """
import sys
class Interrupt:
    def find_spec(self, name, *rest):
        if name == sys.argv[1]:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
from zoo.__main__ import main
main()
"""


class TestProcess:
    def start(self, *arguments: str, stdout: Any = subprocess.PIPE) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "zoo", *arguments],
            stdout=stdout, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1],
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job would ignore it
        )  # fmt: skip

    def test_help_and_version(self):
        process = self.start()
        out, err = process.communicate()
        assert (process.returncode, err) == (0, "")
        for command in ("list", "info", "predict", "verify", "evaluate", "doctor", "Exit codes"):
            assert command in out
        assert all(len(line) <= 80 for line in out.splitlines())
        assert self.start("--version").communicate()[0] == f"certified-zoo {zoo.__version__}\n"

    def test_arguments_in_help_are_their_names(self, run: Zoo):
        for command, usage in (
            ("list", "[PATTERN]"),
            ("info", "NAME"),
            ("compare", "NAME NAME [DATASET]"),
            ("predict", "NAME IMAGE..."),
            ("verify", "NAME|FOLDER"),
            ("evaluate", "NAME DATASET"),
            ("doctor", ""),
        ):
            out = run(command, "--help").out
            assert out.splitlines()[0] == f"Usage: zoo {command} [OPTIONS] {usage}".rstrip()
            assert not re.search(r"<|\[\[|\{", out)
            assert "  --help" in out

    def test_seconds_that_are_none_are_told(self, run: Zoo):
        for seconds in ("inf", "nan", "0"):
            assert "--timeout is 0.01 to 86400 seconds, got" in run.fails("serve", "2c2f-mnist", "--timeout", seconds)

    @pytest.mark.parametrize("arguments", [("list",), ("list", "--json")])
    def test_a_reader_that_leaves_is_no_error(self, arguments: tuple[str, ...]):
        process = self.start(*arguments)
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 141
        process.stderr.close()

    def test_a_closed_output_is_one_line(self):
        command = [sys.executable, "-m", "zoo", "list"]
        result = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *command], stderr=subprocess.PIPE, text=True)
        assert (result.returncode, result.stderr) == (2, "zoo: standard output is closed\n")

    def test_a_full_disk_is_one_line(self):
        with Path("/dev/full").open("w") as full:
            process = self.start("list", stdout=full)
            _, err = process.communicate()
        assert (process.returncode, err) == (2, "zoo: No space left on device\n")

    @pytest.mark.parametrize("module", ["typer", "zoo.machine"])
    def test_ctrl_c_while_it_is_imported_ends_quietly(self, module: str):
        process = subprocess.run([sys.executable, "-c", INTERRUPTED, module], capture_output=True, text=True)
        assert (process.returncode, process.stdout, process.stderr) == (130, "", "")

    def test_a_character_that_the_output_lacks_is_escaped(self, pictures: list[Path], tmp_path: Path):
        picture = Path(shutil.copy(pictures[0], tmp_path / "\u00fc.png"))
        command = [sys.executable, "-m", "zoo", "predict", "2c2f-mnist", picture.name]
        settings = {**os.environ, "PYTHONIOENCODING": "ascii"}
        process = subprocess.run(command, env=settings, cwd=tmp_path, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        assert "\\xfc.png" in process.stdout

    def test_ctrl_c_ends_quietly(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        with socket.create_server(("127.0.0.1", 0)) as silent:  # a hub that never answers
            silent.settimeout(60)
            monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
            monkeypatch.setenv("HF_HOME", str(tmp_path))
            monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
            process = self.start("info", "hf-hub:org/toy")
            connection, _ = silent.accept()  # waits until the command asks
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
            connection.close()
        assert (process.returncode, out, err) == (130, "", "")
