"""What the hub and the inference server share: where they listen, their connections, and who bears their token."""

from __future__ import annotations

import asyncio
import errno
import hmac
import socket
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from zoo.errors import InputError

HEADER_BYTES = 64 * 2**10


def listener(host: str, port: int, backlog: int, option: str = "--port") -> socket.socket:
    """A socket that listens there; port 0 takes a free one. option: what chose the port. Raises InputError."""
    if not host:
        raise InputError("--host is empty: give an address, such as 127.0.0.1")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), backlog=backlog, family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise InputError(f"port {port} of {host} is in use: choose another {option}") from error
        reason = str(getattr(error, "strerror", error)).partition(" (while")[0]  # which says the address again
        raise InputError(f"cannot listen on {host} port {port}: {reason}") from error


def in_url(host: str) -> str:
    """The host as it stands in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def bears(authorization: bytes, token: str) -> bool:
    """Whether the header `authorization` has the token. The time it takes tells nothing of the token."""
    return hmac.compare_digest(authorization, f"Bearer {token}".encode())


class Connection(HttpToolsProtocol):
    """A connection of uvicorn's, a value for its setting `http`, that ends with a slow client.

    It closes with 431 if a header grows beyond HEADER_BYTES, with 408 if it takes longer than `seconds`, and without
    an answer, also for the requests in it, if nothing that waits to be sent was taken for `seconds`. uvicorn itself
    has none of these limits, but one of length for its slower h11 protocol.

    Sets scope["state"]["arrived"] to true once the whole request is there.
    """

    def __init__(self, *arguments: Any, seconds: float, **options: Any):
        super().__init__(*arguments, **options)
        self._seconds = seconds
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(Quiet(transport))  # type: ignore[arg-type]
        self._in_header, self._header_bytes = False, 0
        self._deadline: asyncio.TimerHandle | None = None
        self._expect_header()

    def connection_lost(self, exc: Exception | None) -> None:
        self._header_arrived()
        self._taken()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self._in_header
        super().data_received(data)
        idle = self.cycle is None or self.cycle.response_complete
        if self._deadline is None and (self._in_header or idle):  # the header of a later request is still to come
            self._expect_header()
        if before and self._in_header:
            self._header_bytes += len(data)
            if self._header_bytes > HEADER_BYTES:
                self._end(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        self._in_header, self._header_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_header = False
        self._header_arrived()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self.scope.setdefault("state", {})["arrived"] = True
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self._seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._taken()
        super().resume_writing()

    def _expect_header(self) -> None:
        self._deadline = self.loop.call_later(self._seconds, self._end, b"408 Request Timeout")

    def _header_arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _taken(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _end(self, status: bytes) -> None:
        self._header_arrived()
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()


class Quiet:
    """A transport that writes nothing once it is closed, which uvloop's takes for a fault of the server."""

    def __init__(self, transport: asyncio.Transport):
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)
