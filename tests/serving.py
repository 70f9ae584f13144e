"""A real `zoo serve` in a process of its own, for tests that are real clients."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MNIST, CIFAR = "2c2f-mnist", "liresnet-l4w32-cifar10-jpeg75"


@dataclass
class Server:
    """The process, where it listens, and the JSON lines it has logged."""

    process: subprocess.Popen[Any]
    host: str
    grpc: str
    reader: threading.Thread
    log: list[dict[str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower case) and body of one request on a connection of its own."""
        connection = HTTPConnection(self.host, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        finally:
            connection.close()

    def json(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of a successful answer to a JSON body."""
        data = None if body is None else json.dumps(body).encode()
        status, _, content = self.request(method, path, data, {"Content-Type": "application/json"})
        assert status == 200, content
        return json.loads(content)

    def resident(self) -> int:
        """The process's memory in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert match
        return 1024 * int(match[1])

    def processor_seconds(self) -> float:
        """What the process has taken of all cores so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def logged(self, since: int = 0, count: int = 1, **fields: object) -> list[dict[str, Any]]:
        """The lines from number `since` on that have these fields, once there are `count`: they follow the answers."""
        deadline = time.monotonic() + 20
        while True:
            found = [line for line in self.log[since:] if fields.items() <= line.items()]
            if len(found) >= count:
                return found
            assert time.monotonic() < deadline, (len(found), count, fields)
            time.sleep(0.01)

    def stop(self) -> int:
        """End the process; its last line is logged then."""
        self.process.terminate()
        code = self.process.wait(60)
        self.reader.join(60)
        return code


@contextmanager
def serving(*arguments: str) -> Iterator[Server]:
    """A server on free ports, ready; its process has ended when this is left."""
    command = [sys.executable, "-m", "zoo", "serve", *arguments, "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log: list[dict[str, Any]] = []
    assert process.stdout
    assert process.stderr
    lines = process.stderr
    reader = threading.Thread(target=lambda: log.extend(json.loads(line) for line in lines), daemon=True)
    try:
        told = ""
        while "documents" not in told:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            told += line
        match = re.search(r"documents http://(\S+)/docs, .* gRPC (\S+)", told)
        assert match
        reader.start()
        yield Server(process, match[1], match[2], reader, log)
    finally:
        process.terminate()
        process.wait(60)
        if reader.ident:
            reader.join()
        process.stdout.close()
        process.stderr.close()
