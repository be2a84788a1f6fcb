"""Processes that take turns.

The speed of a shared machine drifts, so that only ratios within one run mean something: each side of a comparison is a
process of its own, with its own libraries, that waits while the others work.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

HERE = Path(__file__).parent


class WorkerError(RuntimeError):
    """A worker that ended by itself."""


class Worker:
    """A process that runs a benchmark step for every line that it is sent, and answers with the seconds it took."""

    def __init__(self, python: str, script: str, *arguments: str):
        self.process = subprocess.Popen(
            [python, str(HERE / script), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def seconds(self) -> float:
        try:
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # readline tells
        answer = self.process.stdout.readline()
        if not answer:
            command = " ".join(str(part) for part in self.process.args[1:])
            raise WorkerError(f"{command} ended with status {self.process.wait()}")
        return float(answer)

    def close(self) -> float:
        """End the process and return the most memory that it held, in GB."""
        self.process.stdin.close()
        peak = json.loads(self.process.stdout.readline())["peak_gb"]
        self.process.wait()
        return peak


def warm_up(workers: dict[str, Worker]) -> dict[str, WorkerError]:
    """A turn of each, one by one, as it may compile on all processors. Who ends by itself leaves `workers`."""
    failed = {}
    for name, worker in list(workers.items()):
        try:
            worker.seconds()
        except WorkerError as error:
            failed[name] = error
            del workers[name]
    return failed


def take_rounds(workers: list[Worker], pairs: int) -> list[list[float]]:
    """Seconds of each worker in each round, after a round to warm up."""
    for worker in workers:
        worker.seconds()
    return [[worker.seconds() for worker in workers] for _ in range(pairs)]
