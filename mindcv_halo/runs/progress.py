"""How an epoch goes: a progress bar on a terminal, lines of the log elsewhere."""

from __future__ import annotations

import logging
import math
import sys
from time import perf_counter

from mindspore import Tensor
from tqdm import tqdm


class EpochProgress:
    """Shows loss, images/s and time left while an epoch runs, and knows its mean loss and speed afterwards.

    Use as a context manager. A step's loss is read when the next step is under way, so that looking at it never makes a
    device wait. `done` is (steps, sum of their losses) of an epoch that is gone on with. `batch_size` counts the images
    of all ranks; only the main one shows a bar.
    """

    def __init__(
        self,
        title: str,
        num_steps: int,
        batch_size: int,
        *,
        logger: logging.Logger,
        log_interval: int,
        done: tuple[int, float] = (0, 0.0),
        is_main: bool = True,
    ):
        self.title = title
        self.num_steps = num_steps
        self.batch_size = batch_size
        self.logger = logger
        self.log_interval = log_interval
        self.on_terminal = sys.stderr.isatty()
        self.is_main = is_main
        self.first_step, self.loss_sum = done
        self.step = self.first_step
        self.num_losses = self.first_step
        self.last_loss: float | None = None
        self._pending: Tensor | None = None

    def __enter__(self) -> EpochProgress:
        self.start = perf_counter()
        self.bar = tqdm(
            total=self.num_steps * self.batch_size,
            initial=self.first_step * self.batch_size,
            desc=self.title,
            unit="img",
            disable=not (self.on_terminal and self.is_main),
            dynamic_ncols=True,
            leave=False,
        )
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()

    def update(self, loss: Tensor) -> None:
        """One more step, whose loss this is."""
        self.read_pending()
        self._pending = loss
        self.step += 1
        self.bar.update(self.batch_size)
        if not self.on_terminal and self.step % self.log_interval == 0 and self.step < self.num_steps:
            if self.last_loss is None:  # there is none to show yet but this step's
                self.read_pending()
            left = (self.num_steps - self.step) * self.batch_size / self.images_per_second()
            self.logger.info(
                f"{self.title}: step {self.step}/{self.num_steps}, loss {self.last_loss:.4f}, "
                f"{self.images_per_second():.1f} img/s, {left:.0f} s left"
            )

    def read_pending(self) -> None:
        """Wait for the latest step's loss."""
        if self._pending is None:
            return
        self.last_loss = float(self._pending.asnumpy())
        self._pending = None
        if math.isfinite(self.last_loss):  # loss scaling leaves the others out of the weights too
            self.loss_sum += self.last_loss
            self.num_losses += 1
        self.bar.set_postfix(loss=f"{self.last_loss:.4f}", refresh=False)

    def mean_loss(self) -> float:
        """Over all finite losses so far; NaN without any."""
        self.read_pending()
        return self.loss_sum / self.num_losses if self.num_losses else math.nan

    def images_per_second(self) -> float:
        """Over all steps of this process in the epoch, and over all ranks."""
        return (self.step - self.first_step) * self.batch_size / (perf_counter() - self.start)
