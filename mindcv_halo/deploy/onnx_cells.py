"""How each of the models' cells is written into an ONNX graph: a table from classes to functions.

What depends on the size of the map, such as windows, is fixed when the graph is written; the batch stays open.
Axes: B batch, N heads, T blocks, Q queries of a block, K keys of a window, D head width, C channels, H W map,
M maps (all blocks of all heads and images), Y X queries, P R keys (rows, columns).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from mindspore import nn

from ..models import FeatureExtractor, HaloNet
from ..models.fusion import FoldedNorm
from ..models.layers import (
    AttentionMix,
    Bottleneck,
    BottleneckAttention,
    ConvMix,
    ConvNormAct,
    Dropout,
    DropPath,
    EfficientChannelAttention,
    HaloAttention,
    LambdaLayer,
    RelativePosition,
    SqueezeExcite,
    StemPool,
)
from ..models.layers.activation import UnbiasedSiLU
from ..models.layers.halo_attention import OUTSIDE_LOGIT
from ..models.layers.stem_pool import LOWEST
from ..models.layers.window import num_blocks, window_pixels
from .onnx_graph import FeatureMap, OnnxGraph


def write_cell(graph: OnnxGraph, cell: nn.Cell, x: FeatureMap, name: str = "") -> FeatureMap:
    """Add what `cell` does to `x`; `name` is the cell's in the one around it. Raises TypeError for an unknown class."""
    if type(cell) not in WRITERS:
        raise TypeError(f"{type(cell).__name__} {name}: no function in deploy/onnx_cells.py writes such a cell")
    if not name:
        return WRITERS[type(cell)](graph, cell, x)
    with graph.inside(name):
        return WRITERS[type(cell)](graph, cell, x)


def write_network(graph: OnnxGraph, network: nn.Cell, x: FeatureMap) -> dict[str, tuple[int, ...]]:
    """Add a HaloNet, a FeatureExtractor or a single layer, and return its outputs with their shapes, less the batch."""
    if not isinstance(network, HaloNet | FeatureExtractor):
        return _name_maps(graph, {"map": write_cell(graph, network, x)})
    x = write_cell(graph, network.stem, x, "stem")
    maps = [x]
    for index, stage in enumerate(network.stages):
        x = write_cell(graph, stage, x, f"stages.{index}")
        maps.append(x)
    if isinstance(network, FeatureExtractor):
        return _name_maps(graph, {f"map_{index}": maps[index] for index in network.out_indices})
    x = write_cell(graph, network.final_conv, x, "final_conv")
    pooled = graph.node("Flatten", graph.node("GlobalAveragePool", x.name))
    if not network.num_classes:
        return {graph.output("features", pooled): (network.num_features,)}
    with graph.inside("classifier"):
        weight, bias = _parameter(graph, network.classifier, "weight"), _parameter(graph, network.classifier, "bias")
        logits = graph.node("Gemm", pooled, weight, bias, transB=1)
    return {graph.output("logits", logits): (network.num_classes,)}


def _name_maps(graph: OnnxGraph, maps: dict[str, FeatureMap]) -> dict[str, tuple[int, ...]]:
    return {graph.output(name, m.name): (m.channels, m.height, m.width) for name, m in maps.items()}


def _same(graph: OnnxGraph, cell: nn.Cell, x: FeatureMap) -> FeatureMap:
    return x


def _sequence(graph: OnnxGraph, cell: nn.SequentialCell, x: FeatureMap) -> FeatureMap:
    for name, child in cell.name_cells().items():
        x = write_cell(graph, child, x, name)
    return x


def _convolution(graph: OnnxGraph, cell: nn.Conv2d, x: FeatureMap) -> FeatureMap:
    top, bottom, left, right = _padding(cell)
    kernel, stride = cell.kernel_size, cell.stride
    inputs = [x.name, _parameter(graph, cell, "weight")]
    if cell.has_bias:
        inputs.append(_parameter(graph, cell, "bias"))
    output = graph.node(
        "Conv", *inputs, kernel_shape=kernel, strides=stride, pads=(top, left, bottom, right), group=cell.group
    )
    height = (x.height + top + bottom - kernel[0]) // stride[0] + 1
    width = (x.width + left + right - kernel[1]) // stride[1] + 1
    return FeatureMap(output, cell.out_channels, height, width)


def _padding(cell: nn.Conv2d) -> tuple[int, int, int, int]:
    """Top, bottom, left, right. MindSpore's "same" is only used where it pads nothing: 1x1 kernels."""
    if cell.pad_mode == "pad":
        return cell.padding if isinstance(cell.padding, tuple) else (cell.padding,) * 4
    assert cell.kernel_size == (1, 1), f"padding of {cell}"
    return (0, 0, 0, 0)


def _batch_norm(graph: OnnxGraph, cell: nn.BatchNorm2d, x: FeatureMap) -> FeatureMap:
    parameters = (_parameter(graph, cell, name) for name in ("gamma", "beta", "moving_mean", "moving_variance"))
    return _at(x, graph.node("BatchNormalization", x.name, *parameters, epsilon=cell.eps))


def _relu(graph: OnnxGraph, cell: nn.ReLU, x: FeatureMap) -> FeatureMap:
    return _at(x, graph.node("Relu", x.name))


def _silu(graph: OnnxGraph, cell: nn.Cell, x: FeatureMap) -> FeatureMap:
    return _at(x, graph.node("Mul", x.name, graph.node("Sigmoid", x.name)))


def _conv_norm_act(graph: OnnxGraph, cell: ConvNormAct, x: FeatureMap) -> FeatureMap:
    for name in ("conv", "norm", "act"):
        x = write_cell(graph, getattr(cell, name), x, name)
    return x


def _stem_pool(graph: OnnxGraph, cell: StemPool, x: FeatureMap) -> FeatureMap:
    """Besides the border at the top and left, one at the bottom and right where the side is odd.

    ONNX's own border is never the largest. Zeros join at the pixels that see them: a Pad with zeros before the pool
    would be right too, but onnxruntime 1.23 makes a border that is never the largest out of it.
    """
    pads = (1, 1, x.height % 2, x.width % 2)
    name = graph.node("MaxPool", x.name, kernel_shape=(3, 3), strides=(2, 2), pads=pads)
    pooled = FeatureMap(name, x.channels, num_blocks(x.height, 2), num_blocks(x.width, 2))
    if cell.border == LOWEST:
        return pooled
    border = np.full((pooled.height, pooled.width), np.float32(LOWEST))
    border[0] = border[:, 0] = cell.border
    if x.height % 2:
        border[-1] = cell.border
    if x.width % 2:
        border[:, -1] = cell.border
    return _at(pooled, graph.node("Max", name, graph.weight("border", border)))


def _conv_mix(graph: OnnxGraph, cell: ConvMix, x: FeatureMap) -> FeatureMap:
    return write_cell(graph, cell.gate, write_cell(graph, cell.conv, x, "conv"), "gate")


def _attention_mix(graph: OnnxGraph, cell: AttentionMix, x: FeatureMap) -> FeatureMap:
    for name in ("attention", "norm", "act"):
        x = write_cell(graph, getattr(cell, name), x, name)
    return x


def _bottleneck(graph: OnnxGraph, cell: Bottleneck, x: FeatureMap) -> FeatureMap:
    branch = x
    for name in ("reduce", "mix", "expand"):
        branch = write_cell(graph, getattr(cell, name), branch, name)
    if cell.has_shortcut:
        shortcut = write_cell(graph, cell.shortcut, x, "shortcut")
        branch = _at(branch, graph.node("Add", branch.name, shortcut.name))
    return write_cell(graph, cell.act, branch, "act")


def _squeeze_excite(graph: OnnxGraph, cell: SqueezeExcite, x: FeatureMap) -> FeatureMap:
    gate = FeatureMap(graph.node("GlobalAveragePool", x.name), x.channels, 1, 1)
    for name in ("reduce", "act", "expand"):
        gate = write_cell(graph, getattr(cell, name), gate, name)
    return _at(x, graph.node("Mul", x.name, graph.node("Sigmoid", gate.name)))


def _efficient_channel_attention(graph: OnnxGraph, cell: EfficientChannelAttention, x: FeatureMap) -> FeatureMap:
    pooled = graph.reshape(graph.node("GlobalAveragePool", x.name), -1, 1, 1, x.channels)
    gate = write_cell(graph, cell.conv, FeatureMap(pooled, 1, 1, x.channels), "conv")
    gate = graph.reshape(graph.node("Sigmoid", gate.name), -1, x.channels, 1, 1)
    return _at(x, graph.node("Mul", x.name, gate))


def _halo_attention(graph: OnnxGraph, cell: HaloAttention, x: FeatureMap) -> FeatureMap:
    rows, columns = num_blocks(x.height, cell.block_size), num_blocks(x.width, cell.block_size)
    num_windows, keys, size = rows * columns, cell.window**2, cell.query_size
    q_BTQD = _blocks(graph, cell, write_cell(graph, cell.q, x, "q"), rows, columns)
    k_BTKD, v_BTKD = _windows(graph, cell, write_cell(graph, cell.kv, x, "kv"), num_windows)

    q_MYXD = graph.reshape(q_BTQD, -1, size, size, cell.dim_key)
    position_BTQK = graph.reshape(_relative_position(graph, cell.pos_embed, q_MYXD), -1, num_windows, size * size, keys)
    scale = graph.weight("scale", np.float32(cell.scale))
    k_BTDK = graph.transpose(k_BTKD, 0, 1, 3, 2)
    if cell.scale_pos_embed:
        logits = graph.node("Mul", graph.node("Add", graph.node("MatMul", q_BTQD, k_BTDK), position_BTQK), scale)
    else:
        products = graph.node("MatMul", graph.node("Mul", q_BTQD, scale), k_BTDK)
        logits = graph.node("Add", products, position_BTQK)
    if cell.mask_padding:
        outside = window_pixels(x.height, x.width, cell.block_size, cell.halo_size) == x.height * x.width
        added = np.where(outside, np.float32(OUTSIDE_LOGIT), np.float32(0))
        logits = graph.node("Add", logits, graph.weight("outside", added[None, :, None, :]))
    out_BTQD = graph.node("MatMul", graph.node("Softmax", logits, axis=-1), v_BTKD)

    out = graph.reshape(out_BTQD, -1, rows, columns, size, size, cell.dim_value)
    out = graph.transpose(out, 0, 5, 1, 3, 2, 4)
    out = FeatureMap(
        graph.reshape(out, -1, cell.num_heads * cell.dim_value, rows * size, columns * size),
        cell.num_heads * cell.dim_value,
        rows * size,
        columns * size,
    )
    out = write_cell(graph, cell.pool, out, "pool")
    return _crop(graph, out, num_blocks(x.height, cell.stride), num_blocks(x.width, cell.stride))


def _blocks(graph: OnnxGraph, cell: HaloAttention, q: FeatureMap, rows: int, columns: int) -> str:
    """Queries (B, N*D, H, W) -> (B*N, T, Q, D)."""
    size = cell.query_size
    bottom, right = rows * size - q.height, columns * size - q.width
    name = q.name
    if bottom or right:
        name = graph.node("Pad", name, graph.integers(0, 0, 0, 0, 0, 0, bottom, right))
    blocks = graph.reshape(name, -1, cell.dim_key, rows, size, columns, size)
    return graph.reshape(graph.transpose(blocks, 0, 2, 4, 3, 5, 1), -1, rows * columns, size * size, cell.dim_key)


def _windows(graph: OnnxGraph, cell: HaloAttention, kv: FeatureMap, num_windows: int) -> tuple[str, str]:
    """Keys and values (B, N*(Dk+Dv), H, W) -> those of each window, (B*N, T, K, Dk) and (B*N, T, K, Dv)."""
    depth, keys = cell.dim_key + cell.dim_value, cell.window**2
    pixels = graph.transpose(graph.reshape(kv.name, -1, depth, kv.height * kv.width), 0, 2, 1)
    pixels = graph.node("Pad", pixels, graph.integers(0, 0, 0, 0, 1, 0))  # the pixel outside the map
    indices = window_pixels(kv.height, kv.width, cell.block_size, cell.halo_size).reshape(-1)
    windows = graph.node("Gather", pixels, graph.weight("pixels", indices), axis=1)
    if cell.scrambled_windows:
        windows = graph.reshape(windows, -1, cell.num_heads, num_windows, keys, depth)
        windows = graph.transpose(windows, 0, 2, 3, 1, 4)
        windows = graph.reshape(windows, -1, num_windows, cell.num_heads, depth, keys)
        windows = graph.transpose(windows, 0, 2, 1, 4, 3)
    windows = graph.reshape(windows, -1, num_windows, keys, depth)
    k, v = graph.split(windows, cell.dim_key, cell.dim_value, axis=-1)
    return k, v


def _relative_position(graph: OnnxGraph, cell: RelativePosition, q_MYXD: str) -> str:
    """(M, Y, X, D) -> (M, Y * X, P * R)."""
    (rows, columns), (key_rows, key_columns) = cell.queries, cell.keys
    height_YDP = cell.height_rel.asnumpy()[cell.row_index.asnumpy()].transpose(0, 2, 1)
    width_XDR = cell.width_rel.asnumpy()[cell.column_index.asnumpy()].transpose(0, 2, 1)
    with graph.inside("pos_embed"):
        by_row = graph.node("MatMul", q_MYXD, graph.weight("height_rel", height_YDP))
        q_MXYD = graph.transpose(q_MYXD, 0, 2, 1, 3)
        by_column = graph.transpose(graph.node("MatMul", q_MXYD, graph.weight("width_rel", width_XDR)), 0, 2, 1, 3)
        both = graph.node("Concat", by_row, by_column, axis=-1)
        both = graph.reshape(both, -1, rows * columns, key_rows + key_columns)
        return graph.node("MatMul", both, graph.weight("one_hot", cell.one_hot.asnumpy()))


def _crop(graph: OnnxGraph, x: FeatureMap, height: int, width: int) -> FeatureMap:
    if (x.height, x.width) == (height, width):
        return x
    starts, ends, axes = graph.integers(0, 0), graph.integers(height, width), graph.integers(2, 3)
    return FeatureMap(
        graph.node("Slice", x.name, starts, ends, axes), x.channels, min(height, x.height), min(width, x.width)
    )


def _average_pool(graph: OnnxGraph, cell: nn.AvgPool2d, x: FeatureMap) -> FeatureMap:
    """The 2x2 pool behind halo attention, without padding."""
    pooled = graph.node("AveragePool", x.name, kernel_shape=(2, 2), strides=(2, 2))
    return FeatureMap(pooled, x.channels, x.height // 2, x.width // 2)


def _bottleneck_attention(graph: OnnxGraph, cell: BottleneckAttention, x: FeatureMap) -> FeatureMap:
    pixels = x.height * x.width
    qkv = write_cell(graph, cell.qkv, x, "qkv")
    parts = graph.split(qkv.name, cell.dim, cell.dim, cell.dim, axis=1)
    q_MDQ, k_MDK, v_MDK = (graph.reshape(part, -1, cell.dim_head, pixels) for part in parts)
    q_MQD = graph.transpose(q_MDQ, 0, 2, 1)
    position = _relative_position(graph, cell.pos_embed, graph.reshape(q_MQD, -1, x.height, x.width, cell.dim_head))
    scaled = graph.node("Mul", q_MQD, graph.weight("scale", np.float32(cell.scale)))
    weights = graph.node("Softmax", graph.node("Add", graph.node("MatMul", scaled, k_MDK), position), axis=-1)
    out_MQD = graph.node("MatMul", weights, graph.transpose(v_MDK, 0, 2, 1))
    return _at(x, graph.reshape(graph.transpose(out_MQD, 0, 2, 1), -1, cell.dim, x.height, x.width))


def _lambda_layer(graph: OnnxGraph, cell: LambdaLayer, x: FeatureMap) -> FeatureMap:
    """Axes here: D key width, V value width, M positions."""
    pixels, queries = x.height * x.width, cell.num_heads * cell.dim_key
    qkv = write_cell(graph, cell.qkv, x, "qkv")
    sizes = (queries, cell.dim_key, cell.dim_value)
    q, k, v = (
        FeatureMap(name, channels, x.height, x.width)
        for name, channels in zip(graph.split(qkv.name, *sizes, axis=1), sizes, strict=True)
    )
    q, v = write_cell(graph, cell.norm_q, q, "norm_q"), write_cell(graph, cell.norm_v, v, "norm_v")
    k_BDM = graph.node("Softmax", graph.reshape(k.name, -1, cell.dim_key, pixels), axis=-1)
    v_BMV = graph.transpose(graph.reshape(v.name, -1, cell.dim_value, pixels), 0, 2, 1)
    content_BDV = graph.node("MatMul", k_BDM, v_BMV)

    one_channel = FeatureMap(graph.reshape(v.name, -1, 1, x.height, x.width), 1, x.height, x.width)
    position = write_cell(graph, cell.position, one_channel, "position")
    position_BVDM = graph.reshape(position.name, -1, cell.dim_value, cell.dim_key, pixels)
    lambdas_BMDV = graph.node(
        "Add",
        graph.reshape(content_BDV, -1, 1, cell.dim_key, cell.dim_value),
        graph.transpose(position_BVDM, 0, 3, 2, 1),
    )
    q_BMND = graph.transpose(graph.reshape(q.name, -1, cell.num_heads, cell.dim_key, pixels), 0, 3, 1, 2)
    out_BMNV = graph.node("MatMul", q_BMND, lambdas_BMDV)
    channels = cell.num_heads * cell.dim_value
    out = graph.reshape(graph.transpose(out_BMNV, 0, 2, 3, 1), -1, channels, x.height, x.width)
    return FeatureMap(out, channels, x.height, x.width)


def _at(x: FeatureMap, name: str) -> FeatureMap:
    """A tensor of the same size as `x`."""
    return FeatureMap(name, x.channels, x.height, x.width)


def _parameter(graph: OnnxGraph, cell: nn.Cell, name: str) -> str:
    return graph.weight(name, getattr(cell, name).asnumpy())


WRITERS: dict[type[nn.Cell], Callable[[OnnxGraph, nn.Cell, FeatureMap], FeatureMap]] = {
    AttentionMix: _attention_mix,
    Bottleneck: _bottleneck,
    BottleneckAttention: _bottleneck_attention,
    ConvMix: _conv_mix,
    ConvNormAct: _conv_norm_act,
    Dropout: _same,
    DropPath: _same,
    EfficientChannelAttention: _efficient_channel_attention,
    FoldedNorm: _same,
    HaloAttention: _halo_attention,
    LambdaLayer: _lambda_layer,
    SqueezeExcite: _squeeze_excite,
    StemPool: _stem_pool,
    UnbiasedSiLU: _silu,
    nn.AvgPool2d: _average_pool,
    nn.BatchNorm2d: _batch_norm,
    nn.Conv2d: _convolution,
    nn.Identity: _same,
    nn.ReLU: _relu,
    nn.SequentialCell: _sequence,
    nn.SiLU: _silu,
}
