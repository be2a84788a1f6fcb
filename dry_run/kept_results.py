"""What a sweep found so far, so that one that was interrupted goes on where it was."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from mindcv_halo.files.path import find_cache_folder

from .devices import ROOT
from .result import Result

_SOURCES = ("mindcv_halo/**/*.py", "dry_run/**/*", "configs/**/*.yaml")  # which a result depends on


class KeptResults:
    """Results by their key, in a file of the cache folder that belongs to exactly these sources; for many threads.

    found: those that an earlier sweep left.
    """

    def __init__(self) -> None:
        digest = hashlib.sha256(version("mindspore").encode())
        for pattern in _SOURCES:
            for file in sorted(ROOT.glob(pattern)):
                if file.is_file() and "__pycache__" not in file.parts:
                    digest.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
        self._file = find_cache_folder() / "dry_run" / f"results_{digest.hexdigest()[:16]}.jsonl"
        self._lock = threading.Lock()
        self.found = {result.key: result for result in _read(self._file)}

    def add(self, result: Result) -> None:
        with self._lock, self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(result)) + "\n")

    def forget(self) -> None:
        """After the last case: the next sweep compiles everything again."""
        self._file.unlink(missing_ok=True)


def _read(file: Path) -> list[Result]:
    """A line that an interruption cut short ends them."""
    results = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            results.append(Result(**json.loads(line)))
        except ValueError:
            break
    return results
