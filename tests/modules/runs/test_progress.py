"""What an epoch's lines say of its losses."""

from __future__ import annotations

import logging

import pytest
from mindspore import Tensor

from mindcv_halo.runs.progress import EpochProgress

LOSSES = [4.0, 3.0, 2.0, 1.0]


@pytest.mark.parametrize("log_interval", [1, 2, 3])
def test_every_line_shows_a_loss_that_a_step_had(log_interval, caplog):
    """That of the step before, which is known without waiting; the first step's own in a line about the first."""
    with caplog.at_level(logging.INFO):
        progress = EpochProgress("epoch 1/1", 4, 8, logger=logging.getLogger("run"), log_interval=log_interval)
        with progress:
            for loss in LOSSES:
                progress.update(Tensor(loss))
    shown = [float(line.split("loss ")[1].split(",")[0]) for line in caplog.messages]
    assert shown == [LOSSES[max(0, step - 2)] for step in range(log_interval, 4, log_interval)]
    assert progress.mean_loss() == 2.5
