"""A script for a launcher: train as the command line says, and let rank 0 write the loss of every step as JSON.

python record_losses.py FILE [flags of train.py]
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from mindcv_halo import cli
from mindcv_halo.distributed.launchers import find_rank
from mindcv_halo.engine.train import TrainingRun


def recording(losses: list[float], end_epoch: Callable[[], object] = lambda: None) -> Callable:
    """TrainingRun._run_steps, which adds each step's loss to `losses`."""
    run_steps = TrainingRun._run_steps

    def recorded(self, loader, since):
        for loss in run_steps(self, loader, since):
            losses.append(float(loss.asnumpy()))
            yield loss
        end_epoch()

    return recorded


def main() -> int:
    losses: list[float] = []

    def write() -> None:  # after each epoch, as a rank leaves its job without coming back here
        if not find_rank(os.environ):
            Path(sys.argv[1]).write_text(json.dumps(losses))

    TrainingRun._run_steps = recording(losses, write)
    return cli.main(["train", *sys.argv[2:]])


if __name__ == "__main__":
    sys.exit(main())
