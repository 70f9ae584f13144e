"""What a client may cost: bodies that nobody reads, JSON of too many values, answers that it does not take."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.serving import MNIST, Server
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
