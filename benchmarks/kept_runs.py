"""Runs whose results are written down as they end: a benchmark of hours may be cut, and goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mindcv_halo.files.whole_file import write_whole


class KeptRuns:
    """The runs of a part of a file, `{part: {"settings": ..., "machine": ..., "runs": {name: {seed: result}}}}`.

    `settings` are those that all runs of the part share, `machine` is what the first of them was made on. Raises
    SystemExit where the file has runs with other settings, unless they are to be measured `anew`.
    """

    def __init__(self, file: Path, part: str, settings: dict[str, Any], machine: dict, *, anew: bool = False):
        self.file = file
        self.part = part
        self.results: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
        kept = {} if anew else self.results.get(part, {})
        had = kept.get("settings", settings)
        others = [name for name in {**had, **settings} if had.get(name) != settings.get(name)]
        if others:
            differences = ", ".join(f"{name} {had.get(name)}, not {settings.get(name)}" for name in others)
            raise SystemExit(
                f"{file} has runs of {part} with {differences}; give those settings or another --output, or measure "
                "everything again with --anew"
            )
        self.runs: dict[str, dict[str, Any]] = kept.get("runs", {})
        self.results[part] = {"settings": settings, "machine": kept.get("machine", machine), "runs": self.runs}

    def has(self, name: str, seed: int) -> bool:
        return str(seed) in self.runs.get(name, {})

    def measure(self, name: str, seed: int, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The result of this run, which is made and written down if the file does not have it."""
        of_seeds = self.runs.setdefault(name, {})
        if not self.has(name, seed):
            of_seeds[str(seed)] = run()
            others = json.loads(self.file.read_text()) if self.file.is_file() else {}  # of other parts, meanwhile
            self.results.update({part: content for part, content in others.items() if part != self.part})
            write_whole(self.file, (json.dumps(self.results, indent=1) + "\n").encode())
        return of_seeds[str(seed)]


def common_seeds(runs: dict[str, dict[str, Any]]) -> list[str]:
    """The seeds that every name has, over which means can be compared."""
    of_names = [set(of_seeds) for of_seeds in runs.values()]
    return sorted(set.intersection(*of_names), key=int) if of_names else []
