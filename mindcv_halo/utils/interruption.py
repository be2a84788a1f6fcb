"""SIGINT and SIGTERM: finish the step, save, and leave in good order."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Interruption:
    """A context manager in which the first SIGINT or SIGTERM only sets `requested`; a second one acts as usual.

    minddata, while a pipeline runs, turns SIGINT into SIGTERM.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self):
        self.requested = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            self._previous = {number: signal.signal(number, self._handle) for number in self.SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self.__exit__()
        self._previous = {}
