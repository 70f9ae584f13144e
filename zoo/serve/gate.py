"""Before and after every HTTP request: its id, token, limits and body; the log line, the metrics."""

from __future__ import annotations

import asyncio
import hmac
import itertools
import json
import logging
import os
import re
import time
from contextlib import ExitStack, suppress
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zoo.serve.service import HELD_BYTES, BusyError, Service

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
OPEN = ("/v2/health/", "/docs", "/openapi.json", "/static-offline-docs/")  # need no token: they tell of no model
LINGER_SECONDS = 2.0  # for a refused client to stop sending and read why

log = logging.getLogger("zoo.serve")


class RefusedError(Exception):
    """The request ends here, with this status."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def problem(status: int, message: str, request_id: str) -> tuple[bytes, dict[str, str]]:
    """The body and headers of an error: the Open Inference Protocol's {"error": ...}, with the request's id."""
    headers = {"content-type": "application/json"}
    if status == 429:
        headers["retry-after"] = "1"
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return json.dumps({"error": message, "request_id": request_id}).encode(), headers


class Gate:
    """The application behind it sees admitted requests only, each with its whole body."""

    def __init__(self, app: ASGIApp, service: Service, token: str | None):
        self._app, self._service, self._token = app, service, token
        self._numbers, self._start = itertools.count(1), os.urandom(6).hex()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start, status, sent = time.perf_counter(), 500, 0
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        identity = given if REQUEST_ID.fullmatch(given) else f"{self._start}-{next(self._numbers)}"
        scope.setdefault("state", {})["request_id"] = identity

        async def answer(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *self._headers(scope, identity)]}
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            with ExitStack() as held:
                self._check_token(scope["path"], headers.get(b"authorization", b""))
                if scope["method"] == "POST":
                    self._admit(held)
                    receive = await self._body(scope, headers, receive, held)
                await self._app(scope, receive, answer)
        except RefusedError as refused:
            await self._refuse(refused, identity, receive, answer)
        finally:
            seconds = time.perf_counter() - start
            route = getattr(scope.get("route"), "path", "other")
            self._service.metrics.requests.labels(route, status).inc()
            self._service.metrics.seconds.labels(route).observe(seconds)
            log.info(
                {
                    "event": "request",
                    "request_id": identity,
                    "method": scope["method"],
                    "path": scope["path"][:200],
                    "status": status,
                    "bytes": sent,
                    "seconds": round(seconds, 6),
                }
            )

    def _headers(self, scope: Scope, identity: str) -> list[tuple[bytes, bytes]]:
        headers = [(b"x-request-id", identity.encode())]
        if served := self._service.served.get(scope.get("path_params", {}).get("name", "")):
            headers.append((b"x-model-digest", f"sha256:{served.digest}".encode()))
        if self._service.draining:
            headers.append((b"connection", b"close"))
        return headers

    def _check_token(self, path: str, authorization: bytes) -> None:
        if self._token is None or path.startswith(OPEN):
            return
        if not hmac.compare_digest(authorization, f"Bearer {self._token}".encode()):
            raise RefusedError(401, "this server asks for a token: send 'Authorization: Bearer TOKEN'")

    def _admit(self, held: ExitStack) -> None:
        try:
            held.enter_context(self._service.admitted())
        except BusyError as error:
            raise RefusedError(429, str(error)) from error

    async def _body(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, held: ExitStack) -> Receive:
        """A `receive` that gives the whole body at once. Raises RefusedError where it is too long, or too slow."""
        service, limit = self._service, self._service.limits.body
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > limit:
            raise RefusedError(413, f"a body of {int(length)} bytes, at most {limit} are accepted")
        body, more = bytearray(), True
        held.callback(lambda: setattr(service, "held", service.held - len(body)))
        patience = None if scope["state"].get("arrived") else service.limits.seconds
        try:
            async with asyncio.timeout(patience):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RefusedError(400, "the client left before its body was there")
                    chunk, more = message.get("body", b""), message.get("more_body", False)
                    body += chunk
                    service.held += len(chunk)
                    if len(body) > limit:
                        raise RefusedError(413, f"the body is longer than {limit} bytes")
                    if service.held > HELD_BYTES:
                        raise RefusedError(429, "too many large requests at once: try again")
        except TimeoutError as error:
            raise RefusedError(408, f"the body did not arrive within {service.limits.seconds:g} s") from error
        messages = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def whole() -> Message:
            return messages.pop() if messages else await receive()

        return whole

    async def _refuse(self, refused: RefusedError, identity: str, receive: Receive, send: Send) -> None:
        """Answers, then lets the client finish: to close with bytes unread would destroy the answer on its way."""
        body, headers = problem(refused.status, str(refused), identity)
        fields: dict[str, Any] = {**headers, "content-length": str(len(body)), "connection": "close"}
        raw = [(name.encode(), value.encode()) for name, value in fields.items()]
        await send({"type": "http.response.start", "status": refused.status, "headers": raw})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while (message := await receive())["type"] == "http.request" and message.get("more_body"):
                    pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})
