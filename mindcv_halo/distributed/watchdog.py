"""Waiting that has an end: a rank that hangs says so and ends, so that the launcher can end the others."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EXIT_STATUS = 1


@contextmanager
def limit_wait(seconds: float, text: str, record: Callable[[str], object] | None = None) -> Iterator[None]:
    """End this process with the line `text` if the block takes longer; it may hang where no exception reaches it.

    `record` gets the line before it is printed.
    """
    timer = threading.Timer(seconds, _give_up, (text, record))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _give_up(text: str, record: Callable[[str], object] | None) -> None:
    if record is not None:
        record(text)
    print(text, file=sys.stderr, flush=True)
    os._exit(EXIT_STATUS)
