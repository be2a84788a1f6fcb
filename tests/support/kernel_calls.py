"""The native kernels called as MindSpore calls them, but without it: for wrong shapes, and for sanitizers."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

Argument = tuple[int, ...] | list[int]  # the shape of an array of float32, or settings as whole numbers


def make_calls(
    batch: int = 2,
    height: int = 5,
    width: int = 7,
    channels: int = 8,
    *,
    groups: int = 2,
    stride: int = 2,
    kernel: int = 3,
    heads: int = 2,
    block: int = 4,
    halo: int = 1,
) -> dict[str, list[Argument]]:
    """Of each kernel but run_plan its arguments, inputs and then outputs, for maps of this size."""
    image, line = (batch, height, width, channels), (channels,)
    half = (batch, -(-height // 2), -(-width // 2), channels)
    strided = (batch, -(-height // stride), -(-width // stride))
    weights = (channels, channels // groups, kernel, kernel)
    other = (channels + 2, channels, kernel, kernel)
    both = (batch, height, width, 2 * channels)
    table = (2 * (block + 2 * halo) - 1, channels // heads)
    attention = [block, halo, heads, block, 0, 0]  # and mask_padding, scale_position
    scales = (batch * heads * -(-height // block) * -(-width // block), block * block, 2)
    first, last, pooled = (batch, channels, height, width), image, (batch, channels)
    return {
        "convolution": [image, other, other[:1], (*strided, other[0]), [stride, 1, 1, 3, 0], (*strided, other[0])],
        "convolution_backward_input": [(*strided, channels), weights, image, [stride, groups, 0, 0, 0], image],
        "convolution_backward_weights": [(*strided, channels), image, weights, [stride, groups, 0, 0, 0], weights],
        "batch_norm_training": [image, image, *[line] * 4, [1, 1, 1], (2,), image, *[line] * 4],
        "batch_norm_inference": [image, image, *[line] * 4, [2, 1, 0], (2,), image, *[line] * 4],
        "batch_norm_backward": [*[image] * 3, *[line] * 4, [1, 1, 1], image, line, line, image],
        "halo_attention": [image, both, table, table, attention, image, scales],
        "halo_attention_backward": [image, image, both, table, table, scales, attention, image, both, table, table],
        "max_pool": [image, (1,), half],
        "max_pool_backward": [half, half, image, image],
        "add_maps": [image, image, image],
        "mean_pixels": [image, pooled],
        "mean_pixels_backward": [pooled, image, image],
        "channel_gate": [image, pooled, image],
        "channel_gate_backward": [image, image, pooled, image, pooled],
        "neighbour_channels": [pooled, (1, 1, 1, 3), pooled],
        "channels_last": [first, last],
        "channels_first": [last, first],
        "adamw": [*[(3, 4), (5,)] * 4, (2,), (2,), (3,), (1,)],
        "join_tensors": [[2], (3, 4), (5,), (12,), (5,)],
        "share_means": [[1, 1, 1, 2], (10,), (4,), (5,), (1,)],
    }


def call(
    library: ctypes.CDLL, name: str, arguments: Sequence[Argument], other: int = -1, other_type: bytes = b"float16"
) -> int:
    """What the kernel returns for arrays of these shapes: 0, or 1 for an error.

    The argument numbered `other` is told to be of `other_type`, whatever it is.
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
    types = (ctypes.c_char_p * count)(*(other_type if index == other else words for index, words in enumerate(names)))
    return getattr(library, name)(count, params, ndims, shapes, types, None, None)
