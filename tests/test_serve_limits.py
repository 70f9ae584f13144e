"""What a client may cost: bodies that nobody reads, JSON of too many values, answers that it does not take."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from typing import Any

import pytest

from tests.serving import MNIST, Server, serving
from zoo.serve.gate import Gate
from zoo.serve.metrics import Metrics
from zoo.serve.service import Limits, Service

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_only_a_post_has_a_body(method: str):
    """A body that is read would go around the limits, which a POST alone must keep."""
    service, seen = Service(Limits(), Metrics()), []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await receive())

    async def endless() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message: Any) -> None:
        pass

    scope = {"type": "http", "method": method, "path": "/v2/logging", "headers": []}
    asyncio.run(Gate(app, service, None)(scope, endless, send))
    assert seen == [{"type": "http.request", "body": b"", "more_body": False}]
    service.close()


@pytest.mark.parametrize("path", [f"/v1/models/{MNIST}/certify", "/v2/logging", "/v2/repository/index"])
def test_json_of_many_values(server: Server, path: str):
    status, _, answer = server.request("POST", path, json.dumps({"image": [[]] * 5000}).encode(), JSON)
    assert (status, "values, at most 1000 are needed" in json.loads(answer)["error"]) == (400, True)


@pytest.mark.parametrize("path", ["/v2/logging", "/v2/trace/setting", "/v2/repository/index"])
def test_a_long_body_of_settings(server: Server, path: str):
    assert server.request("POST", path, json.dumps({"a": "x" * 2**17}).encode(), JSON)[0] == 413


def unread(server: Server, request: bytes) -> socket.socket:
    """A connection that has sent these bytes and reads nothing."""
    host, port = server.host.split(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client.connect((host, int(port)))
    client.sendall(request)
    return client


def test_a_client_that_reads_no_answer_keeps_no_place():
    page = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    index = b"POST /v2/repository/index HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    with serving(MNIST, "--timeout", "1", "--queue", "1") as server:
        with unread(server, (page + index) * 300):
            seen, deadline = [0], time.monotonic() + 20
            while seen[-1] != 200 or 429 not in seen:  # its place is taken, then free
                assert time.monotonic() < deadline, seen
                seen.append(server.request("POST", "/v2/repository/index")[0])
        assert [line for line in server.log if line["level"] != "info"] == []


def test_a_client_that_leaves_is_no_fault_of_the_server():
    script = b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
    with serving(MNIST) as server:
        for _ in range(30):
            client = unread(server, script * 2)
            client.recv(100)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        server.logged(count=30, event="request")
        assert server.stop() == 0
        assert [line for line in server.log if line["level"] != "info"] == []
