"""Every kernel checks the shapes that it is given: a wrong one is an error, never a read beyond an array."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from ways import has_kernels

from mindcv_halo.native.build import SOURCES
from mindcv_halo.native.operators import load_kernels

pytestmark = pytest.mark.skipif(not has_kernels(), reason="no C++ compiler here, or no MindSpore that kernels fit")

MAP = (2, 5, 7, 8)
HALF = (2, 3, 4, 8)  # of MAP, with a stride of 2
HALO = [4, 1, 2, 4, 0, 0]  # block, halo, heads, queries of a side, mask_padding, scale_position
SCALES = (2 * 2 * 2 * 2, 16, 2)  # images, heads, rows and columns of blocks; queries
TABLE = (11, 4)
# Of each kernel its arguments, inputs and then outputs: shapes, or settings as a list of whole numbers.
KERNELS: dict[str, list[tuple[int, ...] | list[int]]] = {
    "convolution": [MAP, (6, 8, 3, 3), (6,), (2, 3, 4, 6), [2, 1, 0, 3, 0], (2, 3, 4, 6)],
    "convolution_backward_input": [HALF, (8, 4, 3, 3), MAP, [2, 2, 0, 0, 0], MAP],
    "convolution_backward_weights": [HALF, MAP, (8, 4, 3, 3), [2, 2, 0, 0, 0], (8, 4, 3, 3)],
    "batch_norm_training": [MAP, MAP, *[(8,)] * 4, [1, 1, 1], (2,), MAP, *[(8,)] * 4],
    "batch_norm_inference": [MAP, MAP, *[(8,)] * 4, [2, 1, 0], (2,), MAP, *[(8,)] * 4],
    "batch_norm_backward": [*[MAP] * 3, *[(8,)] * 4, [1, 1, 1], MAP, (8,), (8,), MAP],
    "halo_attention": [MAP, (2, 5, 7, 16), TABLE, TABLE, HALO, MAP, SCALES],
    "halo_attention_backward": [MAP, MAP, (2, 5, 7, 16), TABLE, TABLE, SCALES, HALO, MAP, (2, 5, 7, 16), TABLE, TABLE],
    "max_pool": [MAP, (1,), HALF],
    "max_pool_backward": [HALF, HALF, MAP, MAP],
    "mean_pixels": [MAP, (2, 8)],
    "mean_pixels_backward": [(2, 8), MAP, MAP],
    "channel_gate": [MAP, (2, 8), MAP],
    "channel_gate_backward": [MAP, MAP, (2, 8), MAP, (2, 8)],
    "neighbour_channels": [(2, 8), (1, 1, 1, 3), (2, 8)],
    "channels_last": [(2, 8, 5, 7), MAP],
    "channels_first": [MAP, (2, 8, 5, 7)],
    "adamw": [*[(3, 4), (5,)] * 4, (2,), (2,), (3,), (1,)],
    "join_tensors": [[2], (3, 4), (5,), (12,), (5,)],
    "share_means": [[1, 1, 1, 2], (10,), (4,), (5,), (1,)],
}
# (kernel, argument, axis) whose side is free: it belongs to that argument alone.
FREE = {
    ("neighbour_channels", 1, 3),
    *(("mean_pixels", 0, axis) for axis in (1, 2)),
    *(("halo_attention", 0, axis) for axis in (1, 2)),  # queries beyond the map are zeros
    *(("halo_attention", 1, axis) for axis in (1, 2)),  # as long as there are as many blocks
    *(("halo_attention", 5, axis) for axis in (1, 2)),  # and their outputs may be written or not
    *(("halo_attention_backward", 0, axis) for axis in (1, 2)),
}


def call(name: str, arguments: Sequence[tuple[int, ...] | list[int]], half: int = -1) -> int:
    """What the kernel returns for arrays of these shapes: 0, or 1 for an error.

    MindSpore calls the argument numbered `half` one of float16, whatever it is.
    """
    arrays = [np.array(each, np.int64) if isinstance(each, list) else np.ones(each, np.float32) for each in arguments]
    count = len(arrays)
    params = (ctypes.c_void_p * count)(*(array.ctypes.data for array in arrays))
    ndims = (ctypes.c_int * count)(*(array.ndim for array in arrays))
    sides = [(ctypes.c_int64 * max(1, array.ndim))(*array.shape) for array in arrays]
    shapes = (ctypes.POINTER(ctypes.c_int64) * count)(
        *(ctypes.cast(side, ctypes.POINTER(ctypes.c_int64)) for side in sides)
    )
    names = [b"int64" if isinstance(each, list) else b"float32" for each in arguments]
    types = (ctypes.c_char_p * count)(*(b"float16" if index == half else words for index, words in enumerate(names)))
    return getattr(load_kernels(), name)(count, params, ndims, shapes, types, None, None)


def test_all_kernels_are_here():
    sources = "\n".join(Path(file).read_text() for file in SOURCES.glob("*.cpp"))
    assert set(re.findall(r"^HALO_KERNEL\((\w+)\)", sources, re.MULTILINE)) == {*KERNELS, "run_plan"}


@pytest.mark.parametrize("name", KERNELS)
def test_kernel(name, capfd):
    arguments = KERNELS[name]
    assert call(name, arguments) == 0
    for index, argument in enumerate(arguments):
        for other in change(name, index, argument):
            changed = [*arguments[:index], other, *arguments[index + 1 :]]
            assert call(name, changed) == 1, (index, other)
    assert [call(name, arguments, half=index) for index in range(len(arguments))] == [1] * len(arguments)
    for fewer in (arguments[:-1], [*arguments, (1,)]):
        assert call(name, fewer) == 1, len(fewer)
    assert f"{name}: " in capfd.readouterr().err


def change(name: str, index: int, argument: tuple[int, ...] | list[int]) -> Iterator[tuple[int, ...] | list[int]]:
    """More and fewer numbers, on each axis and in all."""
    if isinstance(argument, list):
        yield from ([*argument, 1], argument[:-1])
        return
    for axis, side in enumerate(argument):
        if (name, index, axis) not in FREE:
            for other in (side + 2, side - 2):  # one more or less may have the same half
                if other >= 0:
                    yield (*argument[:axis], other, *argument[axis + 1 :])
    yield (*argument, 2)
