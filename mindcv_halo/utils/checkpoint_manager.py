"""Checkpoints of a run: written whole or not at all, and only so many of them."""

from __future__ import annotations

import os
from pathlib import Path

import mindspore
from mindspore import nn


def save_atomically(cell: nn.Cell, path: Path) -> None:
    """Write the cell's parameters so that `path` is at any moment either the old file or the whole new one.

    MindSpore's own save_checkpoint removes the old file before it writes the new.
    """
    unfinished = path.with_name(f".{path.stem}.unfinished.ckpt")
    unfinished.unlink(missing_ok=True)
    mindspore.save_checkpoint(cell, str(unfinished))
    unfinished.chmod(0o644)  # MindSpore makes it read-only, so that nobody could overwrite it
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(unfinished, path)


class CheckpointManager:
    """Saves `{model}-{epoch}_{step}.ckpt` and keeps the latest `keep`; `{model}_best.ckpt` stays beside them."""

    def __init__(self, folder: Path, model_name: str, keep: int):
        self.folder = folder
        self.model_name = model_name
        self.keep = keep
        self.saved: list[Path] = []

    def save(self, network: nn.Cell, epoch: int, step: int) -> Path:
        """Save the weights after `epoch` (from 1) and `step` steps of it."""
        path = self.folder / f"{self.model_name}-{epoch}_{step}.ckpt"
        save_atomically(network, path)
        self.saved.append(path)
        while len(self.saved) > self.keep:
            self.saved.pop(0).unlink(missing_ok=True)
        return path

    def save_best(self, network: nn.Cell) -> Path:
        path = self.folder / f"{self.model_name}_best.ckpt"
        save_atomically(network, path)
        return path
