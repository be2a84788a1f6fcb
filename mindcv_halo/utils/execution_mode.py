"""MindSpore's mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import mindspore


@contextmanager
def pynative_mode() -> Iterator[None]:
    """MindSpore in PyNative mode; afterwards the mode is the caller's again."""
    mode = mindspore.get_context("mode")
    mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
    try:
        yield
    finally:
        mindspore.set_context(mode=mode)
