"""MindSpore's scheduler as a process of rank 0's, for launchers that do not start one.

A script that imports nothing of ours, so that it starts at once.

The scheduler ends by itself when all ranks have left by MindSpore's own clean-up, which those of our command skip
(distributed.leave_group). Where rank 0 is gone and the scheduler stays, it is killed: this script watches its standard
input, which closes with rank 0, and is the scheduler's parent. (The scheduler itself can
watch nothing: it sits in MindSpore's C++ code and holds the interpreter.)
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time

GRACE = 10.0  # seconds that the scheduler has to end after rank 0
SCHEDULER = "from mindspore.communication import init; init()"
_PR_SET_PDEATHSIG = 1


def start(environ: dict[str, str]) -> subprocess.Popen:
    """Start the scheduler with these variables; it lives at most GRACE seconds longer than this process."""
    return subprocess.Popen(
        [sys.executable, "-I", __file__],  # isolated: no file beside it is taken for a module of Python's
        env={**environ, "MS_ROLE": "MS_SCHED"},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,  # an inherited one would keep the launcher waiting
        stderr=subprocess.DEVNULL,
    )


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM):  # the ranks end in good order first
        signal.signal(number, signal.SIG_IGN)
    command = [sys.executable, "-c", SCHEDULER]
    scheduler = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
    rank_0_ended = None
    while scheduler.poll() is None:
        if rank_0_ended is None:
            if select.select([sys.stdin], [], [], 0.2)[0] and not os.read(sys.stdin.fileno(), 1):
                rank_0_ended = time.monotonic()
        elif time.monotonic() - rank_0_ended > GRACE:
            scheduler.kill()
        else:
            time.sleep(0.1)
    return scheduler.returncode


def die_with_parent() -> None:
    """From now on the kernel kills this process when its parent ends. Linux only, as is MindSpore."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
