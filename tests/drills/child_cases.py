"""Cases that a drill tries in a process of its own, because one of them may end it."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """What became of one: the child's own words about it, or that its process ended with `status`."""

    number: int
    what: str
    report: dict[str, Any] | None  # None: the process ended
    status: int = 0


def try_cases(command: Callable[[int], Sequence[str]], say: Callable[[str], object] | None = None) -> Iterator[Case]:
    """The cases of a child, one by one; after a crash another child goes on behind the case that was to blame.

    `command(first)` starts with case number `first`. The child prints {"start": number, "what": text} before a case and
    {"end": number, ...} after it, a line each. `say` gets what each child wrote to standard error.
    """
    first = 0
    while True:
        with tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(command(first), stdout=subprocess.PIPE, stderr=errors, text=True)
            running = None
            for line in process.stdout:
                if not line.startswith("{"):
                    continue
                event = json.loads(line)
                if "start" in event:
                    running = event
                else:
                    yield Case(event["end"], running["what"], event)
                    running = None
            status = process.wait()
            errors.seek(0)
            text = errors.read()
        if say is not None:
            say(text)
        if status == 0:
            return
        if running is None:
            raise SystemExit(f"the drill itself failed with status {status}: {text[-2000:]}")
        yield Case(running["start"], running["what"], None, status)
        first = running["start"] + 1
