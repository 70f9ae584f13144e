"""What happens before and after every HTTP request: id, token, limits and body; then the log line and the metrics."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import re
import time
from contextlib import ExitStack, suppress
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zoo.errors import InputError, ZooError
from zoo.serve.bodies import coding, decoded
from zoo.serve.problems import BusyError, SlowBodyError, TokenError, TooLongError, problem, status
from zoo.serve.service import HELD_BYTES, Service
from zoo.web import bears

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
OPEN = ("/v2/health/", "/docs", "/openapi.json", "/static-offline-docs/")  # paths that need no token
LINGER_SECONDS = 2.0  # in which a refused client may finish sending and read the answer

log = logging.getLogger("zoo.serve")


class Gate:
    """An application of which the one behind it sees only admitted requests, each with its whole body."""

    def __init__(self, app: ASGIApp, service: Service, token: str | None):
        self._app, self._service, self._token = app, service, token
        self._numbers, self._start = itertools.count(1), os.urandom(6).hex()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start, code, sent = time.perf_counter(), 500, 0
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        identity = given if REQUEST_ID.fullmatch(given) else f"{self._start}-{next(self._numbers)}"
        scope.setdefault("state", {})["request_id"] = identity

        async def answer(message: Message) -> None:
            nonlocal code, sent
            if message["type"] == "http.response.start":
                code = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *self._headers(scope, identity)]}
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            with ExitStack() as held:
                self._check_token(scope["path"], headers.get(b"authorization", b""))
                if scope["method"] == "POST":
                    held.enter_context(self._service.admitted())
                    receive = await self._body(scope, headers, receive, held)
                else:
                    receive = _whole(b"", receive)  # no other method's body is read
                await self._app(scope, receive, answer)
        except ZooError as refused:
            await self._refuse(refused, identity, receive, answer)
        finally:
            seconds = time.perf_counter() - start
            route = getattr(scope.get("route"), "path", "other")
            self._service.metrics.requests.labels(route, code).inc()
            self._service.metrics.seconds.labels(route).observe(seconds)
            log.info(
                {
                    "event": "request",
                    "request_id": identity,
                    "method": scope["method"],
                    "path": scope["path"][:200],
                    "status": code,
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
        if not bears(authorization, self._token):
            raise TokenError("this server asks for a token: send 'Authorization: Bearer TOKEN'")

    async def _body(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, held: ExitStack) -> Receive:
        """A `receive` that gives the whole decoded body at once. Raises ZooError if it is too long or too slow."""
        service, limit = self._service, self._service.limits.body
        length, name = (
            headers.get(b"content-length", b"0"),
            coding(headers.get(b"content-encoding", b"").decode("latin-1")),
        )
        if length.isdigit() and int(length) > limit:
            raise TooLongError(f"a body of {int(length)} bytes, at most {limit} are accepted")
        body, more, holds = bytearray(), True, 0

        def hold(size: int) -> None:
            nonlocal holds
            holds += size
            service.held += size
            if service.held > HELD_BYTES:
                raise BusyError("too many large requests at once: try again")

        held.callback(lambda: setattr(service, "held", service.held - holds))
        patience = None if scope["state"].get("arrived") else service.limits.seconds
        try:
            async with asyncio.timeout(patience):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise InputError("the client left before its body was there")
                    chunk, more = message.get("body", b""), message.get("more_body", False)
                    body += chunk
                    if len(body) > limit:
                        raise TooLongError(f"the body is longer than {limit} bytes")
                    hold(len(chunk))
        except TimeoutError as error:
            raise SlowBodyError(f"the body did not arrive within {service.limits.seconds:g} s") from error
        content = bytes(body)
        if name is not None:
            content = await service.apart(decoded, content, name, limit)
            hold(len(content))
        return _whole(content, receive)

    async def _refuse(self, refused: ZooError, identity: str, receive: Receive, send: Send) -> None:
        """Answers, then lets the client finish: closing with bytes unread would destroy the answer on its way."""
        code, _ = status(refused)
        body, headers = problem(code, str(refused), identity)
        fields: dict[str, Any] = {**headers, "content-length": str(len(body)), "connection": "close"}
        raw = [(name.encode(), value.encode()) for name, value in fields.items()]
        await send({"type": "http.response.start", "status": code, "headers": raw})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while (message := await receive())["type"] == "http.request" and message.get("more_body"):
                    pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _whole(content: bytes, receive: Receive) -> Receive:
    """A `receive` that gives this body at once, and then what comes after it."""
    messages = [{"type": "http.request", "body": content, "more_body": False}]

    async def whole() -> Message:
        return messages.pop() if messages else await receive()

    return whole
