"""Turns a network's layers into those of cells.py and networks.py, in place."""

from __future__ import annotations

import mindspore
from mindspore import nn

from ..errors import UserError
from ..models.features import FeatureExtractor
from ..models.layers.bottleneck import AttentionMix, Bottleneck, ConvMix
from ..models.layers.channel_attention import EfficientChannelAttention, SqueezeExcite
from ..models.layers.conv_norm_act import ConvNormAct
from ..models.layers.halo_attention import HaloAttention
from ..models.layers.stem_pool import StemPool
from ..models.network import HaloNet
from ..optim.adamw import AdamW
from ..utils.rank_mean import RankMean
from . import cells, networks
from .operators import load_kernels
from .optimizer import NativeAdamW
from .rank_mean import NativeRankMean

_NATIVE: dict[type[nn.Cell], type[nn.Cell]] = {
    ConvNormAct: cells.NativeConvNormAct,
    HaloAttention: cells.NativeHaloAttention,
    ConvMix: cells.NativeConvMix,
    AttentionMix: cells.NativeAttentionMix,
    SqueezeExcite: cells.NativeSqueezeExcite,
    EfficientChannelAttention: cells.NativeEfficientChannelAttention,
    StemPool: cells.NativeStemPool,
    Bottleneck: cells.NativeBottleneck,
    HaloNet: networks.NativeHaloNet,
    FeatureExtractor: networks.NativeFeatureExtractor,
}


_PARTS: dict[type[nn.Cell], type[nn.Cell]] = {AdamW: NativeAdamW, RankMean: NativeRankMean}  # of a training step
_WHOLE = (HaloNet, FeatureExtractor, HaloAttention)  # what can be accelerated by itself


def accelerate(network: nn.Cell, *, frozen: bool = False) -> nn.Cell:
    """`network`, which from now on computes with native kernels on channels-last maps; returned for convenience.

    For a model of create_model, with or without a head or features_only, or a bare HaloAttention; in float32, on a CPU,
    before the first call. Also for an AdamW optimizer, and for the mean over ranks in a TrainStep.
    Parameters, their names, what goes in and what comes out stay as they are; outputs and gradients differ by rounding.
    Layers without kernels (lambda layers, bottleneck attention, MindCV's scrambled windows) run as before.

    Args:
        frozen: for inference: weights are read at the first call for each shape only, and after loading others some
            layers go on with the old ones: accelerate a new network then. Hooks of layers are not called. Fold the
            batch norms first (fuse_batchnorm).

    Raises UserError for any other network or device, NativeUnavailableError where the kernels cannot be built.
    """
    part = _PARTS.get(type(network))
    if part is None and not (type(network) in _WHOLE and _can_be_native(network)):
        raise UserError(f"accelerate: {type(network).__name__} is no model of create_model, or already accelerated")
    device = mindspore.get_context("device_target")
    if device != "CPU":
        raise UserError(f"accelerate: the native kernels are for CPUs, and MindSpore runs on {device}")
    load_kernels()
    if part is not None:
        network.__class__ = part
        network.prepare()
        return network
    layers = [cell for _, cell in network.cells_and_names() if _can_be_native(cell)]
    for cell in layers:
        cell.__class__ = _NATIVE[type(cell)]
    if isinstance(network, HaloAttention):
        network.alone = True
    else:
        next(cell for cell in layers if isinstance(cell, ConvNormAct)).enters = True
    for cell in layers:  # from the outside in: a block tells its last layer what to add
        cell.prepare(frozen)
    if frozen and isinstance(network, HaloNet):
        network.freeze()
    return network


def _can_be_native(cell: nn.Cell) -> bool:
    return type(cell) in _NATIVE and not (isinstance(cell, HaloAttention) and cell.scrambled_windows)
