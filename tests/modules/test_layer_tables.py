"""Every layer has its place in each table that works layer by layer, or a reason to have none."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

import pytest
from mindspore import nn

from mindcv_halo.deploy.onnx_cells import WRITERS
from mindcv_halo.models import layers
from mindcv_halo.models.fusion import FOLDS
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
    RelativePosition,
    SqueezeExcite,
    StemPool,
    Swish,
    random_drop,
    recomputed,
    squeeze_excite,
    window_reader,
)
from mindcv_halo.models.layers.activation import UnbiasedSiLU
from mindcv_halo.models.macs import COUNTS
from mindcv_halo.native.registry import NATIVE

LAYERS = {
    value
    for module in iter_modules(layers.__path__, f"{layers.__name__}.")
    for value in vars(import_module(module.name)).values()
    if isinstance(value, type) and issubclass(value, nn.Cell) and value.__module__ == module.name
}
TABLES = {"native kernels": NATIVE, "ONNX": WRITERS, "multiply-accumulates": COUNTS, "folded norms": FOLDS}

# MindCV's, for networks of people's own, for which none of this is; and cells that are written, counted and computed by
# the layer that they are a part of.
NOWHERE = {
    *(Conv2dNormActivation, GlobalAvgPooling, Identity, Swish),
    *(squeeze_excite.SqueezeExcite, squeeze_excite.SqueezeExciteV2, squeeze_excite._Linear),
    *(random_drop.RandomKeep, random_drop.ShiftingHash, random_drop.MultiplyingHash),
    *(window_reader.WindowReader, window_reader.GatheringWindowReader, recomputed.RecomputedCell, RelativePosition),
}
WITHOUT = {
    "native kernels": {
        DropPath: "called between kernels, as it draws",
        Dropout: "called as it is, in the head",
        UnbiasedSiLU: "the kernels of convolutions and norms do it",
    },
    "ONNX": {},
    "multiply-accumulates": {
        **dict.fromkeys((AttentionMix, Bottleneck, ConvMix, ConvNormAct), "what is in it counts itself"),
        **dict.fromkeys((EfficientChannelAttention, SqueezeExcite), "their convolutions count themselves"),
        **dict.fromkeys((DropPath, Dropout, StemPool, UnbiasedSiLU), "multiplies with no weights"),
    },
    "folded norms": {
        AttentionMix: "no convolution is right before its norm",
        **dict.fromkeys((Bottleneck, ConvMix), "what is in it is folded by itself"),
        **dict.fromkeys((BottleneckAttention, DropPath, Dropout, HaloAttention, StemPool, UnbiasedSiLU), "has no norm"),
        **dict.fromkeys((EfficientChannelAttention, SqueezeExcite), "has no norm"),
    },
}


@pytest.mark.parametrize("table", TABLES)
def test_every_layer_is_in_the_table_or_has_a_reason(table):
    """A layer that is both, or a reason for one that is gone, is wrong too."""
    assert LAYERS - TABLES[table].keys() - NOWHERE == WITHOUT[table].keys()
    assert not NOWHERE & TABLES[table].keys() and NOWHERE < LAYERS
