"""The mean over all ranks, inside the training step."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

BUCKET = 4 << 20  # numbers in one collective: few calls, and on a device the first can start before the backward ends


class RankMean(nn.Cell):
    """(tensors) -> their means over `size` ranks, a tuple of the same shapes and types.

    Tensors are joined into buckets of float32, each of which is one collective. `shapes` are those of the tensors.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], size: int):
        super().__init__()
        self.shapes = tuple(tuple(shape) for shape in shapes)
        self.size = size
        self.buckets = plan_buckets([prod(shape) for shape in self.shapes])
        self.add_up = ops.AllReduce()

    def construct(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        means = ()
        for bucket in self.buckets:
            parts = ()
            for index, _, _ in bucket:
                parts += (tensors[index].astype(mstype.float32).reshape(-1),)
            joined = self.add_up(ops.concat(parts)) / self.size
            for index, start, end in bucket:
                mean = joined[start:end].reshape(self.shapes[index]).astype(tensors[index].dtype)
                means = (mean, *means)
        return means


def plan_buckets(sizes: Sequence[int], limit: int = BUCKET) -> tuple[tuple[tuple[int, int, int], ...], ...]:
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
