"""Halo attention as loops in numpy: the oracle. It shares nothing with the library and is to be trusted by reading.

Axes: B batch, N heads, D query/key width, V value width, H W map.
"""

from __future__ import annotations

from math import ceil

import numpy as np


def halo_attention(
    image: np.ndarray,
    parameters: dict[str, np.ndarray],
    *,
    num_heads: int,
    block_size: int,
    halo_size: int,
    stride: int = 1,
    avg_down: bool = False,
    scale_pos_embed: bool = False,
    mask_padding: bool = False,
) -> np.ndarray:
    """The output of halo attention for `image` (B, dim, H, W), in float64, one query pixel at a time.

    `parameters`: q.weight (N * D, dim, 1, 1), kv.weight (N * (D + V), dim, 1, 1; per head first D keys, then V values),
    optional q.bias and kv.bias, height_rel and width_rel (2 * window - 1, D).
    Shapes: (B, N * V, ceil(H / stride), ceil(W / stride)); a map that divides into blocks but is odd loses its last
    row and column where stride 2 pools.
    """
    batch, _, height, width = image.shape
    window = block_size + 2 * halo_size
    height_rel, width_rel = (np.float64(parameters[name]) for name in ("height_rel", "width_rel"))
    head_dim = height_rel.shape[1]
    value_dim = len(parameters["kv.weight"]) // num_heads - head_dim
    pools = stride == 2 and (avg_down or block_size % 2 == 1)
    step = 1 if pools else stride  # pixels between neighbouring queries

    # Whole blocks cover the map; everything beyond the image is zero after the projection.
    rows, columns = (ceil(size / block_size) * block_size for size in (height, width))
    query_map = np.zeros((batch, num_heads, head_dim, rows, columns))
    query_map[..., :height, :width] = project(image, parameters, "q", num_heads)
    inside = np.s_[..., halo_size : halo_size + height, halo_size : halo_size + width]
    key_value_map = np.zeros((batch, num_heads, head_dim + value_dim, rows + 2 * halo_size, columns + 2 * halo_size))
    key_value_map[inside] = project(image, parameters, "kv", num_heads)
    beyond = np.ones(key_value_map.shape[-2:], dtype=bool)
    beyond[inside] = False

    output = np.zeros((batch, num_heads, value_dim, rows // step, columns // step))
    per_block = block_size // step  # queries along a block's side
    for b, n, y, x in np.ndindex(batch, num_heads, rows // step, columns // step):
        query = query_map[b, n, :, y * step, x * step]
        top, left = y // per_block * block_size, x // per_block * block_size
        near = np.s_[..., top : top + window, left : left + window]
        keys, values = np.split(key_value_map[b, n][near], [head_dim])
        # Table row: place in the window minus place among the queries of the block, counted from the table's middle.
        row_index, column_index = (np.arange(window) - place % per_block + window - 1 for place in (y, x))
        position = (height_rel[row_index] @ query)[:, None] + (width_rel[column_index] @ query)[None, :]
        content = np.tensordot(query, keys, 1)
        scale = head_dim**-0.5
        logits = (content + position) * scale if scale_pos_embed else content * scale + position
        if mask_padding:
            logits[beyond[near]] = -np.inf
        weights = np.exp(logits - logits.max())
        output[b, n, :, y, x] = np.tensordot(values, weights / weights.sum(), 2)

    output = output.reshape(batch, num_heads * value_dim, *output.shape[-2:])
    if pools:
        even_rows, even_columns = rows // 2 * 2, columns // 2 * 2
        corners = [output[..., i:even_rows:2, j:even_columns:2] for i in (0, 1) for j in (0, 1)]
        output = sum(corners) / 4
    return output[..., : ceil(height / stride), : ceil(width / stride)]


def project(image: np.ndarray, parameters: dict[str, np.ndarray], name: str, num_heads: int) -> np.ndarray:
    """A 1x1 convolution, with the channels split by head: (B, C, H, W) -> (B, N, channels per head, H, W)."""
    weight = np.float64(parameters[f"{name}.weight"])[:, :, 0, 0]
    bias = np.float64(parameters.get(f"{name}.bias", np.zeros(len(weight))))
    projected = np.tensordot(weight, np.float64(image), axes=(1, 1)) + bias[:, None, None, None]
    projected = np.moveaxis(projected, 0, 1)
    batch, channels, height, width = projected.shape
    return projected.reshape(batch, num_heads, channels // num_heads, height, width)


def oracle_name(name: str) -> str:
    """The oracle's name of a parameter, here or in timm: the tables stand alone."""
    return name.removeprefix("pos_embed.")
