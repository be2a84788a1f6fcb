"""Many tensors times one number."""

from __future__ import annotations

from collections.abc import Sequence

from mindspore import Parameter, Tensor, get_context, nn, ops
from mindspore import dtype as mstype
from mindspore.ops.auto_generate import SplitWithSize

SMALL = 1 << 14  # numbers that a device multiplies in less time than it needs to start a kernel
MOST_TENSORS = 128  # joined: MindSpore calls itself three times for each that a split makes, a thousand times in all


class Multiply(nn.Cell):
    """(tensors, factor) -> each tensor times the factor, a float32 scalar."""

    def __init__(self):
        super().__init__()
        self.hyper_map = ops.HyperMap()

    def construct(self, tensors: tuple[Tensor, ...], factor: Tensor) -> tuple[Tensor, ...]:
        return self.hyper_map(ops.partial(_multiply, factor), tensors)


class JoinedMultiply(nn.Cell):
    """The same, with float32 tensors of the indices `joined`, of `sizes` numbers, multiplied MOST_TENSORS at once."""

    def __init__(self, joined: Sequence[int], sizes: Sequence[int], num_tensors: int):
        super().__init__()
        starts = range(0, len(joined), MOST_TENSORS)
        self.joined = tuple(tuple(joined[start : start + MOST_TENSORS]) for start in starts)
        self.sizes = tuple(tuple(sizes[start : start + MOST_TENSORS]) for start in starts)
        self.groups = tuple(range(len(starts)))
        places = {index: place for place, index in enumerate(joined)}
        self.places = tuple(places.get(index, UNJOINED) for index in range(num_tensors))
        self.hyper_map = ops.HyperMap()

    def construct(self, tensors: tuple[Tensor, ...], factor: Tensor) -> tuple[Tensor, ...]:
        flat = self.hyper_map(ops.partial(_flatten, tensors), self.joined)
        products = self.hyper_map(ops.partial(_multiply_group, flat, self.sizes, factor), self.groups)
        return self.hyper_map(ops.partial(_take, products, factor), self.places, tensors)


def make_multiply(parameters: Sequence[Parameter]) -> nn.Cell:
    """For tensors of the shapes and types of `parameters`; only an Ascend joins them."""
    joined = [
        index
        for index, parameter in enumerate(parameters)
        if parameter.size <= SMALL and parameter.dtype == mstype.float32
    ]
    if get_context("device_target") != "Ascend" or len(joined) < 2:
        return Multiply()
    return JoinedMultiply(joined, [parameters[index].size for index in joined], len(parameters))


UNJOINED = "not joined"
# Copies: mint.split would give views, whose offsets not every kernel of an optimizer need respect.
_split = SplitWithSize()
_multiply = ops.MultitypeFuncGraph("multiply")
_flatten = ops.MultitypeFuncGraph("flatten")
_multiply_group = ops.MultitypeFuncGraph("multiply_group")
_take = ops.MultitypeFuncGraph("take")


@_multiply.register("Tensor", "Tensor")
def _multiply_tensor(factor, tensor):
    return tensor * factor.astype(tensor.dtype)


@_flatten.register("Tuple", "Number")
def _flatten_tensor(tensors, index):
    return tensors[index].reshape(-1)


@_multiply_group.register("Tuple", "Tuple", "Tensor", "Number")
def _multiply_joined(flat, sizes, factor, group):
    return _split(ops.concat(flat[group]) * factor, sizes[group])


@_take.register("Tuple", "Tensor", "Number", "Tensor")
def _take_product(products, factor, place, tensor):
    return products[place // MOST_TENSORS][place % MOST_TENSORS].reshape(tensor.shape)


@_take.register("Tuple", "Tensor", "String", "Tensor")
def _multiply_alone(products, factor, place, tensor):
    return tensor * factor.astype(tensor.dtype)
