"""One connection of a client: it is kept only for those who send requests."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class HeadDeadlineProtocol(H11Protocol):
    """Ends a connection on which no whole request head arrives for `head_timeout` seconds while nothing is answered.

    uvicorn bounds only the pause after an answer, and one byte ends that pause. As many silent connections as it
    accepts would keep everyone else out.
    """

    def __init__(self, *arguments: Any, head_timeout: float, **options: Any):
        super().__init__(*arguments, **options)
        self.head_timeout = head_timeout
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._set_deadline()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._set_deadline()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_deadline()

    def _set_deadline(self) -> None:
        """Bytes do not move a deadline; the start of an answer removes it."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._unset_deadline()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.head_timeout, self.transport.abort)

    def _unset_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
