"""Programs that run to their end, with what they said and the time they took of a processor."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """`seconds` are of CPU."""

    status: int
    stdout: str
    stderr: str
    seconds: float

    def take_last_words(self) -> str:
        """What a program that failed said at last, and its status."""
        return f"status {self.status}: {' '.join(self.stderr.splitlines()[-3:])[-400:]}"


def run_to_end(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Ended:
    """Several threads may run programs at once."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        child = subprocess.Popen(command, cwd=folder, env=dict(environment), stdout=stdout, stderr=stderr)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        for file in (stdout, stderr):
            file.seek(0)
        texts = (file.read().decode(errors="replace") for file in (stdout, stderr))
        return Ended(child.returncode, *texts, usage.ru_utime + usage.ru_stime)
