"""`zoo hub` in a process of its own, and what it was asked."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

TOKEN = "a-token-of-the-tests"
QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}

FETCH = """
import sys, zoo
from zoo.hub.client import fetch
for source in sys.argv[1:]:
    try:
        print(fetch(source).config.name)
    except zoo.ZooError as error:
        print(type(error).__name__, "|", error)
"""


class HubProcess:
    """A running hub over a folder; with a token it can be written to."""

    def __init__(self, folder: Path, log: Path, token: bool = False, port: int = 0):
        arguments = [sys.executable, "-m", "zoo", "hub", str(folder), "--port", str(port)]
        if token:
            log.with_suffix(".token").write_text(f"{TOKEN}\n")
            arguments += ["--token-file", str(log.with_suffix(".token"))]
        self.log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(arguments, stdout=file, stderr=subprocess.STDOUT)
        self.address = self._address()
        self.port = int(self.address.rpartition(":")[2])

    def _address(self) -> str:
        for _ in range(600):
            if "Started server process" in (text := self.log.read_text()):
                return re.findall(r"HF_ENDPOINT=(\S+)", text)[0]
            assert self.process.poll() is None, text
            time.sleep(0.05)
        raise AssertionError(f"no hub after 30 s: {self.log.read_text()}")

    def requests(self) -> list[tuple[str, str, int]]:
        """Method, path and status of each request so far."""
        found = re.findall(r'- "(\w+) (\S+) HTTP/[\d.]+" (\d+)', self.log.read_text())
        return [(method, path, int(status)) for method, path, status in found]

    def __enter__(self) -> HubProcess:
        return self

    def __exit__(self, *raised: object) -> None:
        self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """As a service manager stops it; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


def start_fetch(endpoint: str, home: Path, *sources: str, **more: str) -> subprocess.Popen[str]:
    """A process that fetches each source through the stock client; it reads HF_ENDPOINT once, so it must be its own."""
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), **QUIET, **more}
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, *sources],
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> list[str]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.splitlines()
