"""A connection of uvicorn's whose headers must be short and arrive soon.

uvicorn takes a protocol class for this (its setting `http`); the hub and the inference server give this one. It has
no limit of time for a header itself, and a limit of length only for its slower h11 protocol.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_BYTES = 64 * 2**10


class Connection(HttpToolsProtocol):
    """Closes with 431 if a header grows beyond HEADER_BYTES, with 408 if it takes longer than `seconds`.

    Sets scope["state"]["arrived"] to true once the whole request is there.
    """

    def __init__(self, *arguments: Any, seconds: float, **options: Any):
        super().__init__(*arguments, **options)
        self._seconds = seconds

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._in_header, self._header_bytes = False, 0
        self._deadline: asyncio.TimerHandle | None = None
        self._expect_header()

    def connection_lost(self, exc: Exception | None) -> None:
        self._header_arrived()
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

    def _expect_header(self) -> None:
        self._deadline = self.loop.call_later(self._seconds, self._end, b"408 Request Timeout")

    def _header_arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end(self, status: bytes) -> None:
        self._header_arrived()
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()
