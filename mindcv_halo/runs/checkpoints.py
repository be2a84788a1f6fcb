"""Checkpoints of a run, and only so many of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from mindspore import Parameter

from ..files.checkpoint_file import write_checkpoint
from ..files.whole_file import replacing

POLICIES = ("latest_k", "top_k", None)


class CheckpointManager:
    """Saves `{model}-{epoch}_{step}.ckpt` and keeps some of them: the latest `keep`, or those of the highest score.

    `{model}_last.ckpt` and `{model}_best.ckpt` stay beside them. `kept` is what a resumed run has to know: pairs of a
    file's name and its score. `notes` are texts that go into each file.
    """

    def __init__(
        self,
        folder: Path,
        model_name: str,
        keep: int,
        policy: str | None = "latest_k",
        kept: Iterable[tuple[str, float | None]] = (),
        notes: Mapping[str, str] | None = None,
    ):
        assert policy in POLICIES
        self.folder = folder
        self.model_name = model_name
        self.keep = keep
        self.policy = policy
        self.kept = [(name, score) for name, score in kept]
        self.notes = notes

    def save(self, parameters: Iterable[Parameter], epoch: int, step: int, score: float | None = None) -> Path:
        """Save the weights after `epoch` (from 1) and `step` steps of it; returns {model}_last.ckpt."""
        path = self.folder / f"{self.model_name}-{epoch}_{step}.ckpt"
        write_checkpoint(parameters, path, self.notes)
        last = self._link(path, "last")
        self.kept = [entry for entry in self.kept if entry[0] != path.name] + [(path.name, score)]
        while self.policy is not None and len(self.kept) > self.keep:
            name, _ = self.kept.pop(self._worst())
            (self.folder / name).unlink(missing_ok=True)
        return last

    def save_best(self, parameters: Iterable[Parameter]) -> Path:
        """Replace {model}_best.ckpt, whatever `keep` is."""
        path = self.folder / f"{self.model_name}_best.ckpt"
        write_checkpoint(parameters, path, self.notes)
        return path

    def _worst(self) -> int:
        """Position in `kept` of the checkpoint to drop; the oldest of equals."""
        if self.policy == "latest_k":
            return 0
        scores = [-1.0 if score is None else score for _, score in self.kept]
        return scores.index(min(scores))

    def _link(self, path: Path, name: str) -> Path:
        """Another name for the same file: no second copy on the disk."""
        target = self.folder / f"{self.model_name}_{name}.ckpt"
        with replacing(target) as unfinished:
            os.link(path, unfinished)
        return target
