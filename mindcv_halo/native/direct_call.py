"""Kernels called with the addresses of tensors, past MindSpore.

To run one operator of a hundred operands MindSpore takes a millisecond in graph mode and ten in PyNative mode, where a
small network runs in seven.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import mindspore
import numpy as np
from mindspore import Tensor
from mindspore.graph.api import _pynative_executor

from .operators import load_kernels


def is_recorded() -> bool:
    """Whether PyNative mode records what runs now, for gradients: it sees nothing of a kernel called directly."""
    return _pynative_executor.requires_grad()


class DirectCall:
    """A kernel that takes images, `weights` and whole numbers, and makes one float32 result."""

    def __init__(self, name: str, weights: Sequence[Tensor]):
        self._kernel = getattr(load_kernels(), name)
        self._weights = tuple(weights)
        self._seen: list[tuple] | None = None

    def can_read_weights(self) -> bool:
        """Whether they are float32 numbers that lie one after the other, as the kernel must find them.

        To be asked before every call, which reads them where they were found.
        """
        # An address comes once all operators that write there have run.
        seen = [(weight.data_ptr(), weight.dtype, weight.shape, weight.is_contiguous()) for weight in self._weights]
        if seen != self._seen:  # others were loaded
            operands = _Operands(len(seen) + 3)
            for index, (address, _, shape, _) in enumerate(seen, 1):
                operands.set(index, address, shape, b"float32")
            self._operands, self._seen = operands, seen
            self._are_plain = all(dtype == mindspore.float32 and in_order for _, dtype, _, in_order in seen)
        return self._are_plain

    def __call__(self, images: Tensor, settings: np.ndarray, shape: tuple[int, ...]) -> Tensor:
        """The result, of this shape, of float32 images and weights that can be read.

        Raises RuntimeError with the kernel's own words where it refuses what it gets.
        """
        images = images.contiguous()
        result = np.empty(shape, np.float32)
        operands = self._operands.copy()  # other threads call too
        operands.set(0, images.data_ptr(), images.shape, b"float32")
        operands.set(-2, settings.ctypes.data, settings.shape, b"int64")
        operands.set(-1, result.ctypes.data, shape, b"float32")
        if self._kernel(*operands.as_arguments(), None, None):
            read_refusal = load_kernels().read_refusal
            read_refusal.restype = ctypes.c_char_p
            raise RuntimeError(f"native kernels: {read_refusal().decode()}")
        return Tensor.from_numpy(result)


class _Operands:
    """What a kernel is told of its inputs and outputs (src/kernel.hpp)."""

    def __init__(self, count: int):
        self.addresses = (ctypes.c_void_p * count)()
        self.axes = (ctypes.c_int * count)()
        self.sides = (ctypes.c_void_p * count)()
        self.types = (ctypes.c_char_p * count)()
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
