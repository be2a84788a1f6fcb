"""MindCV's CheckpointManager, for loops of one's own; a run of this library has that of checkpoint_manager.py."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
from mindspore import Tensor, nn

from ..errors import UserError, unknown_name
from ..files.checkpoint_file import write_checkpoint

_POLICIES = ("top_k", "latest_k", "None")
_logger = logging.getLogger("mindcv_halo")


class CheckpointManager:
    """Saves checkpoints and keeps some: "top_k" those of the highest metric, "latest_k" the last, None or "None" all.

    Files are at any moment whole or absent. Raises UserError for another policy.
    """

    def __init__(self, ckpt_save_policy: str | None = None):
        if ckpt_save_policy is not None and ckpt_save_policy not in _POLICIES:
            raise unknown_name("ckpt_save_policy", ckpt_save_policy, _POLICIES)
        self.ckpt_save_policy = ckpt_save_policy
        self._files: list[tuple[str, float]] = []  # best or oldest first

    @property
    def ckpoint_filelist(self) -> list:
        """The files that are kept: with "top_k" pairs of path and metric, best first; else paths, oldest first."""
        return list(self._files) if self.ckpt_save_policy == "top_k" else [path for path, _ in self._files]

    @property
    def ckpoint_num(self) -> int:
        """How many files are kept."""
        return len(self._files)

    def save_ckpoint(
        self, network: nn.Cell, num_ckpt: int = 10, metric: float | Tensor | None = None, save_path: str = ""
    ) -> list | None:
        """Save the parameters of `network` at `save_path`, drop what are more than `num_ckpt`, and return the list.

        With "top_k" it is saved only if it is among the best. None is returned where all are kept. Raises UserError
        where "top_k" gets no metric, and for a file that cannot be written.
        """
        if self.ckpt_save_policy == "top_k":
            return self.top_K_checkpoint(network, num_ckpt, metric, save_path)
        if self.ckpt_save_policy == "latest_k":
            return self.latest_K_checkpoint(network, num_ckpt, save_path)
        _save(network, save_path)
        return None

    def top_K_checkpoint(  # noqa: N802  (MindCV's name)
        self, network: nn.Cell, K: int = 10, metric: float | Tensor | None = None, save_path: str = ""
    ) -> list[tuple[str, float]]:
        """Save it if its metric is among the `K` highest, and drop the others."""
        if metric is None:
            raise UserError("ckpt_save_policy top_k needs a metric; pass metric=, or take latest_k")
        score = float(metric.asnumpy() if isinstance(metric, Tensor) else np.asarray(metric))
        if self.ckpoint_num < K or score > self._files[-1][1]:
            _save(network, save_path)
            kept = [entry for entry in self._files if entry[0] != save_path]
            self._files = sorted([*kept, (save_path, score)], key=lambda entry: -entry[1])
            self._drop(self._files[K:])
        _logger.info("best checkpoints:\n" + "\n".join(f"{path}\t{score}" for path, score in self._files))
        return self.ckpoint_filelist

    def latest_K_checkpoint(self, network: nn.Cell, K: int = 10, save_path: str = "") -> list[str]:  # noqa: N802
        """Save it, and drop all but the last `K`; 0 keeps all."""
        _save(network, save_path)
        self._files = [entry for entry in self._files if entry[0] != save_path] + [(save_path, 0.0)]
        if K > 0:
            self._drop(self._files[:-K])
        return self.ckpoint_filelist

    def remove_ckpoint_file(self, file_name: str) -> None:
        """Remove a file from the disk and from the list."""
        self._drop([entry for entry in self._files if entry[0] == file_name] or [(file_name, 0.0)])

    def remove_oldest_ckpoint_file(self) -> None:
        """Remove the file that was written first."""
        self._drop(sorted(self._files, key=lambda entry: os.path.getmtime(entry[0]))[:1])

    def _drop(self, entries: list[tuple[str, float]]) -> None:
        for path, _ in entries:
            Path(path).unlink(missing_ok=True)
        self._files = [entry for entry in self._files if entry not in entries]


def _save(network: nn.Cell, save_path: str) -> None:
    try:
        write_checkpoint(network.get_parameters(), Path(save_path))
    except OSError as error:
        raise UserError(f"save_path {save_path!r} cannot be written: {error.strerror or error}") from error
