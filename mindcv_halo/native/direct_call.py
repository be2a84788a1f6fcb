"""Kernels called with the addresses of tensors, past MindSpore.

To run one operator of a hundred operands MindSpore takes a millisecond in graph mode and ten in PyNative mode, where a
small network runs in seven.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import mindspore
import numpy as np
from mindspore import Tensor

from .operators import load_kernels

try:
    from mindspore.graph.api import _pynative_executor
    from mindspore.graph.jit_context import jit_context
except ImportError:  # before MindSpore 2.9
    from mindspore.common.api import _pynative_executor
    from mindspore.common.jit_context import jit_context

_FLOAT, _INTEGER = b"float32", b"int64"


def is_recorded() -> bool:
    """Whether MindSpore notes what runs now, for gradients or for a graph, and would miss what it does not run."""
    return _pynative_executor.requires_grad() or jit_context() is not None


class DirectCall:
    """A kernel that takes images, `weights` and whole numbers, and makes one float32 result."""

    def __init__(self, name: str, weights: Sequence[Tensor]):
        self._kernel = getattr(load_kernels(), name)
        self._weights = tuple(weights)
        self._found = _Weights([], [], None)

    def __call__(self, images: Tensor, settings: np.ndarray, shape: tuple[int, ...]) -> Tensor | None:
        """The result, of this shape, for float32 images; None where MindSpore has to make something of weights first.

        Raises RuntimeError with the kernel's own words where it refuses what it gets.
        """
        weights = self._find_weights()
        if weights.operands is None:
            return None
        images = images.contiguous()
        result = np.empty(shape, np.float32)
        operands = weights.operands.copy()  # other threads call too
        operands.set(0, images.data_ptr(), images.shape, _FLOAT)
        operands.set(-2, settings.ctypes.data, settings.shape, _INTEGER)
        operands.set(-1, result.ctypes.data, shape, _FLOAT)
        if self._kernel(*operands.as_arguments(), None, None):
            read_refusal = load_kernels().read_refusal
            read_refusal.restype = ctypes.c_char_p
            raise RuntimeError(f"native kernels: {read_refusal().decode()}")
        return Tensor.from_numpy(result)

    def _find_weights(self) -> _Weights:
        addresses = [weight.data_ptr() for weight in self._weights]  # each comes once its numbers are written
        found = self._found
        if found.operands is None or found.addresses != addresses:
            self._found = found = _Weights.find(self._weights, addresses)
        return found


@dataclass(frozen=True)
class _Weights:
    """Where weights lie, and what a kernel is told of them, unless they are not float32 numbers in their order.

    `numbers` keep the place: whoever loads others while a kernel runs takes nothing away, and none of them comes to lie
    at the same address.
    """

    addresses: list[int]
    numbers: list[np.ndarray]
    operands: _Operands | None

    @classmethod
    def find(cls, weights: Sequence[Tensor], addresses: list[int]) -> _Weights:
        if not all(addresses) or any(  # no address: an initializer is still to make the numbers
            weight.dtype != mindspore.float32 for weight in weights
        ):
            return cls(addresses, [], None)
        numbers = [weight.asnumpy() for weight in weights]
        if [array.ctypes.data for array in numbers] != addresses:  # copied, to bring them into order
            return cls(addresses, [], None)
        operands = _Operands(len(weights) + 3)
        for index, array in enumerate(numbers, 1):
            operands.set(index, array.ctypes.data, array.shape, _FLOAT)
        return cls(addresses, numbers, operands)


class _Operands:
    """What a kernel is told of its inputs and outputs (src/kernel.hpp)."""

    def __init__(self, count: int):
        self.addresses = (ctypes.c_void_p * count)()
        self.axes = (ctypes.c_int * count)()
        self.sides = (ctypes.c_void_p * count)()
        self.types = (ctypes.c_char_p * count)()  # of _FLOAT and _INTEGER, which stay
        self.kept: dict[int, ctypes.Array] = {}  # what `sides` points at

    def set(self, index: int, address: int, shape: tuple[int, ...], type_name: bytes) -> None:
        self.addresses[index] = address
        self.axes[index] = len(shape)
        self.kept[index] = (ctypes.c_int64 * len(shape))(*shape)
        self.sides[index] = ctypes.addressof(self.kept[index])
        self.types[index] = type_name

    def copy(self) -> _Operands:
        other = _Operands.__new__(_Operands)
        for name in ("addresses", "axes", "sides", "types"):
            array = getattr(self, name)
            setattr(other, name, type(array).from_buffer_copy(array))
        other.kept = dict(self.kept)
        return other

    def as_arguments(self) -> tuple:
        return len(self.addresses), self.addresses, self.axes, self.sides, self.types
