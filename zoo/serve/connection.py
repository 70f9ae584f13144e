"""A connection of the inference server: one whose client must also read its answers."""

from __future__ import annotations

import asyncio
from typing import Any

from zoo.hub.connection import Connection


class Quiet:
    """A transport that writes nothing once it is closed, which uvloop's takes for a fault of the server."""

    def __init__(self, transport: asyncio.Transport):
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


class ReadConnection(Connection):
    """Ends, also for the requests in it, when nothing that waits to be sent was taken for `seconds`."""

    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(Quiet(transport))  # type: ignore[arg-type]

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self._seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._taken()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._taken()
        super().connection_lost(exc)

    def _taken(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
