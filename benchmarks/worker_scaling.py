"""A process of scaling.py: worker_scaling.py SOCKET CORE MODEL BATCH SIZE [NUMBERS ...], in graph mode.

With NUMBERS, sizes of collectives to time, it is one of a launcher's job. It first says what it is, then does what each
line asks, {"work": ..., "times": ...}, and answers with the seconds.
"""

from __future__ import annotations

import os
import sys

os.sched_setaffinity(0, {int(sys.argv[2])})  # first: libraries make as many threads as there are processors to use

import json  # noqa: E402
import resource  # noqa: E402
import socket  # noqa: E402
from collections.abc import Callable, Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from time import perf_counter  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1]))

import mindcv_halo  # noqa: E402, F401  before MindSpore

# isort: split

import numpy as np  # noqa: E402
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops  # noqa: E402

from mindcv_halo.config import make_recipe  # noqa: E402
from mindcv_halo.distributed.all_reduce import DEVICE_BUCKET, Bucket, plan_buckets  # noqa: E402
from mindcv_halo.engine.setup import (  # noqa: E402
    build_network,
    find_place,
    make_step,  # noqa: E402
    start_device,
)
from mindcv_halo.training.step import TrainStep  # noqa: E402

NUM_CLASSES = 1000
RATES = [1e-9] * 100_000  # weights stay: a batch learned by heart would have gradients too small for normal numbers


def count_bytes(buckets: Sequence[Bucket], sizes: Sequence[int]) -> list[int]:
    """Of each bucket of tensors of these sizes, in float32."""
    return [4 * sum(sizes[bucket.first : bucket.end]) for bucket in buckets]


class Mean(nn.Cell):
    """() -> what the step's mean over ranks makes of numbers like its own."""

    def __init__(self, step: TrainStep, loss: Parameter):
        super().__init__(auto_prefix=False)
        self.mean = step.all_reduce_mean
        self.gradients = ParameterTuple(step.optimizer.parameters)
        self.statistics = step.statistics
        self.loss = loss

    def construct(self):
        return self.mean(self.gradients, self.statistics, self.loss)


class Reduction(nn.Cell):
    """() -> what `reduce` makes of the tensors."""

    def __init__(self, reduce: Callable, tensors: Sequence[Parameter]):
        super().__init__(auto_prefix=False)
        self.reduce = reduce
        self.tensors = ParameterTuple(tensors)

    def construct(self):
        return self.reduce(self.tensors)


class Collective(nn.Cell):
    """() -> the first number of a sum over ranks of `count` numbers."""

    def __init__(self, count: int):
        super().__init__()
        self.add_up = ops.AllReduce()
        self.numbers = Parameter(Tensor(np.zeros(count, np.float32)), name=f"numbers_{count}")

    def construct(self):
        return self.add_up(self.numbers)[0]


def list_reductions(step: TrainStep, size: int, counts: Sequence[int]) -> dict[str, Callable[[], object]]:
    """The step's communication by itself, MindSpore's own (a collective for each gradient), and one of each count."""
    gradients = step.optimizer.parameters
    loss = Parameter(Tensor(np.float32(0)), name="loss")
    ours = Mean(step, loss)
    theirs = Reduction(nn.DistributedGradReducer(gradients, mean=True, degree=size), gradients)
    collectives = {f"collective_{count}": Collective(count) for count in counts}
    return {
        "reduce": lambda: ours()[-1].asnumpy(),
        "reduce_each": lambda: theirs()[-1].asnumpy(),
        **{name: lambda cell=cell: cell().asnumpy() for name, cell in collectives.items()},
    }


def main() -> None:
    address, _, model, batch_size, image_size, *counts = sys.argv[1:]
    recipe = make_recipe(
        {
            "model": model,
            "batch_size": int(batch_size),
            "image_resize": int(image_size),
            "opt": "adamw",
            "device_target": "CPU",
            "distribute": bool(counts),
        }
    )
    group, _ = start_device(recipe.system, find_place(recipe.system))
    step = make_step(recipe, build_network(recipe, NUM_CLASSES), RATES, len(RATES), group.size)
    shape = (recipe.loader.batch_size, 3, int(image_size), int(image_size))
    images = Tensor(np.random.default_rng(group.rank).standard_normal(shape).astype(np.float32))
    labels = Tensor(np.arange(len(images), dtype=np.int32) % NUM_CLASSES)
    facts: dict[str, object] = {"rank": group.rank}
    works: dict[str, Callable[[], object]] = {"step": lambda: step(images, labels).asnumpy()}
    if group.size > 1:
        works |= list_reductions(step, group.size, [int(count) for count in counts])
        sizes = step.all_reduce_mean.sizes
        facts["bucket_bytes"] = count_bytes(step.all_reduce_mean.buckets, sizes)
        facts["device_bucket_bytes"] = count_bytes(plan_buckets(sizes, DEVICE_BUCKET), sizes)
        facts["num_gradients"] = len(step.optimizer.parameters)

    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        with connection.makefile("rw") as stream:
            print(json.dumps(facts), file=stream, flush=True)
            for line in stream:
                request = json.loads(line)
                work = works[request["work"]]
                group.wait()
                start = perf_counter()
                for _ in range(request["times"]):
                    work()
                seconds = perf_counter() - start
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
                print(json.dumps({"seconds": seconds, "peak_gb": peak}), file=stream, flush=True)


if __name__ == "__main__":
    main()
