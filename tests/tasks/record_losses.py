"""A script for a launcher: train as the command line says, and let rank 0 write the loss of every step as JSON.

python record_losses.py FILE [flags of train.py]
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from mindcv_halo import cli
from mindcv_halo.distributed.launchers import find_rank
from mindcv_halo.engine.train import TrainingRun

run_steps = TrainingRun._run_steps
losses: list[float] = []


def recorded(self, loader, since):
    for loss in run_steps(self, loader, since):
        losses.append(float(loss.asnumpy()))
        yield loss
    if not find_rank(os.environ):
        Path(sys.argv[1]).write_text(json.dumps(losses))


if __name__ == "__main__":
    TrainingRun._run_steps = recorded
    sys.exit(cli.main(["train", *sys.argv[2:]]))
