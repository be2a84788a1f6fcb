"""The kernels of src/ as MindSpore cells with gradients: channels-last maps (B, H, W, C), on a CPU.

Maps are float32 or bfloat16, and come out as they went in; parameters, statistics and what has a number for each
channel are float32. Each works in graph and PyNative mode, unless it says otherwise, and in a Plan by its
`forward_kernel` and the `constants` that end its operands. Where a kernel has an operand that a layer may lack, that
operand is one zero.
"""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Callable, Sequence
from functools import cache
from itertools import count
from typing import Any

import mindspore
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.ops import signature as sig

from ..errors import UserError
from .build import LIBRARY, ONEDNN, NativeUnavailableError, build_kernels

ACTIVATIONS = {None: 0, "relu": 1, "silu": 2}
FLOAT = mindspore.float32
_EXPORTS = (mindspore.export.__code__,)
_frozen_numbers = count(1)


@cache
def load_kernels() -> ctypes.CDLL:
    """The kernels, built and loaded at the first call. Raises NativeUnavailableError where they cannot be."""
    folder = build_kernels()
    try:
        library = ctypes.CDLL(str(folder / LIBRARY))
    except OSError as error:
        raise NativeUnavailableError(f"native kernels: {error}; run without --native_kernels") from error
    if library.use_onednn(str(folder / ONEDNN).encode()):
        raise NativeUnavailableError("native kernels: MindSpore's oneDNN does not fit; run without --native_kernels")
    return library


def _kernel(name: str, out_shape: Callable, find_types: Callable = lambda *types: FLOAT, **settings: Any) -> ops.Custom:
    """The kernel as a primitive. `settings` are what shapes and types of its results depend on beside its arguments.

    PyNative mode remembers results by operands and attributes, and so must find the settings among these.
    """
    load_kernels()
    path = f"{build_kernels() / LIBRARY}:{name}"

    def infer(*shapes):
        _refuse_export()
        return out_shape(*shapes)

    kernel = ops.Custom(path, out_shape=infer, out_dtype=find_types, func_type="aot")
    for setting, value in settings.items():
        kernel.add_prim_attr(setting, value)
    kernel.symbol, kernel.find_shapes, kernel.find_types = name, out_shape, find_types
    return kernel


def _as_first(first, *others):
    return first


def _refuse_export() -> None:
    """Raise UserError inside mindspore.export, whose file would name a library in this machine's cache folder.

    MindSpore tells kernels nothing of it, but infers their shapes while it is at work.
    """
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code in _EXPORTS:
            raise UserError(
                "export: the network is on native kernels, which are compiled for this machine alone; export it before "
                "accelerate, or a portable copy with its weights"
            )
        frame = frame.f_back


def number_kernel(name: str) -> int:
    """The number by which plans name a kernel."""
    number = load_kernels().number_kernel(name.encode())
    if number < 0:
        raise ValueError(f"{name} is no kernel: none of src/*.cpp defines it")
    return number


def nothing() -> Tensor:
    """What stands for an operand that a layer lacks."""
    return Tensor(np.zeros(1, np.float32))


class Convolution(nn.Cell):
    """activation(conv(map) + bias + added): (B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), O).

    Odd square kernels with a border of zeros; weights (O, C / groups, k, k) and bias (O,) are arguments. Gradients are
    for convolutions alone, without bias, map to add and activation. `frozen` weights are reordered at the first call
    for each shape, and again when others lie in their place, or 256 of their numbers are others. With `to_float` the
    output is float32, whatever the map is.
    """

    def __init__(
        self,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: str | None = None,
        has_bias: bool = False,
        adds: bool = False,
        frozen: bool = False,
        to_float: bool = False,
    ):
        super().__init__()
        self.is_plain = activation is None and not has_bias and not adds
        number = next(_frozen_numbers) if frozen else 0
        extras = int(has_bias) + 2 * int(adds)
        self.settings = Tensor(np.array([stride, groups, ACTIVATIONS[activation], extras, number], np.int64))
        self.constants = (self.settings,)
        self.forward_kernel = _convolution_kernel(stride, to_float)
        self.backward_input = _kernel("convolution_backward_input", lambda diff, weight, x, settings: x, _as_first)
        self.backward_weights = _kernel("convolution_backward_weights", lambda diff, x, weight, settings: weight)
        if frozen:
            weakref.finalize(self, load_kernels().forget_frozen, ctypes.c_int64(number))

    def construct(self, x: Tensor, weight: Tensor, bias: Tensor, added: Tensor) -> Tensor:
        return self.forward_kernel(x, weight, bias, added, self.settings)

    def bprop(self, x: Tensor, weight: Tensor, bias: Tensor, added: Tensor, out: Tensor, dout: Tensor):
        if not self.is_plain:
            raise RuntimeError("a convolution with bias, sum or activation inside is for inference")
        return (
            self.backward_input(dout, weight, x, self.settings),
            self.backward_weights(dout, x, weight, self.settings),
            ops.zeros_like(bias),
            ops.zeros_like(added),
        )


@cache
def _convolution_kernel(stride: int, to_float: bool) -> ops.Custom:
    def out_shape(x, weight, bias, added, settings):
        return (x[0], -(-x[1] // stride), -(-x[2] // stride), weight[0])

    def find_type(x, *others):
        return FLOAT if to_float else x

    return _kernel("convolution", out_shape, find_type, stride=stride, to_float=to_float)


class BatchNorm(nn.Cell):
    """activation(norm(map) + added) -> (out, mean, 1 / standard deviation, new running mean, new running variance).

    By the batch's statistics if `training`, else by the running ones, which come back as they are.
    """

    def __init__(self, *, eps: float, momentum: float, activation: str | None, adds: bool, training: bool):
        super().__init__()
        settings = [ACTIVATIONS[activation], int(adds), int(training)]
        self.settings = Tensor(np.array(settings, np.int64))
        self.numbers = Tensor(np.array([eps, momentum], np.float32))
        self.constants = (self.settings, self.numbers)
        name = "batch_norm_training" if training else "batch_norm_inference"
        self.forward_kernel = _kernel(name, _norm_shapes, lambda x, *others: (x, *(FLOAT,) * 4))
        self.backward = _kernel(
            "batch_norm_backward", _norm_gradient_shapes, lambda diff, x, added, *others: (x, FLOAT, FLOAT, added)
        )

    def construct(self, x: Tensor, added: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor):
        return self.forward_kernel(x, added, gamma, beta, mean, variance, self.settings, self.numbers)

    def bprop(self, x, added, gamma, beta, mean, variance, out, dout):
        diff_x, diff_gamma, diff_beta, diff_added = self.backward(
            dout[0], x, added, gamma, beta, out[1], out[2], self.settings
        )
        return diff_x, diff_added, diff_gamma, diff_beta, ops.zeros_like(mean), ops.zeros_like(variance)


def _norm_shapes(x, added, gamma, beta, mean, variance, settings, numbers):
    return (x, gamma, gamma, gamma, gamma)


def _norm_gradient_shapes(diff, x, added, gamma, beta, mean, inverse, settings):
    return (x, gamma, beta, added)


class HaloKernel(nn.Cell):
    """Halo attention of projected maps: q (B, H', W', N * Dk), kv (B, H, W, N * (Dk + Dv)) -> (B, H', W', N * Dv).

    `for_pool` makes what a 2x2 average pool reads to halve the map: a row or column beyond it where blocks have one,
    whose queries are zeros, and none that the pool would leave over.
    """

    def __init__(
        self,
        *,
        block_size: int,
        halo_size: int,
        num_heads: int,
        query_size: int,
        mask_padding: bool,
        scale_pos_embed: bool,
        scrambled_windows: bool = False,
        for_pool: bool = False,
    ):
        super().__init__()
        flags = [mask_padding, scale_pos_embed, scrambled_windows]
        settings = [block_size, halo_size, num_heads, query_size, *map(int, flags)]
        self.settings = Tensor(np.array(settings, np.int64))
        self.constants = (self.settings,)

        def out_shapes(q, kv, height_rel, width_rel, settings):
            grid = [-(-side // block_size) for side in kv[1:3]]
            sides = list(q[1:3])
            if for_pool:
                sides = [2 * min(grid[i] * query_size // 2, -(-kv[1 + i] // 2)) for i in range(2)]
            return (
                (q[0], *sides, kv[3] - q[3]),
                (q[0] * num_heads * grid[0] * grid[1], query_size * query_size, 2),
            )

        self.forward_kernel = _kernel(
            "halo_attention",
            out_shapes,
            lambda q, *others: (q, FLOAT),
            block_size=block_size,
            num_heads=num_heads,
            query_size=query_size,
            for_pool=int(for_pool),
        )
        self.backward = _kernel(
            "halo_attention_backward", _halo_gradient_shapes, lambda diff, *others: (diff, diff, FLOAT, FLOAT)
        )

    def construct(self, q: Tensor, kv: Tensor, height_rel: Tensor, width_rel: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward_kernel(q, kv, height_rel, width_rel, self.settings)

    def bprop(self, q, kv, height_rel, width_rel, out, dout):
        return self.backward(dout[0], q, kv, height_rel, width_rel, out[1], self.settings)


def _halo_gradient_shapes(diff, q, kv, height_rel, width_rel, scales, settings):
    return (q, kv, height_rel, width_rel)


class BottleneckKernel(nn.Cell):
    """Attention over the whole of a map [all q | all k | all v]: (B, H, W, 3 * N * D) -> (B, H, W, N * D)."""

    def __init__(self, num_heads: int):
        super().__init__()
        self.settings = Tensor(np.array([num_heads], np.int64))
        self.constants = (self.settings,)

        def out_shapes(qkv, height_rel, width_rel, settings):
            batch, height, width, channels = qkv
            return (batch, height, width, channels // 3), (batch * num_heads, height * width, 2)

        self.forward_kernel = _kernel(
            "bottleneck_attention", out_shapes, lambda qkv, *others: (qkv, FLOAT), num_heads=num_heads
        )
        self.backward = _kernel(
            "bottleneck_attention_backward",
            lambda diff, qkv, height_rel, width_rel, scales, settings: (qkv, height_rel, width_rel),
            lambda diff, *others: (diff, FLOAT, FLOAT),
        )

    def construct(self, qkv: Tensor, height_rel: Tensor, width_rel: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward_kernel(qkv, height_rel, width_rel, self.settings)

    def bprop(self, qkv, height_rel, width_rel, out, dout):
        return self.backward(dout[0], qkv, height_rel, width_rel, out[1], self.settings)


class LambdaKernel(nn.Cell):
    """The lambda layer of projected maps: q (B, H, W, N * K), k (B, H, W, K), v (B, H, W, V) -> (B, H, W, N * V).

    The position embeddings are the weights (K, 1, reach, reach) and bias (K,) of the layer's convolution.
    """

    constants = ()

    def __init__(self):
        super().__init__()
        self.forward_kernel = _kernel(
            "lambda_layer",
            lambda q, k, v, weight, bias: (*q[:3], q[3] // k[3] * v[3]),
            lambda q, *others: q,
        )
        self.backward = _kernel(
            "lambda_layer_backward",
            lambda diff, *inputs: inputs,
            lambda diff, *others: (diff, diff, diff, FLOAT, FLOAT),
        )

    def construct(self, q: Tensor, k: Tensor, v: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return self.forward_kernel(q, k, v, weight, bias)

    def bprop(self, q, k, v, weight, bias, out, dout):
        return self.backward(dout, q, k, v, weight, bias)


class NeighbourChannels(nn.Cell):
    """A convolution along channels, with zeros beyond them: (B, C), weights (1, 1, 1, k) -> (B, C). In a Plan only."""

    constants = ()

    def __init__(self):
        super().__init__()
        self.forward_kernel = _kernel("neighbour_channels", lambda x, weight: x)


def make_plan_runner(channels: int) -> ops.Custom:
    """(images, the parameters that a Plan names, the plan's numbers) -> its result, (B, channels)."""
    return _kernel("run_plan", lambda images, *others: (images[0], channels), channels=channels)


def make_adamw(count: int) -> ops.Custom:
    """(parameters, averages of g, averages of g^2, gradients, rates, decays, numbers) -> nothing of use.

    The first four are `count` tensors each, of which it changes the first three in place; rates and decays have a
    number for each parameter, numbers are beta1, beta2 and eps.
    """
    kernel = _kernel("adamw", lambda *shapes: (1,))
    written = [sig.make_sig(f"written{i}", sig.sig_rw.RW_WRITE) for i in range(3 * count)]
    kernel.set_signatures([*written, *(sig.make_sig(f"read{i}") for i in range(count + 3))])
    kernel.add_prim_attr("side_effect_mem", True)  # keeps everything that reads the parameters before it
    return kernel


def make_join(shapes: Sequence[tuple[int, ...]], bucket_sizes: Sequence[int]) -> ops.Custom:
    """(number of tensors, tensors of these shapes) -> vectors of these sizes that hold them, one after the other."""
    buckets = tuple((size,) for size in bucket_sizes)
    kernel = _kernel("join_tensors", lambda *_: buckets, lambda *types: (FLOAT,) * len(buckets))
    kernel.add_prim_attr("layout", f"{shapes} {bucket_sizes}")
    return kernel


def make_share(gradients: Sequence[tuple[int, ...]], num_buckets: int, num_statistics: int) -> ops.Custom:
    """(numbers, sums over ranks, statistics) -> mean gradients of these shapes, and the mean loss, (1,).

    The numbers are those of buckets, statistics, gradients and ranks. The sums are buckets of make_join for gradients,
    statistics and loss; the means of statistics are written in place.
    """
    outputs = (*gradients, (1,))  # of no axes, MindSpore would make a number of Python's of it
    kernel = _kernel("share_means", lambda *_: outputs, lambda *types: (FLOAT,) * len(outputs))
    read = [sig.make_sig(f"read{i}") for i in range(1 + num_buckets)]
    kernel.set_signatures([*read, *(sig.make_sig(f"written{i}", sig.sig_rw.RW_WRITE) for i in range(num_statistics))])
    kernel.add_prim_attr("layout", f"{gradients} {num_buckets} {num_statistics}")
    kernel.add_prim_attr("side_effect_mem", True)  # keeps everything that reads the statistics before it
    return kernel


class MaxPool(nn.Cell):
    """3x3 max pool of stride 2 with a border of one pixel of value `border`: (B, H, W, C) -> half of H and W."""

    def __init__(self, border: float):
        super().__init__()
        self.border = Tensor(np.array([border], np.float32))
        self.constants = (self.border,)
        self.forward_kernel = _kernel(
            "max_pool", lambda x, border: (x[0], -(-x[1] // 2), -(-x[2] // 2), x[3]), _as_first
        )
        self.backward = _kernel("max_pool_backward", lambda diff, out, x: x, _as_first)

    def construct(self, x: Tensor) -> Tensor:
        return self.forward_kernel(x, self.border)

    def bprop(self, x, out, dout):
        return (self.backward(dout, out, x),)


class AveragePool(nn.Cell):
    """2x2 average pool of stride 2: (B, 2 H, 2 W, C) -> (B, H, W, C)."""

    constants = ()

    def __init__(self):
        super().__init__()
        self.forward_kernel = _kernel("average_pool", lambda x: (x[0], x[1] // 2, x[2] // 2, x[3]), _as_first)
        self.backward = _kernel(
            "average_pool_backward", lambda diff: (diff[0], 2 * diff[1], 2 * diff[2], diff[3]), _as_first
        )

    def construct(self, x: Tensor) -> Tensor:
        return self.forward_kernel(x)

    def bprop(self, x, out, dout):
        return (self.backward(dout),)


class MoveChannels(nn.Cell):
    """Channels from first to "last", (B, C, H, W) -> (B, H, W, C), or from last to "first".

    Channels-first maps are float32, the others of `dtype`.
    """

    constants = ()

    def __init__(self, to: str, dtype: mindspore.Type = FLOAT):
        super().__init__()
        self.forward_kernel = _channel_kernel(to, dtype)
        self.backward = _channel_kernel({"last": "first", "first": "last"}[to], dtype)

    def construct(self, x: Tensor) -> Tensor:
        return self.forward_kernel(x)

    def bprop(self, x, out, dout):
        return (self.backward(dout),)


def _channel_kernel(to: str, dtype: mindspore.Type) -> ops.Custom:
    if to == "last":
        return _kernel("channels_last", lambda x: (x[0], x[2], x[3], x[1]), lambda x: dtype, dtype=str(dtype))
    return _kernel("channels_first", lambda x: (x[0], x[3], x[1], x[2]))


class Fork(nn.Cell):
    """A map for two layers: x -> (x, x), whose gradients a kernel adds, as MindSpore adds no bfloat16 on a CPU."""

    def __init__(self):
        super().__init__()
        self.add = _kernel("add_maps", lambda one, other: one, _as_first)

    def construct(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x

    def bprop(self, x, out, dout):
        return (self.add(dout[0], dout[1]),)


class MeanPixels(nn.Cell):
    """The mean over H and W: (B, H, W, C) -> (B, C) of `dtype`."""

    constants = ()

    def __init__(self, dtype: mindspore.Type = FLOAT):
        super().__init__()
        self.forward_kernel = _kernel("mean_pixels", lambda x: (x[0], x[3]), lambda x: dtype, dtype=str(dtype))
        self.backward = _kernel("mean_pixels_backward", lambda diff, x: x, lambda diff, x: x)

    def construct(self, x: Tensor) -> Tensor:
        return self.forward_kernel(x)

    def bprop(self, x, out, dout):
        return (self.backward(dout, x),)


class ChannelGate(nn.Cell):
    """map * sigmoid(gate): (B, H, W, C), (B, C) -> (B, H, W, C)."""

    constants = ()

    def __init__(self):
        super().__init__()
        self.forward_kernel = _kernel("channel_gate", lambda x, gate: x, _as_first)
        self.backward = _kernel(
            "channel_gate_backward", lambda diff, x, gate: (x, gate), lambda diff, x, gate: (x, FLOAT)
        )

    def construct(self, x: Tensor, gate: Tensor) -> Tensor:
        return self.forward_kernel(x, gate)

    def bprop(self, x, gate, out, dout):
        return self.backward(dout, x, gate)
