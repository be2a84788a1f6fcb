"""A block that hangs ends its process, and one that is done in time does not."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
from support.limits import LAST_RESORT

from mindcv_halo.distributed import watchdog
from mindcv_halo.distributed.watchdog import limit_wait

# The main thread hangs in C code, where no exception reaches it. The file alone: the package would load MindSpore.
HANG = """
import runpy, sys, threading
lock = threading.Lock()
lock.acquire()
with runpy.run_path(sys.argv[1])["limit_wait"](0.1, "rank 1: too long", lambda text: print("log:", text, flush=True)):
    lock.acquire()
"""


@pytest.fixture
def ended(monkeypatch) -> threading.Event:
    """Set where a process would have ended."""
    event = threading.Event()
    monkeypatch.setattr(watchdog, "_give_up", lambda text, record: event.set())
    return event


def test_a_process_that_hangs_ends():
    done = subprocess.run(
        [sys.executable, "-c", HANG, watchdog.__file__], capture_output=True, text=True, timeout=LAST_RESORT
    )
    assert (done.returncode, done.stderr) == (watchdog.EXIT_STATUS, "rank 1: too long\n")
    assert done.stdout == "log: rank 1: too long\n"


def test_what_is_done_in_time_goes_on(ended):
    """No timer is left behind."""
    before = threading.active_count()
    with limit_wait(LAST_RESORT, "too long"):
        assert threading.active_count() == before + 1
    with pytest.raises(ValueError, match="its own"), limit_wait(LAST_RESORT, "too long"):
        raise ValueError("its own")
    while threading.active_count() > before:  # a timer that is cancelled ends soon
        time.sleep(0.01)
    assert not ended.is_set()


def test_every_wait_has_its_own_limit(ended):
    for _ in range(3):
        with limit_wait(LAST_RESORT, "too long"):
            assert not ended.wait(0.02)
    with limit_wait(0.02, "too long"):
        assert ended.wait(LAST_RESORT)
