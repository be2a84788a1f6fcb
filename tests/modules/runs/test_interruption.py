"""The first signal is noted, the second acts; what is ignored stays so."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from mindcv_halo.runs.interruption import Interruption


@pytest.fixture(params=["SIGINT", "SIGTERM", "SIGHUP"])
def number(request) -> Iterator[signal.Signals]:
    """A signal that is heard, whatever this process was started with; nohup and a shell's `&` ignore some."""
    number = signal.Signals[request.param]
    before = signal.signal(number, signal.SIG_DFL)
    yield number
    signal.signal(number, before)


def test_the_first_signal_is_noted_and_named(number):
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert not interruption.requested
        os.kill(os.getpid(), number)
        assert (interruption.requested, interruption.signal) == (True, number.name)
        assert signal.getsignal(number) == before  # so that a second one acts as usual
    assert signal.getsignal(number) == before


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interruption.requested
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
