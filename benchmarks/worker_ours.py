"""Our side of speed.py: worker_ours.py MODEL BATCH SIZE inference|training, in graph mode."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import mindcv_halo  # noqa: E402, F401  before MindSpore

# isort: split

import mindspore  # noqa: E402
import numpy as np  # noqa: E402
from turns import take_turns  # noqa: E402

from mindcv_halo import create_loss, create_model, create_optimizer  # noqa: E402
from mindcv_halo.utils.train_step import TrainStep  # noqa: E402

model, batch_size, size, work = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
mindspore.set_device("CPU")
mindspore.set_context(mode=mindspore.GRAPH_MODE)
network = create_model(model)
images = mindspore.Tensor(np.random.default_rng(0).standard_normal((batch_size, 3, size, size)).astype(np.float32))
labels = mindspore.Tensor(np.arange(batch_size, dtype=np.int32))

if work == "inference":
    network.set_train(False)
    take_turns(lambda: network(images).asnumpy())
else:
    step = TrainStep(network, create_loss(), create_optimizer(network, "adamw", weight_decay=0.05))
    take_turns(lambda: step(images, labels).asnumpy())
