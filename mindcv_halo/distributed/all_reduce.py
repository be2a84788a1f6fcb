"""The mean over all ranks, inside the training step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import mindspore
from mindspore import Tensor, nn, ops
from mindspore.ops.auto_generate import SplitWithSize

# Numbers in one collective. A device wants few, the first of which can start before the backward pass ends; MindSpore's
# all-reduce on CPUs takes 1 MB about four times faster than 16 MB, number for number (benchmarks/scaling.py).
DEVICE_BUCKET = 4 << 20
CPU_BUCKET = 1 << 18
# Tensors in one collective: MindSpore calls itself three times for each that a split makes, a thousand times in all.
MOST_TENSORS = 128


@dataclass(frozen=True)
class Bucket:
    """The tensors from `first` to below `end`, which share a collective."""

    first: int
    end: int

    @property
    def is_shared(self) -> bool:
        return self.end - self.first > 1


class AllReduceMean(nn.Cell):
    """(gradients, statistics, loss) -> the mean gradients and loss of `size` ranks, in float32.

    The statistics are parameters, which are set to their means. Tensors are joined into buckets, each of which is one
    collective.

    Args:
        gradients, statistics: shapes of the tensors.
        size: number of ranks.

    MindSpore unrolls a loop of `construct` into calls inside calls, of which it allows a thousand, and compiles each
    anew; so all is written as maps over tuples here, and what differs from tensor to tensor is known beforehand: a
    number where something is to be done, the word ASIDE where nothing is.
    """

    def __init__(self, gradients: Sequence[tuple[int, ...]], statistics: Sequence[tuple[int, ...]], size: int):
        super().__init__()
        shapes = self.shapes = (*gradients, *statistics, ())
        self.num_gradients = len(gradients)
        limit = CPU_BUCKET if mindspore.get_context("device_target") == "CPU" else DEVICE_BUCKET
        self.size = size
        self.sizes = tuple(prod(shape) for shape in shapes)
        self.buckets = plan_buckets(self.sizes, limit)
        self.firsts = tuple(bucket.first for bucket in self.buckets)
        self.ends = tuple(bucket.end if bucket.is_shared else ASIDE for bucket in self.buckets)
        self.bucket_numbers = tuple(range(len(self.buckets)))
        self.bucket_sizes = tuple(self.sizes[bucket.first : bucket.end] for bucket in self.buckets)
        numbers, places, flattens = [], [], []
        for number, bucket in enumerate(self.buckets):
            for place, index in enumerate(range(bucket.first, bucket.end)):
                numbers.append(number)
                places.append(place)
                flattens.append(1 if bucket.is_shared and len(shapes[index]) != 1 else ASIDE)
        self.numbers, self.places, self.flattens = tuple(numbers), tuple(places), tuple(flattens)
        self.hyper_map = ops.HyperMap()
        self.add_up = ops.AllReduce()

    def construct(
        self, gradients: tuple[Tensor, ...], statistics: tuple[Tensor, ...], loss: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        tensors = (*gradients, *statistics, loss)
        flat = self.hyper_map(_flatten, tensors, self.flattens)
        joined = self.hyper_map(ops.partial(_join, flat), self.firsts, self.ends)
        means = self.hyper_map(ops.partial(_divide, self.size), self.hyper_map(self.add_up, joined))
        parts = self.hyper_map(ops.partial(_split_bucket, self.bucket_sizes), self.bucket_numbers, self.ends, means)
        means = self.hyper_map(ops.partial(_take, parts), self.numbers, self.places, tensors, self.flattens)
        if len(statistics) > 0:
            self.hyper_map(_set, statistics, means[self.num_gradients : -1])
        return means[: self.num_gradients], means[-1]


def plan_buckets(sizes: Sequence[int], limit: int) -> tuple[Bucket, ...]:
    """Which neighbours share a collective, of at most `limit` numbers and MOST_TENSORS; a larger tensor has its own.

    Filled from the end, as that is the order in which gradients are ready.
    """
    buckets: list[Bucket] = []
    end, filled = len(sizes), 0
    for index in reversed(range(len(sizes))):
        if index + 1 < end and (filled + sizes[index] > limit or end - index > MOST_TENSORS):
            buckets.insert(0, Bucket(index + 1, end))
            end, filled = index + 1, 0
        filled += sizes[index]
    return (Bucket(0, end), *buckets) if sizes else ()


ASIDE = "nothing to do"
_flatten = ops.MultitypeFuncGraph("flatten")
_join = ops.MultitypeFuncGraph("join")
_divide = ops.MultitypeFuncGraph("divide")
_split_bucket = ops.MultitypeFuncGraph("split_bucket")
_take = ops.MultitypeFuncGraph("take")
_set = ops.MultitypeFuncGraph("set")
_reshape, _split, _concat, _shape = ops.Reshape(), SplitWithSize(), ops.Concat(), ops.Shape()


@_flatten.register("Tensor", "Number")
def _flatten_array(tensor, mark):
    return _reshape(tensor, (-1,))


@_flatten.register("Tensor", "String")
def _keep_vector(tensor, mark):
    return tensor


@_join.register("Tuple", "Number", "Number")
def _join_bucket(flat, first, end):
    return _concat(flat[first:end])


@_join.register("Tuple", "Number", "String")
def _leave_alone(flat, first, end):
    return flat[first]


@_divide.register("Number", "Tensor")
def _divide_sum(size, total):
    return total / size


@_split_bucket.register("Tuple", "Number", "Number", "Tensor")
def _split_shared(sizes, number, end, mean):
    return _split(mean, sizes[number])


@_split_bucket.register("Tuple", "Number", "String", "Tensor")
def _leave_whole(sizes, number, end, mean):
    return (mean,)


@_take.register("Tuple", "Number", "Number", "Tensor", "Number")
def _take_array(parts, number, place, tensor, mark):
    return _reshape(parts[number][place], _shape(tensor))


@_take.register("Tuple", "Number", "Number", "Tensor", "String")
def _take_as_is(parts, number, place, tensor, mark):
    return parts[number][place]


@_set.register("Tensor", "Tensor")
def _set_parameter(parameter, value):
    return ops.assign(parameter, value)
