from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.limits import LAST_RESORT

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "scaling.py"


def test_a_launcher_that_is_not_there_is_named():
    result = subprocess.run(
        [sys.executable, SCRIPT, "--mpirun", "/nowhere/mpirun"], capture_output=True, text=True, timeout=LAST_RESORT
    )
    assert result.returncode == 1
    assert result.stderr.startswith("/nowhere/mpirun: no such program; install Open MPI or MPICH")


def test_one_core_is_too_few():
    core = min(os.sched_getaffinity(0))
    result = subprocess.run(
        [sys.executable, SCRIPT, "--mpirun", sys.executable],  # any program: it is not started
        capture_output=True,
        text=True,
        timeout=LAST_RESORT,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    assert result.returncode == 1
    assert result.stderr.startswith("two processes need a core each, and this one may use 1")
