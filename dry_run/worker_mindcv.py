"""Compile one training step of MindCV as its train.py builds it, and print one line of JSON with its peak memory.

worker_mindcv.py MODEL --batch 64 --size 256 --amp O3 --jit O0 --device Ascend, with an interpreter that has MindCV.
The optimizer, loss scale and labels are those of its HaloNet recipe: AdamW with weight decay 0.04, a fixed scale of
1024, and a row of floats for each image, as its mixup makes. Its HaloNet calls ops.pad with an argument that only
MindSpore 1 had; here it gets that function back, without which nothing compiles.
"""

from __future__ import annotations

import argparse
import json
import time

import mindspore as ms
import numpy as np
from mindcv.loss import create_loss
from mindcv.models import create_model
from mindcv.optim import create_optimizer
from mindcv.utils import create_trainer
from mindspore import Tensor, ops

NUM_CLASSES = 1000


def _pad(x: Tensor, paddings: tuple[tuple[int, int], ...]) -> Tensor:
    return ops.Pad(paddings)(x)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=256, help="pixels a side")
    parser.add_argument("--amp", default="O3")
    parser.add_argument("--jit", default="O0", help="jit_level")
    parser.add_argument("--device", default="Ascend")
    args = parser.parse_args()

    ms.set_device(args.device)
    ms.set_context(mode=ms.GRAPH_MODE, jit_config={"jit_level": args.jit})
    ops.pad = _pad
    network = create_model(args.model, num_classes=NUM_CLASSES)
    trainer = create_trainer(
        network=network,
        loss=create_loss(name="CE", label_smoothing=0.1),
        optimizer=create_optimizer(network.trainable_params(), opt="adamw", lr=1e-3, weight_decay=0.04),
        metrics={"acc"},
        amp_level=args.amp,
        amp_cast_list=None,
        loss_scale_type="fixed",
        loss_scale=1024.0,
    )
    images = Tensor(np.zeros((args.batch, 3, args.size, args.size), np.float32))
    labels = Tensor(np.zeros((args.batch, NUM_CLASSES), np.float32))
    start = time.time()
    trainer.train_network.set_train()
    trainer.train_network(images, labels).asnumpy()
    peak = ms.runtime.max_memory_allocated() if args.device != "CPU" else None
    print(json.dumps({**vars(args), "peak_bytes": peak, "seconds": round(time.time() - start, 1)}), flush=True)


if __name__ == "__main__":
    main()
