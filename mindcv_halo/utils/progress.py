"""How an epoch goes: a progress bar on a terminal, lines of the log elsewhere."""

from __future__ import annotations

import logging
import sys
from time import perf_counter

from mindspore import Tensor
from tqdm import tqdm


class EpochProgress:
    """Shows loss, images/s and time left while an epoch runs, and knows its mean loss and speed afterwards.

    Use as a context manager. A step's loss is read when the next step is under way, so that looking at it never makes a
    device wait.
    """

    def __init__(
        self, title: str, num_steps: int, batch_size: int, *, logger: logging.Logger, log_interval: int, rank: int = 0
    ):
        self.title = title
        self.num_steps = num_steps
        self.batch_size = batch_size
        self.logger = logger
        self.log_interval = log_interval
        self.on_terminal = rank == 0 and sys.stderr.isatty()
        self.losses: list[float] = []
        self._pending: Tensor | None = None

    def __enter__(self) -> EpochProgress:
        self.start = perf_counter()
        self.bar = tqdm(
            total=self.num_steps * self.batch_size,
            desc=self.title,
            unit="img",
            disable=not self.on_terminal,
            dynamic_ncols=True,
            leave=False,
        )
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()

    def update(self, loss: Tensor) -> None:
        """One more step, whose loss this is."""
        self._read_pending()
        self._pending = loss
        self.bar.update(self.batch_size)
        step = len(self.losses) + 1
        if not self.on_terminal and step % self.log_interval == 0 and step < self.num_steps and self.losses:
            left = (perf_counter() - self.start) / step * (self.num_steps - step)
            self.logger.info(
                f"{self.title}: step {step}/{self.num_steps}, loss {self.losses[-1]:.4f}, "
                f"{self.images_per_second(step):.1f} img/s, {left:.0f} s left"
            )

    def mean_loss(self) -> float:
        """Over all steps so far."""
        self._read_pending()
        return sum(self.losses) / len(self.losses)

    def images_per_second(self, step: int | None = None) -> float:
        return (step or len(self.losses)) * self.batch_size / (perf_counter() - self.start)

    def _read_pending(self) -> None:
        if self._pending is not None:
            self.losses.append(float(self._pending.asnumpy()))
            self._pending = None
            self.bar.set_postfix(loss=f"{self.losses[-1]:.4f}", refresh=False)
