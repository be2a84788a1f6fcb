"""The scheduler neither outlives rank 0 by long, nor ends before it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.limits import LAST_RESORT

from mindcv_halo.distributed import scheduler_process

# The script as it is, with another scheduler that first says its process id, and less grace. The file alone: the
# package would load MindSpore.
SCRIPT = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("scheduler_process", sys.argv[1])
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
script.GRACE = float(sys.argv[3])
script.SCHEDULER = "import os, time; print(os.getpid(), flush=True); " + sys.argv[2]
sys.exit(script.main())
"""
Start = Callable[..., tuple[subprocess.Popen, int]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Runs the script with a scheduler that does what it is told; the script's process, and the scheduler's id."""
    running: list[tuple[subprocess.Popen, int]] = []

    def run(task: str, grace: float = 0.5) -> tuple[subprocess.Popen, int]:
        command = [sys.executable, "-S", "-c", SCRIPT, scheduler_process.__file__, task, str(grace)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        running.append((process, int(process.stdout.readline())))
        return running[-1]

    yield run
    for process, scheduler in running:
        with process:  # closes its pipes and waits
            for number in (scheduler, process.pid):
                if is_running(number):
                    os.kill(number, signal.SIGKILL)


def is_running(number: int) -> bool:
    """A process that has ended and waits for its parent to ask for its status does not run."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(number: int, seconds: float = LAST_RESORT) -> None:
    deadline = time.monotonic() + seconds
    while is_running(number):
        assert time.monotonic() < deadline, f"process {number} still runs"
        time.sleep(0.02)


def test_it_is_killed_when_rank_0_is_gone_and_it_stays(start):
    process, scheduler = start("time.sleep(3600)")
    began = time.monotonic()
    process.stdin.close()
    assert process.wait(LAST_RESORT) == 256 - signal.SIGKILL
    assert time.monotonic() - began >= 0.5
    assert not is_running(scheduler)


def test_it_has_time_to_end_by_itself(start):
    """Its status is the script's."""
    process, scheduler = start("time.sleep(0.3); os._exit(7)", grace=LAST_RESORT)
    process.stdin.close()
    assert process.wait(LAST_RESORT) == 7
    assert not is_running(scheduler)


def test_it_stays_while_rank_0_is_there_and_whatever_signal_comes(start):
    """mpirun sends signals to all that it started; the ranks end first, in good order."""
    process, scheduler = start("time.sleep(3600)")
    for number in (signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
        os.kill(scheduler, number)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.8)
    assert is_running(scheduler)


def test_it_dies_with_the_script(start):
    process, scheduler = start("time.sleep(3600)")
    process.kill()
    wait_until_gone(scheduler)


def test_what_it_starts_with(tmp_path, monkeypatch):
    """A scheduler's role, rank 0's variables, an input that closes with rank 0, and no output that mpirun waits for."""
    script = tmp_path / "script.py"
    script.write_text(
        "import json, os, sys\n"
        "print('to nobody'); print('to nobody', file=sys.stderr)\n"
        "sys.stdin.read()\n"
        f"json.dump(dict(os.environ), open({str(tmp_path / 'environ.json')!r}, 'w'))\n"
    )
    monkeypatch.setattr(scheduler_process, "__file__", str(script))
    process = scheduler_process.start({"MS_ROLE": "MS_WORKER", "MS_SCHED_PORT": "8118"})
    assert process.poll() is None and process.stdout is None
    process.stdin.close()
    assert process.wait(LAST_RESORT) == 0
    environ = json.loads((tmp_path / "environ.json").read_text())
    assert (environ["MS_ROLE"], environ["MS_SCHED_PORT"]) == ("MS_SCHED", "8118")
    assert "HOME" not in environ
