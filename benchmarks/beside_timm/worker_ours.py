"""Our side of beside_timm.py, in graph mode: worker_ours.py losses|accuracy|cost FOLDER float32|bfloat16|portable.

float32 and bfloat16 are the native kernels in that precision.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import mindcv_halo  # noqa: E402, F401  before MindSpore

# isort: split

import mindspore  # noqa: E402
from batches import normalise, read_job, steps  # noqa: E402
from mindspore import Tensor, nn  # noqa: E402
from turns import take_turns  # noqa: E402

from mindcv_halo import accelerate, create_loss, create_model, create_optimizer  # noqa: E402
from mindcv_halo.training.step import TrainStep  # noqa: E402

EVALUATED = 500  # images at a time


def make_step(job: dict, folder: Path, precision: str) -> tuple[nn.Cell, Callable]:
    """The network with the job's weights, and what takes one step: (images, labels) -> loss; it knows its rates."""
    network = create_model(
        job["model"],
        num_classes=job["num_classes"],
        in_channels=job["in_channels"],
        checkpoint_path=str(folder / "timm.safetensors"),
    )
    rates = job["rates"] if len(job["rates"]) > 1 else job["rates"][0]  # one serves for any number of steps
    optimizer = create_optimizer(
        network, "adamw", lr=rates, weight_decay=job["weight_decay"], weight_decay_filter="auto"
    )
    if precision != "portable":
        network, optimizer = accelerate(network, precision=precision), accelerate(optimizer)
    train = TrainStep(network, create_loss(label_smoothing=job["label_smoothing"]), optimizer)
    return network, lambda images, labels: float(train(Tensor(images), Tensor(labels)).asnumpy())


def count_right(network: nn.Cell, data: dict) -> int:
    network.set_train(False)
    right = 0
    for start in range(0, len(data["test_images"]), EVALUATED):
        logits = network(Tensor(normalise(data["test_images"][start : start + EVALUATED]))).asnumpy()
        right += int((logits.argmax(1) == data["test_labels"][start : start + EVALUATED]).sum())
    return right


if __name__ == "__main__":
    work, folder, precision = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    mindspore.set_device("CPU")
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    job, data = read_job(folder)
    network, step = make_step(job, folder, precision)
    if work == "cost":
        images, labels = next(steps(job, data))
        take_turns(lambda: step(images, labels), least=0.3)
    else:
        result = {"losses": [step(images, labels) for images, labels in steps(job, data)]}
        if work == "accuracy":
            result["right"] = count_right(network, data)
        print(json.dumps(result))
