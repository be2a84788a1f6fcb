"""Every layer of the models alone, as someone uses it in a network of their own: forward and gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mindspore
import numpy as np
from mindspore import Tensor, nn

from mindcv_halo.models.layers import (
    AttentionMix,
    Bottleneck,
    BottleneckAttention,
    Conv2dNormActivation,
    ConvMix,
    ConvNormAct,
    Dropout,
    DropPath,
    EfficientChannelAttention,
    GlobalAvgPooling,
    HaloAttention,
    Identity,
    LambdaLayer,
    RelativePosition,
    SqueezeExcite,
    StemPool,
    Swish,
)
from mindcv_halo.training.amp import auto_mixed_precision, to_float32

CHANNELS, SIDE = 16, 8
MAP = (2, CHANNELS, SIDE, SIDE)
QUERIES = (2, 4, 4, CHANNELS)  # what RelativePosition takes: (M, Y, X, D)


def _halo(**options: Any) -> HaloAttention:
    return HaloAttention(CHANNELS, **{"num_heads": 2, "block_size": 4, "halo_size": 1, **options})


def _bottleneck(mix: nn.Cell) -> Bottleneck:
    return Bottleneck(
        mix,
        in_channels=CHANNELS,
        inner=CHANNELS,
        mixed=CHANNELS,
        out_channels=2 * CHANNELS,
        stride=1,
        act="silu",
        drop_path_rate=0.1,
    )


# By the layer's name and, after a comma, what is special; each takes MAP but RelativePosition.
LAYERS: dict[str, Callable[[], nn.Cell]] = {
    "AttentionMix": lambda: AttentionMix(_halo(), CHANNELS, act="relu"),
    "Bottleneck": lambda: _bottleneck(ConvMix(ConvNormAct(CHANNELS, CHANNELS, 3), SqueezeExcite(CHANNELS))),
    "Bottleneck, attention": lambda: _bottleneck(AttentionMix(_halo(), CHANNELS, act="silu")),
    "BottleneckAttention": lambda: BottleneckAttention(CHANNELS, map_size=(SIDE, SIDE)),
    "Conv2dNormActivation": lambda: Conv2dNormActivation(CHANNELS, CHANNELS),
    "Conv2dNormActivation, depthwise": lambda: Conv2dNormActivation(CHANNELS, CHANNELS, groups=CHANNELS),
    "ConvMix": lambda: ConvMix(ConvNormAct(CHANNELS, CHANNELS, 3), nn.Identity()),
    "ConvNormAct": lambda: ConvNormAct(CHANNELS, CHANNELS, act="silu"),
    "ConvNormAct, groups and stride": lambda: ConvNormAct(CHANNELS, CHANNELS, 3, stride=2, groups=2),
    "DropPath": lambda: DropPath(0.2),
    "Dropout": lambda: Dropout(0.2),
    "EfficientChannelAttention": lambda: EfficientChannelAttention(CHANNELS),
    "GlobalAvgPooling": GlobalAvgPooling,
    "GlobalAvgPooling, kept axes": lambda: GlobalAvgPooling(keep_dims=True),
    "HaloAttention": _halo,
    "HaloAttention, stride": lambda: _halo(stride=2),
    "HaloAttention, stride by pooling": lambda: _halo(stride=2, avg_down=True),
    "HaloAttention, masked border": lambda: _halo(mask_padding=True),
    "HaloAttention, Keras' biases and scale": lambda: _halo(qkv_bias=True, scale_pos_embed=True),
    "HaloAttention, MindCV's windows": lambda: _halo(scrambled_windows=True),
    "Identity": Identity,
    "LambdaLayer": lambda: LambdaLayer(CHANNELS, reach=5),
    "RelativePosition": lambda: RelativePosition((4, 4), (6, 6), CHANNELS),
    "SqueezeExcite": lambda: SqueezeExcite(CHANNELS),
    "StemPool": StemPool,
    "StemPool, border of zeros": lambda: StemPool(zero_border=True),
    "Swish": Swish,
}


class _Scored(nn.Cell):
    """A layer between float32 tensors, and a number that its gradient can be taken of."""

    def __init__(self, layer: nn.Cell):
        super().__init__()
        self.layer = layer

    def construct(self, x: Tensor) -> Tensor:
        output = to_float32(self.layer(x))
        return (output * output).sum()


def layer_alone(name: str, amp_level: str, amp_dtype: str) -> None:
    """One of LAYERS, forward and backward to its input and its parameters."""
    layer = auto_mixed_precision(LAYERS[name](), amp_level, None, amp_dtype)
    layer.set_train()
    scored = _Scored(layer)
    weights = mindspore.ParameterTuple(layer.trainable_params())
    images = Tensor(np.zeros(QUERIES if name == "RelativePosition" else MAP, np.float32))
    differentiate = mindspore.value_and_grad(scored, 0, weights if len(weights) else None)
    if mindspore.get_context("mode") == mindspore.GRAPH_MODE:  # which alone compiles cells, and not functions
        differentiate = mindspore.jit(differentiate)
    differentiate(images)[0].asnumpy()
