"""Programs that run to their end, with what they said and the time they took of a processor."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def run_to_end(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> tuple[subprocess.CompletedProcess[str], float]:
    """How the program ended, and its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command, cwd=folder, env=dict(environment), capture_output=True, text=True, errors="replace", check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def take_last_words(done: subprocess.CompletedProcess[str]) -> str:
    """What a program that failed said at last, and its status."""
    return f"status {done.returncode}: {' '.join(done.stderr.splitlines()[-3:])[-400:]}"
