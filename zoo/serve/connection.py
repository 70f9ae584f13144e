"""A connection of the inference server: one whose client must also read its answers."""

from __future__ import annotations

import asyncio

from zoo.hub.connection import Connection


class ReadConnection(Connection):
    """Ends, also for the requests in it, when nothing that waits to be sent was taken for `seconds`.

    Sets scope["state"]["gone"] to a function that says whether it has ended.
    """

    _unread: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self._seconds, self._abort)

    def resume_writing(self) -> None:
        self._taken()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._taken()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope.setdefault("state", {})["gone"] = self.transport.is_closing

    def _abort(self) -> None:
        if self.cycle is not None:
            self.cycle.disconnected = True  # nothing more is written for it
        self.transport.abort()

    def _taken(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
