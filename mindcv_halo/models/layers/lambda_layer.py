"""Lambda layer: attention whose keys and values become one small linear map per position (arXiv:2102.08602)."""

from __future__ import annotations

from mindspore import Tensor, nn, ops
from mindspore.common.initializer import TruncatedNormal

from .checks import check_multiple, check_odd, check_whole
from .conv_norm_act import make_norm
from .init import projection_init


class LambdaLayer(nn.Cell):
    """(B, dim, H, W) -> the same, with positions from a `reach` x `reach` neighbourhood.

    Axes: B batch, N heads, D key width, V value width, M positions. Parameter layout [q | k | v] follows timm's
    LambdaLayer. Raises UserError for heads that do not divide `dim`, and for an even `reach`.
    """

    def __init__(self, dim: int, *, num_heads: int = 4, dim_key: int = 16, reach: int = 13):
        super().__init__()
        dim = check_whole("LambdaLayer", "dim", dim)
        num_heads = check_whole("LambdaLayer", "num_heads", num_heads)
        check_multiple("LambdaLayer", "dim", dim, "num_heads", num_heads)
        dim_key = check_whole("LambdaLayer", "dim_key", dim_key)
        reach = check_odd("LambdaLayer", "reach", reach)
        self.num_heads = num_heads
        self.dim_key = dim_key
        self.dim_value = dim // num_heads
        queries = num_heads * dim_key
        self.splits = (queries, queries + dim_key)
        self.qkv = nn.Conv2d(
            dim, queries + dim_key + self.dim_value, 1, has_bias=False, weight_init=projection_init(dim)
        )
        self.norm_q = make_norm(queries)
        self.norm_v = make_norm(self.dim_value)
        self.position = nn.Conv2d(
            1,
            dim_key,
            reach,
            pad_mode="pad",
            padding=reach // 2,
            has_bias=True,
            weight_init=TruncatedNormal(dim_key**-0.5, a=-2.0, b=2.0),
        )
        self.matmul = ops.BatchMatMul()
        self.matmul_transposed = ops.BatchMatMul(transpose_b=True)

    def construct(self, x: Tensor) -> Tensor:
        batch, dim, height, width = x.shape
        pixels = height * width
        end_q, end_k = self.splits
        qkv = self.qkv(x)
        # In half precision a batch norm may stay in float32, and a product takes factors of one type.
        q = self.norm_q(qkv[:, :end_q]).astype(qkv.dtype)
        v = self.norm_v(qkv[:, end_k:]).astype(qkv.dtype)
        k_BDM = ops.softmax(qkv[:, end_q:end_k].reshape(batch, self.dim_key, pixels), -1)
        v_BVM = v.reshape(batch, self.dim_value, pixels)
        content_BDV = self.matmul_transposed(k_BDM, v_BVM)

        # The position map is the same correlation for every value channel: channels ride in the batch.
        position = self.position(v.reshape(batch * self.dim_value, 1, height, width))
        position_BMDV = position.reshape(batch, self.dim_value, self.dim_key, pixels).transpose(0, 3, 2, 1)
        lambdas_BMDV = content_BDV.expand_dims(1) + position_BMDV
        q_BMND = q.reshape(batch, self.num_heads, self.dim_key, pixels).transpose(0, 3, 1, 2)
        out_BMNV = self.matmul(q_BMND, lambdas_BMDV)
        return out_BMNV.transpose(0, 2, 3, 1).reshape(batch, dim, height, width)
