"""What became of a case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .cases import Case

PROGRAM = "program"  # the mode of what is no graph


@dataclass(frozen=True)
class Result:
    """One row of the sweep.

    error: why it was not compiled; "" where it was.
    refused: words that the error must hold, where there must be one.
    peak_bytes: of the device's memory as MindSpore planned it, without the workspaces of its kernels.
    kernels: how many of each operator a step runs.
    asked: how many of each operator the graph had before the backend changed it.
    types: by operator, the kinds of kernels that were chosen (Ascend).
    seconds: of CPU.
    """

    group: str
    name: str
    device: str
    mode: str
    error: str = ""
    refused: str = ""
    peak_bytes: int = 0
    kernels: Mapping[str, int] = field(default_factory=dict)
    asked: Mapping[str, int] = field(default_factory=dict)
    types: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def of_case(cls, case: Case, outcome: dict[str, Any]) -> Result:
        return cls(case.group, case.name, case.device, case.mode, refused=case.refused, **outcome)

    @property
    def key(self) -> str:
        """Of a case's result, the case's."""
        return f"{self.device} | {self.mode} | {self.group} | {self.name}"

    @property
    def is_right(self) -> bool:
        """Compiled, or refused where it must be."""
        return self.refused in self.error if self.refused else not self.error

    @property
    def num_kernels(self) -> int:
        return sum(self.kernels.values())

    def describe(self) -> str:
        """A line for the terminal."""
        verdict = "ok" if self.is_right else "WRONG"
        if self.error:
            facts = self.error
        elif self.mode == PROGRAM:
            facts = "ran to its end"
        elif self.refused:
            facts = "was taken, and must be refused"
        else:
            facts = f"{self.num_kernels} kernels, {self.peak_bytes / 2**20:.0f} MiB"
        return f"{verdict:5} {self.key}: {facts} ({self.seconds:.0f} s)"
