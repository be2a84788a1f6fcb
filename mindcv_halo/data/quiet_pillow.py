"""Pillow warns of what it puts right by itself: colours with a transparency, EXIF that is cut off, large images."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock

_FILTER = ("ignore", None, Warning, re.compile(r"PIL\b"), 0)
_lock = Lock()
_num_inside = 0


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Nobody hears these warnings meanwhile, whichever thread reads the image.

    (warnings.catch_warnings is not for threads: one that leaves takes away what another has set.)
    """
    global _num_inside
    with _lock:
        _num_inside += 1
        if _num_inside == 1:
            warnings.filters.insert(0, _FILTER)
    try:
        yield
    finally:
        with _lock:
            _num_inside -= 1
            if _num_inside == 0:
                with suppress(ValueError):  # whoever called us has put other filters in the place of all
                    warnings.filters.remove(_FILTER)
