"""Halo attention, the operator this library is about (Vaswani et al. 2021, arXiv:2103.12731).

Axes: B batch, N heads, T blocks, Q queries of a block, K keys of a window, D head width, C channels, H W map.
"""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.ops import constexpr

from ...errors import UserError
from .checks import check_flag, check_multiple, check_positive, check_whole
from .init import projection_init
from .recomputed import RecomputedCell
from .relative_position import RelativePosition
from .rounding import make_divisible
from .window import num_blocks, pixel_places, window_pixels
from .window_reader import make_window_reader

OUTSIDE_LOGIT = -32768.0  # exp of it is 0 beside any real logit; half precision holds it and its sum with that


@constexpr
def _window_pixels(height: int, width: int, block_size: int, halo_size: int) -> Tensor:
    return Tensor(window_pixels(height, width, block_size, halo_size).reshape(-1))


@constexpr
def _pixel_places(height: int, width: int, block_size: int, halo_size: int) -> Tensor:
    return Tensor(pixel_places(height, width, block_size, halo_size).reshape(-1))


@constexpr
def _outside_logits(height: int, width: int, block_size: int, halo_size: int) -> Tensor:
    """What is added to the logits of keys outside the map, (1, T, 1, K)."""
    outside = window_pixels(height, width, block_size, halo_size) == height * width
    return Tensor(np.where(outside, np.float32(OUTSIDE_LOGIT), np.float32(0))[None, :, None, :])


class HaloAttention(RecomputedCell):
    """Self-attention inside blocks that also see a rim of `halo_size` pixels of their neighbours.

    Shapes: (B, dim, H, W) -> (B, dim_out, ceil(H / stride), ceil(W / stride)).
    The map is cut into block_size x block_size blocks. Queries come from a block (every `stride`-th pixel), keys and
    values from its window of block_size + 2 * halo_size pixels a side. Pixels outside the map are zeros, and take part
    in the softmax as in the paper, timm and Keras, unless `mask_padding`. So are the pixels by which the last blocks
    stick out of a map whose size is no multiple of block_size; the output is cropped to the map.

    With stride 2 and an odd block, or with `avg_down`, attention runs at full resolution and a 2x2 average pool
    follows; a map that divides into blocks but has an odd side then loses its last row or column, as in timm.

    Args:
        dim: channels of the input.
        dim_out: channels of the output, `dim` by default; dim_out / num_heads is the width of a head's values.
        num_heads: attention heads.
        dim_head: width of a head's queries and keys; by default `qk_ratio` * dim_out, rounded to a multiple of 8,
            shared out among the heads.
        qk_ratio: see dim_head.
        block_size: side of a block, in pixels of the input map.
        halo_size: pixels by which a window reaches beyond its block.
        stride: 1 or 2.
        avg_down: stride 2 by pooling for even blocks too.
        qkv_bias: biases on the projections.
        scale_pos_embed: scale the position logits too, not only the products of queries and keys.
        mask_padding: take pixels outside the map out of the softmax.
        scrambled_windows: read windows in the order in which MindCV's halonet does, which mixes channels with
            positions; only for weights trained there.

    Raises UserError for impossible settings, ValueError for an input of other than `dim` channels.
    Parameter layout (kv interleaved per head, tables shared by the heads) follows timm's HaloAttn.
    """

    def __init__(
        self,
        dim: int,
        dim_out: int | None = None,
        *,
        num_heads: int = 8,
        dim_head: int | None = None,
        qk_ratio: float = 1.0,
        block_size: int = 8,
        halo_size: int = 3,
        stride: int = 1,
        avg_down: bool = False,
        qkv_bias: bool = False,
        scale_pos_embed: bool = False,
        mask_padding: bool = False,
        scrambled_windows: bool = False,
    ):
        super().__init__()
        thing = "HaloAttention"
        dim = check_whole(thing, "dim", dim)
        dim_out = dim if dim_out is None else check_whole(thing, "dim_out", dim_out)
        num_heads = check_whole(thing, "num_heads", num_heads)
        check_multiple(thing, "dim_out", dim_out, "num_heads", num_heads)
        block_size = check_whole(thing, "block_size", block_size)
        halo_size = check_whole(thing, "halo_size", halo_size, 0)
        stride = check_whole(thing, "stride", stride, 0)
        if stride not in (1, 2):
            raise UserError(f"HaloAttention: stride {stride} must be 1 or 2")
        flags = {"avg_down": avg_down, "qkv_bias": qkv_bias, "scale_pos_embed": scale_pos_embed}
        avg_down, qkv_bias, scale_pos_embed = (check_flag(thing, *item) for item in flags.items())
        mask_padding = check_flag(thing, "mask_padding", mask_padding)
        scrambled_windows = check_flag(thing, "scrambled_windows", scrambled_windows)
        dim_head = _find_dim_head(dim_head, check_positive(thing, "qk_ratio", qk_ratio), dim_out, num_heads)
        pool = stride == 2 and (avg_down or block_size % 2 == 1)
        query_stride = 1 if pool else stride

        self.dim = dim
        self.num_heads = num_heads
        self.dim_key = dim_head
        self.dim_value = dim_out // num_heads
        self.block_size = block_size
        self.halo_size = halo_size
        self.stride = stride
        self.query_size = block_size // query_stride
        self.window = block_size + 2 * halo_size
        self.scale = self.dim_key**-0.5
        self.scale_pos_embed = scale_pos_embed
        self.mask_padding = mask_padding
        self.scrambled_windows = scrambled_windows

        init = projection_init(dim)
        self.q = nn.Conv2d(
            dim, num_heads * self.dim_key, 1, query_stride, has_bias=qkv_bias, weight_init=init, bias_init="zeros"
        )
        self.kv = nn.Conv2d(
            dim, num_heads * (self.dim_key + self.dim_value), 1, has_bias=qkv_bias, weight_init=init, bias_init="zeros"
        )
        self.pos_embed = RelativePosition((self.query_size,) * 2, (self.window,) * 2, self.dim_key)
        self.read_windows = make_window_reader()
        self.halve = ops.Split(-1, 2)
        self.pool = nn.AvgPool2d(2, 2) if pool else nn.Identity()
        self.matmul = ops.BatchMatMul()
        self.matmul_transposed = ops.BatchMatMul(transpose_b=True)

    def construct(self, x: Tensor) -> Tensor:
        self.check_input(x)
        height, width = x.shape[2:]
        weights_NTQK, v_NTKD = self.attend(x)
        out = self.pool(self.unblock(self.matmul(weights_NTQK, v_NTKD), self.grid(height, width)))
        size = (num_blocks(height, self.stride), num_blocks(width, self.stride))
        return out if out.shape[2:] == size else out[:, :, : size[0], : size[1]]

    def check_input(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != self.dim:
            raise ValueError(f"HaloAttention: the input's shape {x.shape} must be (batch, {self.dim}, height, width)")

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of blocks that cover a map."""
        return num_blocks(height, self.block_size), num_blocks(width, self.block_size)

    def attend(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """How much each query weighs the keys of its window, (B*N, T, Q, K), and their values, (B*N, T, K, Dv)."""
        height, width = x.shape[2:]
        q_NRCYXD = self.blocks(self.q(x), self.grid(height, width))
        k_NTKD, v_NTKD = self.windows(self.kv(x))
        logits_NTQK = self.logits(q_NRCYXD, k_NTKD)
        if self.mask_padding:
            outside = _outside_logits(height, width, self.block_size, self.halo_size)
            logits_NTQK = logits_NTQK + outside.astype(x.dtype)
        return ops.softmax(logits_NTQK, -1), v_NTKD

    def blocks(self, q: Tensor, grid: tuple[int, int]) -> Tensor:
        """Queries (B, N*D, H, W) -> (B*N, block rows, block columns, query_size, query_size, D)."""
        rows, columns = grid
        size = self.query_size
        missing = (rows * size - q.shape[2], columns * size - q.shape[3])
        if missing != (0, 0):
            q = ops.Pad(((0, 0), (0, 0), (0, missing[0]), (0, missing[1])))(q)
        return q.reshape(-1, self.dim_key, rows, size, columns, size).transpose(0, 2, 4, 3, 5, 1)

    def windows(self, kv: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, N*(Dk+Dv), H, W) -> those of each window, (B*N, T, K, Dk) and (B*N, T, K, Dv)."""
        batch, _, height, width = kv.shape
        depth = self.dim_key + self.dim_value
        keys = self.window * self.window
        kv = kv.reshape(batch * self.num_heads, depth, height * width).transpose(0, 2, 1)
        tables = (height, width, self.block_size, self.halo_size)
        kv = self.read_windows(kv, _window_pixels(*tables), _pixel_places(*tables))
        if self.scrambled_windows:
            kv = self.scramble(kv.reshape(batch, self.num_heads, -1, keys, depth))
        rows, columns = self.grid(height, width)
        kv_NTKD = kv.reshape(-1, rows * columns, keys, depth)
        if self.dim_key == self.dim_value:
            return self.halve(kv_NTKD)
        return kv_NTKD[..., : self.dim_key], kv_NTKD[..., self.dim_key :]

    def scramble(self, kv_BNTKD: Tensor) -> Tensor:
        """MindCV unfolds windows as (position, channel) and reads the result as (channel, position)."""
        batch, heads, num_windows, keys, depth = kv_BNTKD.shape
        unfolded = kv_BNTKD.transpose(0, 2, 3, 1, 4)
        return unfolded.reshape(batch, num_windows, heads, depth, keys).transpose(0, 2, 1, 4, 3)

    def logits(self, q_NRCYXD: Tensor, k_NTKD: Tensor) -> Tensor:
        """Scaled products plus position logits, (B*N, T, Q, K)."""
        size = self.query_size
        _, num_windows, keys, _ = k_NTKD.shape
        position = self.pos_embed(q_NRCYXD.reshape(-1, size, size, self.dim_key))
        position_NTQK = position.reshape(-1, num_windows, size * size, keys)
        q_NTQD = q_NRCYXD.reshape(-1, num_windows, size * size, self.dim_key)
        if self.scale_pos_embed:
            return (self.matmul_transposed(q_NTQD, k_NTKD) + position_NTQK) * self.scale
        return self.matmul_transposed(q_NTQD * self.scale, k_NTKD) + position_NTQK

    def unblock(self, out_NTQD: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B*N, T, Q, D) -> (B, N*D, H, W) of the blocks' full extent."""
        rows, columns = grid
        size = self.query_size
        out = out_NTQD.reshape(-1, rows, columns, size, size, self.dim_value).transpose(0, 5, 1, 3, 2, 4)
        return out.reshape(-1, self.num_heads * self.dim_value, rows * size, columns * size)


def _find_dim_head(dim_head: int | None, qk_ratio: float, dim_out: int, num_heads: int) -> int:
    """Queries' and keys' width of a head. Raises UserError for none, and for two answers."""
    if dim_head is not None:
        if qk_ratio != 1:
            raise UserError(f"HaloAttention: dim_head {dim_head} replaces qk_ratio {qk_ratio}; leave one of them out")
        return check_whole("HaloAttention", "dim_head", dim_head)
    dim_head = make_divisible(dim_out * qk_ratio) // num_heads
    if dim_head < 1:
        raise UserError(
            f"HaloAttention: qk_ratio {qk_ratio} of dim_out {dim_out} must be at least one channel for each of "
            f"num_heads {num_heads}; set dim_head, or change one of them"
        )
    return dim_head
