"""Attention over the whole map with relative positions (bottleneck transformers, arXiv:2101.11605)."""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from .checks import check_multiple, check_size, check_whole
from .init import projection_init
from .recomputed import RecomputedCell
from .relative_position import RelativePosition


class BottleneckAttention(RecomputedCell):
    """Global attention on a map of a fixed size: (B, dim, H, W) -> the same.

    Queries, keys and values are `num_heads` heads of dim / num_heads channels, ordered [all q | all k | all v] as in
    timm.
    Raises UserError for heads that do not divide `dim`, and ValueError for an input of another size than `map_size`
    (height, width): the position tables cover just that.
    """

    def __init__(self, dim: int, *, map_size: tuple[int, int], num_heads: int = 4):
        super().__init__()
        dim = check_whole("BottleneckAttention", "dim", dim)
        num_heads = check_whole("BottleneckAttention", "num_heads", num_heads)
        check_multiple("BottleneckAttention", "dim", dim, "num_heads", num_heads)
        map_size = check_size("BottleneckAttention", "map_size", map_size)
        self.dim = dim
        self.map_size = map_size
        self.num_heads = num_heads
        self.dim_head = dim // num_heads
        self.scale = self.dim_head**-0.5
        self.qkv = nn.Conv2d(dim, 3 * dim, 1, has_bias=False, weight_init=projection_init(dim))
        self.pos_embed = RelativePosition(map_size, map_size, self.dim_head)
        self.matmul = ops.BatchMatMul()
        self.matmul_transposed = ops.BatchMatMul(transpose_b=True)

    def construct(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        self.check_size(height, width)
        qkv = self.qkv(x).reshape(batch, 3, self.num_heads, self.dim_head, height * width).transpose(1, 0, 2, 4, 3)
        qkv = qkv.reshape(3, -1, height * width, self.dim_head)
        q, k, v = qkv[0], qkv[1], qkv[2]
        position = self.pos_embed(q.reshape(-1, height, width, self.dim_head))
        weights = ops.softmax(self.matmul_transposed(q * self.scale, k) + position, -1)
        out = self.matmul(weights, v).transpose(0, 2, 1)
        return out.reshape(batch, self.dim, height, width)

    def check_size(self, height: int, width: int) -> None:
        if (height, width) != self.map_size:
            raise ValueError(
                f"BottleneckAttention: a {height}x{width} map, but the position tables cover "
                f"{self.map_size[0]}x{self.map_size[1]}; build the model with image_resize (image_size) of the images"
            )
