"""The models' layers on channels-last maps (B, H, W, C) and the kernels of operators.py.

Each is a subclass of the portable layer with the same parameters, and what `accelerate` turns that layer into:
`prepare` makes its kernels, for maps of its `dtype`. `construct` computes with them; `plan` adds the same kernels to a
frozen network's plan (whole_network.py). What `@native` says of a class is all that `accelerate` knows of it.
"""

from __future__ import annotations

import mindspore
from mindspore import Tensor, nn, ops

from ..models.fusion import FoldedNorm
from ..models.layers.bottleneck import AttentionMix, Bottleneck, ConvMix
from ..models.layers.bottleneck_attention import BottleneckAttention
from ..models.layers.channel_attention import EfficientChannelAttention, SqueezeExcite
from ..models.layers.conv_norm_act import ConvNormAct
from ..models.layers.halo_attention import HaloAttention
from ..models.layers.lambda_layer import LambdaLayer
from ..models.layers.stem_pool import StemPool
from . import as_built
from .as_built import name_activation
from .guarded import FROZEN
from .operators import (
    FLOAT,
    AveragePool,
    BatchNorm,
    BottleneckKernel,
    ChannelGate,
    Convolution,
    Fork,
    HaloKernel,
    LambdaKernel,
    MaxPool,
    MeanPixels,
    MoveChannels,
    NeighbourChannels,
    nothing,
)
from .plan import Map, Plan, View
from .registry import native


def check_type(x: Tensor) -> None:
    """Raises TypeError for images or maps that are no float32 tensor, in whatever precision the network computes.

    And ValueError for none at all, of which statistics are no numbers.
    """
    if not isinstance(x, Tensor):
        raise TypeError("native kernels take a mindspore.Tensor; convert with mindspore.Tensor(images)")
    if x.dtype != mindspore.float32:
        raise TypeError("native kernels take float32; convert with .astype(mindspore.float32)")
    if 0 in x.shape:
        raise ValueError(f"native kernels: shape {x.shape} holds no image; give one of at least 1 x 1 pixels")


class NormKernels(nn.Cell):
    """A batch norm with its sum and activation: the kernel for training, and the one for inference."""

    def __init__(self, norm: nn.BatchNorm2d, activation: str | None, adds: bool):
        super().__init__(auto_prefix=False)
        # Hidden from MindSpore, which would name and check the parameters once more.
        object.__setattr__(self, "norm", norm)
        options = {"eps": norm.eps, "momentum": 1 - norm.momentum, "activation": activation, "adds": adds}
        self.by_batch = BatchNorm(**options, training=True)
        self.by_running = BatchNorm(**options, training=False)

    def plan(self, plan: Plan, x: Map, added: Map | Tensor) -> Map:
        norm = self.norm
        return plan.add(self.by_running, x, added, norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)

    def construct(self, x, added):
        norm = self.norm
        by_batch = norm.training if norm.use_batch_statistics is None else norm.use_batch_statistics
        if not by_batch:
            return self.by_running(x, added, norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)[0]
        out, _, _, new_mean, new_variance = self.by_batch(
            x, added, norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance
        )
        ops.assign(norm.moving_mean, new_mean)
        ops.assign(norm.moving_variance, new_variance)
        return out


@native(ConvNormAct, as_built.check_conv_norm_act)
class NativeConvNormAct(ConvNormAct):
    """act(norm(conv(x)) + added), where only the last layer of a residual branch gets a map to add."""

    enters = False  # whether it is the network's first, which gets images as (B, C, H, W)
    adds = False  # whether it ends a residual block, whose shortcut it adds,
    block_activation: str | None = None  # and whose activation it does

    def prepare(self, frozen: bool, dtype: mindspore.Type) -> None:
        adds, activation = self.adds, name_activation(self.act) or self.block_activation
        self.frozen = frozen
        self.folded = isinstance(self.norm, FoldedNorm)
        self.nothing = nothing()
        if self.enters:
            self.to_last = MoveChannels("last", dtype)
        options = {"stride": self.conv.stride[0], "groups": self.conv.group, "frozen": frozen}
        if self.folded:
            self.kernel = Convolution(activation=activation, has_bias=True, adds=adds, **options)
        else:
            self.kernel = Convolution(**options)
            self.finish = NormKernels(self.norm, activation, adds)

    def plan(self, plan: Plan, x: Map, added: Map | None = None) -> Map:
        if self.enters:
            x = plan.add(self.to_last, x)
        if added is None:
            added = self.nothing
        if self.folded:
            onto = added if isinstance(added, Map) else None
            return plan.add(self.kernel, x, self.conv.weight, self.conv.bias, added, onto=onto)
        x = plan.add(self.kernel, x, self.conv.weight, self.nothing, self.nothing)
        return self.finish.plan(plan, x, added)

    def construct(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        if self.frozen and self.training:
            raise RuntimeError(FROZEN)
        if added is None:
            added = self.nothing
        if self.enters:
            check_type(x)
            x = self.to_last(x)
        if self.folded:
            self.norm(self.nothing)  # refuses to train a network that is folded and not frozen
            return self.kernel(x, self.conv.weight, self.conv.bias, added)
        return self.finish(self.kernel(x, self.conv.weight, self.nothing, self.nothing), added)


@native(HaloAttention, as_built.check_halo_attention, alone=True)
class NativeHaloAttention(HaloAttention):
    alone = False  # whether it is in no network, and takes and gives maps as (B, C, H, W)

    def prepare(self, frozen: bool, dtype: mindspore.Type) -> None:
        self.nothing = nothing()
        self.to_last = MoveChannels("last", dtype)
        self.to_first = MoveChannels("first", dtype)
        self.pools = not isinstance(self.pool, nn.Identity)
        self.fork = Fork()
        self.adds_bias = self.q.has_bias and not frozen  # a convolution with a bias inside has no gradient
        options = {"has_bias": self.q.has_bias and frozen, "frozen": frozen}
        self.project_q = Convolution(stride=self.q.stride[0], **options)
        self.project_kv = Convolution(**options)
        self.kernel = HaloKernel(
            block_size=self.block_size,
            halo_size=self.halo_size,
            num_heads=self.num_heads,
            query_size=self.query_size,
            mask_padding=self.mask_padding,
            scale_pos_embed=self.scale_pos_embed,
            scrambled_windows=self.scrambled_windows,
            for_pool=self.pools,
        )
        if self.pools:
            self.halve_map = AveragePool()

    def plan(self, plan: Plan, x: Map) -> Map:
        q_bias, kv_bias = (self.q.bias, self.kv.bias) if self.q.has_bias else (self.nothing, self.nothing)
        q = plan.add(self.project_q, x, self.q.weight, q_bias, self.nothing)
        kv = plan.add(self.project_kv, x, self.kv.weight, kv_bias, self.nothing)
        out = plan.add(self.kernel, q, kv, self.pos_embed.height_rel, self.pos_embed.width_rel)
        return plan.add(self.halve_map, out) if self.pools else out

    def construct(self, x: Tensor) -> Tensor:
        if self.alone:
            self.check_input(x)
            check_type(x)
            x = self.to_last(x)
        for_q, for_kv = self.fork(x)
        q_bias, kv_bias = (self.q.bias, self.kv.bias) if self.q.has_bias else (self.nothing, self.nothing)
        q = self.project_q(for_q, self.q.weight, q_bias, self.nothing)
        kv = self.project_kv(for_kv, self.kv.weight, kv_bias, self.nothing)
        if self.adds_bias:
            q, kv = (q + q_bias).astype(q.dtype), (kv + kv_bias).astype(kv.dtype)
        out = self.kernel(q, kv, self.pos_embed.height_rel, self.pos_embed.width_rel)[0]
        if self.pools:
            out = self.halve_map(out)
        return self.to_first(out) if self.alone else out


@native(BottleneckAttention, as_built.check_bottleneck_attention)
class NativeBottleneckAttention(BottleneckAttention):
    def prepare(self, frozen: bool, dtype: mindspore.Type) -> None:
        self.nothing = nothing()
        self.project = Convolution(frozen=frozen)
        self.kernel = BottleneckKernel(self.num_heads)

    def plan(self, plan: Plan, x: Map) -> Map:
        self.check_size(x.shape[1], x.shape[2])
        qkv = plan.add(self.project, x, self.qkv.weight, self.nothing, self.nothing)
        return plan.add(self.kernel, qkv, self.pos_embed.height_rel, self.pos_embed.width_rel)

    def construct(self, x: Tensor) -> Tensor:
        self.check_size(x.shape[1], x.shape[2])
        qkv = self.project(x, self.qkv.weight, self.nothing, self.nothing)
        return self.kernel(qkv, self.pos_embed.height_rel, self.pos_embed.width_rel)[0]


@native(LambdaLayer, as_built.check_lambda_layer)
class NativeLambdaLayer(LambdaLayer):
    """Its projection is three, one for each of the maps that come out of it."""

    def prepare(self, frozen: bool, dtype: mindspore.Type) -> None:
        self.nothing = nothing()
        self.folded = isinstance(self.norm_q, FoldedNorm)
        options = {"has_bias": self.folded, "frozen": frozen}
        self.project_q, self.project_k, self.project_v = (Convolution(**options) for _ in range(3))
        self.fork, self.fork_again = Fork(), Fork()
        if not self.folded:
            self.finish_q = NormKernels(self.norm_q, None, adds=False)
            self.finish_v = NormKernels(self.norm_v, None, adds=False)
        self.kernel = LambdaKernel()

    def plan(self, plan: Plan, x: Map) -> Map:
        end_q, end_k = self.splits
        weight = View(self.qkv.weight, self.qkv.weight.shape)
        bias = View(self.qkv.bias, self.qkv.bias.shape) if self.folded else None
        projections = (self.project_q, self.project_k, self.project_v)
        ends = ((0, end_q), (end_q, end_k), (end_k, weight.shape[0]))
        q, k, v = (
            plan.add(project, x, weight.rows(*rows), bias.rows(*rows) if bias else self.nothing, self.nothing)
            for project, rows in zip(projections, ends, strict=True)
        )
        if not self.folded:
            q, v = self.finish_q.plan(plan, q, self.nothing), self.finish_v.plan(plan, v, self.nothing)
        return plan.add(self.kernel, q, k, v, self.position.weight, self.position.bias)

    def construct(self, x: Tensor) -> Tensor:
        end_q, end_k = self.splits
        weight = self.qkv.weight
        of_q = of_k = of_v = self.nothing
        if self.folded:
            self.norm_q(self.nothing)  # refuses to train a network that is folded and not frozen
            bias = self.qkv.bias
            of_q, of_k, of_v = bias[:end_q], bias[end_q:end_k], bias[end_k:]
        for_q, rest = self.fork(x)
        for_k, for_v = self.fork_again(rest)
        q = self.project_q(for_q, weight[:end_q], of_q, self.nothing)
        k = self.project_k(for_k, weight[end_q:end_k], of_k, self.nothing)
        v = self.project_v(for_v, weight[end_k:], of_v, self.nothing)
        if not self.folded:
            q, v = self.finish_q(q, self.nothing), self.finish_v(v, self.nothing)
        return self.kernel(q, k, v, self.position.weight, self.position.bias)


@native(AttentionMix, as_built.check_attention_mix)
class NativeAttentionMix(AttentionMix):
    """Any attention: one without kernels sees the map as (B, C, H, W)."""

    def prepare(self, frozen: bool, dtype: mindspore.Type) -> None:
        self.is_native = isinstance(self.attention, NativeHaloAttention | NativeLambdaLayer | NativeBottleneckAttention)
        self.to_last = MoveChannels("last", dtype)
        self.to_first = MoveChannels("first", dtype)
        self.nothing = nothing()
        self.finish = NormKernels(self.norm, name_activation(self.act), adds=False)

    @property
    def has_plan(self) -> bool:
        return self.is_native

    def plan(self, plan: Plan, x: Map) -> Map:
        return self.finish.plan(plan, self.attention.plan(plan, x), self.nothing)

    def construct(self, x: Tensor) -> Tensor:
        x = self.attention(x) if self.is_native else self.to_last(self.attention(self.to_first(x)))
        return self.finish(x, self.nothing)


@native(ConvMix, as_built.check_conv_mix)
class NativeConvMix(ConvMix):
    """Any gate: one without kernels sees the map as (B, C, H, W)."""

    def prepare(self, frozen: bool, dtype: mindspore.Type) -> None:
        self.is_native = isinstance(self.gate, NativeSqueezeExcite | NativeEfficientChannelAttention | nn.Identity)
        self.to_last = MoveChannels("last", dtype)
        self.to_first = MoveChannels("first", dtype)

    @property
    def has_plan(self) -> bool:
        return self.is_native

    def plan(self, plan: Plan, x: Map) -> Map:
        x = self.conv.plan(plan, x)
        return x if isinstance(self.gate, nn.Identity) else self.gate.plan(plan, x)

    def construct(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.gate(x) if self.is_native else self.to_last(self.gate(self.to_first(x)))


@native(SqueezeExcite, as_built.check_squeeze_excite)
class NativeSqueezeExcite(SqueezeExcite):
    """Its two convolutions see one pixel a channel; in a plan they are kernels too."""

    def prepare(self, frozen: bool, dtype: mindspore.Type) -> None:
        self.fork = Fork()
        self.mean = MeanPixels()
        self.gate = ChannelGate()
        self.nothing = nothing()
        self.reduce_kernel = Convolution(activation=name_activation(self.act), has_bias=True, frozen=frozen)
        self.expand_kernel = Convolution(has_bias=True, frozen=frozen)

    def plan(self, plan: Plan, x: Map) -> Map:
        batch, _, _, channels = x.shape
        gate = plan.add(self.mean, x).reshape(batch, 1, 1, channels)
        gate = plan.add(self.reduce_kernel, gate, self.reduce.weight, self.reduce.bias, self.nothing)
        gate = plan.add(self.expand_kernel, gate, self.expand.weight, self.expand.bias, self.nothing)
        return plan.add(self.gate, x, gate.reshape(batch, channels))

    def construct(self, x: Tensor) -> Tensor:
        batch, _, _, channels = x.shape
        x, for_mean = self.fork(x)
        mean = self.mean(for_mean).reshape(batch, channels, 1, 1)
        return self.gate(x, self.expand(self.act(self.reduce(mean))).reshape(batch, channels))


@native(EfficientChannelAttention, as_built.check_efficient_channel_attention)
class NativeEfficientChannelAttention(EfficientChannelAttention):
    def prepare(self, frozen: bool, dtype: mindspore.Type) -> None:
        self.fork = Fork()
        self.mean = MeanPixels()
        self.gate = ChannelGate()
        self.along_channels = NeighbourChannels()

    def plan(self, plan: Plan, x: Map) -> Map:
        return plan.add(self.gate, x, plan.add(self.along_channels, plan.add(self.mean, x), self.conv.weight))

    def construct(self, x: Tensor) -> Tensor:
        batch, _, _, channels = x.shape
        x, for_mean = self.fork(x)
        mean = self.mean(for_mean).reshape(batch, 1, 1, channels)
        return self.gate(x, self.conv(mean).reshape(batch, channels))


@native(StemPool, as_built.check_stem_pool)
class NativeStemPool(StemPool):
    def prepare(self, frozen: bool, dtype: mindspore.Type) -> None:
        self.kernel = MaxPool(self.border)

    def plan(self, plan: Plan, x: Map) -> Map:
        return plan.add(self.kernel, x)

    def construct(self, x: Tensor) -> Tensor:
        return self.kernel(x)


@native(Bottleneck, as_built.check_bottleneck)
class NativeBottleneck(Bottleneck):
    """The residual shell, whose last norm also adds the shortcut and activates, but for stochastic depth in between."""

    def prepare(self, frozen: bool, dtype: mindspore.Type) -> None:
        self.dtype = dtype
        self.fork = Fork()
        self.fuses = frozen or isinstance(self.drop_path, nn.Identity)
        if self.fuses:
            self.expand.adds = self.has_shortcut
            self.expand.block_activation = name_activation(self.act)

    def plan(self, plan: Plan, x: Map) -> Map:
        shortcut = None
        if self.has_shortcut:
            shortcut = x if isinstance(self.shortcut, nn.Identity) else self.shortcut.plan(plan, x)
        return self.expand.plan(plan, self.mix.plan(plan, self.reduce.plan(plan, x)), shortcut)

    def construct(self, x: Tensor) -> Tensor:
        shortcut = None
        if self.has_shortcut:
            x, shortcut = self.fork(x)
            shortcut = self.shortcut(shortcut)
        mixed = self.mix(self.reduce(x))
        if self.fuses:
            return self.expand(mixed, shortcut)
        # MindSpore's own operators, of which it has few for bfloat16 on a CPU.
        out = self.drop_path(self.expand(mixed).astype(FLOAT))
        if shortcut is not None:
            out = out + shortcut.astype(FLOAT)
        return self.act(out).astype(self.dtype)
