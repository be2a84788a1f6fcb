"""The mean over all ranks, inside the training step."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import mindspore
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

# Numbers in one collective. A device wants few, the first of which can start before the backward pass ends; MindSpore's
# all-reduce on CPUs takes 1 MB about four times faster than 16 MB, number for number (benchmarks/scaling.py).
DEVICE_BUCKET = 4 << 20
CPU_BUCKET = 1 << 18


class RankMean(nn.Cell):
    """(tensors) -> their means over `size` ranks, a tuple of the same shapes and types.

    Tensors are joined into buckets of float32, each of which is one collective. `shapes` are those of the tensors.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], size: int):
        super().__init__()
        self.shapes = tuple(tuple(shape) for shape in shapes)
        self.size = size
        limit = CPU_BUCKET if mindspore.get_context("device_target") == "CPU" else DEVICE_BUCKET
        self.buckets = plan_buckets([prod(shape) for shape in self.shapes], limit)
        self.add_up = ops.AllReduce()

    def construct(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        means = ()
        for bucket in self.buckets:
            parts = ()
            for index, _, _ in bucket:
                parts += (tensors[index].astype(mstype.float32).reshape(-1),)
            joined = self.add_up(ops.concat(parts)) / self.size
            for index, start, end in bucket:
                part = joined[start:end] if len(bucket) > 1 else joined  # a slice of all is a slow copy on a CPU
                means = (part.reshape(self.shapes[index]).astype(tensors[index].dtype), *means)
        return means


def plan_buckets(sizes: Sequence[int], limit: int) -> tuple[tuple[tuple[int, int, int], ...], ...]:
    """Which tensors share a collective: (index, start, end) for each, in buckets of at most `limit` numbers.

    The last tensors come first, as that is the order in which gradients are ready. A larger one has its own bucket.
    """
    buckets: list[list[tuple[int, int, int]]] = []
    filled = limit
    for index in reversed(range(len(sizes))):
        if filled + sizes[index] > limit:
            buckets.append([])
            filled = 0
        buckets[-1].append((index, filled, filled + sizes[index]))
        filled += sizes[index]
    return tuple(map(tuple, buckets))
