"""A schedule's learning rates, of which an optimizer holds those of the next updates."""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.nn.learning_rate_schedule import LearningRateSchedule


class RateWindow(LearningRateSchedule):
    """(number of updates that were made) -> the rate of the next one, float32.

    The schedule stays on the host: `rates` holds one for each update of a run. The device has `length` of them, times
    `factor`, which `move_rates` brings. Give it to create_optimizer as `lr`.
    """

    def __init__(self, rates: Sequence[float], length: int, *, factor: float = 1.0, name: str = "learning_rate"):
        super().__init__()
        self.rates = np.asarray(rates, np.float64)
        self.length = length
        self.factor = factor
        self.window = Parameter(Tensor(np.zeros(length, np.float32)), name=name, requires_grad=False)
        self.first = Parameter(Tensor(np.zeros(1, np.int32)), name=f"{name}_first", requires_grad=False)
        self.move(0, 0)

    def construct(self, global_step: Tensor) -> Tensor:
        return ops.gather(self.window, global_step - self.first, 0)

    def scaled(self, factor: float, name: str) -> RateWindow:
        """Another one, whose rates are `factor` times these."""
        return RateWindow(self.rates, self.length, factor=self.factor * factor, name=name)

    def move(self, made: int, since: int) -> None:
        """Hold the rates of the updates from number `made` on; the schedule begins at number `since`."""
        place = min(made - since, len(self.rates) - 1)
        rates = self.rates[place : place + self.length] * self.factor
        filled = np.pad(rates, (0, self.length - len(rates)), mode="edge")
        # set_data would not reach the optimizers that MindSpore compiles by themselves in PyNative mode.
        ops.assign(self.window, Tensor(filled, ms.float32))
        ops.assign(self.first, Tensor([made], ms.int32))


def move_rates(optimizer: nn.Optimizer, since: int = 0) -> None:
    """Bring the rates of the next updates; the schedule began when the optimizer had made `since` of them."""
    made = int(optimizer.global_step.asnumpy()[0])
    for _, cell in optimizer.cells_and_names():
        if isinstance(cell, RateWindow):
            cell.move(made, since)
