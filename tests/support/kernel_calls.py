"""The native kernels called as MindSpore calls them, but without it: for wrong shapes, and for sanitizers."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

_ONE = 0x3F80  # as bfloat16
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
    scrambled: int = 0,
) -> dict[str, list[Argument]]:
    """Of each kernel but run_plan its arguments, inputs and then outputs, for maps of this size."""
    image, line = (batch, height, width, channels), (channels,)
    half = (batch, -(-height // 2), -(-width // 2), channels)
    strided = (batch, -(-height // stride), -(-width // stride))
    weights = (channels, channels // groups, kernel, kernel)
    other = (channels + 2, channels, kernel, kernel)
    both = (batch, height, width, 2 * channels)
    table = (2 * (block + 2 * halo) - 1, channels // heads)
    attention = [block, halo, heads, block, 0, 0, scrambled]  # and mask_padding, scale_position before the last
    scales = (batch * heads * -(-height // block) * -(-width // block), block * block, 2)
    qkv, doubled = (batch, height, width, 3 * channels), (batch, 2 * height, 2 * width, channels)
    whole = [(2 * side - 1, channels // heads) for side in (height, width)]
    whole_scales = (batch * heads, height * width, 2)
    keys, values = (batch, height, width, channels // heads), (batch, height, width, channels + 1)
    lambdas = [image, keys, values, (channels // heads, 1, kernel, kernel), (channels // heads,)]
    applied = (batch, height, width, heads * (channels + 1))
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
        "bottleneck_attention": [qkv, *whole, [heads], image, whole_scales],
        "bottleneck_attention_backward": [image, qkv, *whole, whole_scales, [heads], qkv, *whole],
        "lambda_layer": [*lambdas, applied],
        "lambda_layer_backward": [applied, *lambdas, *lambdas],
        "average_pool": [doubled, image],
        "average_pool_backward": [image, doubled],
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


# The arguments of each kernel that may be of bfloat16, all at once.
MAPS = {
    "convolution": (0, 3, 5),
    "convolution_backward_input": (0, 2, 4),
    "convolution_backward_weights": (0, 1),
    "batch_norm_training": (0, 1, 8),
    "batch_norm_inference": (0, 1, 8),
    "batch_norm_backward": (0, 1, 2, 8, 11),
    "halo_attention": (0, 1, 5),
    "halo_attention_backward": (0, 1, 2, 7, 8),
    "bottleneck_attention": (0, 4),
    "bottleneck_attention_backward": (0, 1, 6),
    "lambda_layer": (0, 1, 2, 5),
    "lambda_layer_backward": (0, 1, 2, 3, 6, 7, 8),
    "average_pool": (0, 1),
    "average_pool_backward": (0, 1),
    "max_pool": (0, 2),
    "max_pool_backward": (0, 1, 2, 3),
    "add_maps": (0, 1, 2),
    "mean_pixels": (0, 1),
    "mean_pixels_backward": (1, 2),
    "channel_gate": (0, 2),
    "channel_gate_backward": (0, 1, 3),
    "channels_last": (0, 1),
    "channels_first": (0, 1),
}


def make_pointwise_call(batch: int, height: int, width: int, channels: int, out: int, stride: int) -> list[Argument]:
    """Arguments of `convolution` for one of 1x1 with bias, shortcut and SiLU."""
    target = (batch, -(-height // stride), -(-width // stride), out)
    return [(batch, height, width, channels), (out, channels, 1, 1), (out,), target, [stride, 1, 2, 3, 0], target]


def call(
    library: ctypes.CDLL,
    name: str,
    arguments: Sequence[Argument],
    other: int = -1,
    other_type: bytes = b"float16",
    *,
    short: bool = False,
) -> int:
    """What the kernel returns for arrays of these shapes: 0, or 1 for an error.

    The argument numbered `other` is told to be of `other_type`, whatever it is. With `short` the kernel's MAPS are of
    bfloat16.
    """
    of_short = MAPS[name] if short else ()
    arrays = [
        np.array(each, np.int64)
        if isinstance(each, list)
        else np.full(each, _ONE, np.uint16)
        if index in of_short
        else np.ones(each, np.float32)
        for index, each in enumerate(arguments)
    ]
    count = len(arrays)
    params = (ctypes.c_void_p * count)(*(array.ctypes.data for array in arrays))
    ndims = (ctypes.c_int * count)(*(array.ndim for array in arrays))
    sides = [(ctypes.c_int64 * max(1, array.ndim))(*array.shape) for array in arrays]
    shapes = (ctypes.POINTER(ctypes.c_int64) * count)(
        *(ctypes.cast(side, ctypes.POINTER(ctypes.c_int64)) for side in sides)
    )
    names = [{np.int64: b"int64", np.uint16: b"bfloat16", np.float32: b"float32"}[each.dtype.type] for each in arrays]
    types = (ctypes.c_char_p * count)(*(other_type if index == other else words for index, words in enumerate(names)))
    return getattr(library, name)(count, params, ndims, shapes, types, None, None)
