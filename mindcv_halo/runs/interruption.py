"""SIGINT, SIGTERM and SIGHUP: finish the step, save, and leave in good order."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Interruption:
    """A context manager in which the first of these signals only sets `requested`; a second one acts as usual.

    A signal that is ignored, as nohup does with SIGHUP, stays so. minddata, while a pipeline runs, turns SIGINT into
    SIGTERM. `signal` is the name of the one that came.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self):
        self.requested = False
        self.signal = ""
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            heard = [number for number in self.SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
            self._previous = {number: signal.signal(number, self._handle) for number in heard}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self.signal = signal.Signals(number).name
        self.__exit__()
        self._previous = {}
