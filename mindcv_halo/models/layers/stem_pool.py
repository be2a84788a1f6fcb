"""The stem's max pool, with the border that each peer gives it."""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from .checks import check_flag

# Below every activation, and a number that half precision still holds.
LOWEST = -65504.0


class StemPool(nn.Cell):
    """3x3 max pool of stride 2 with a border of one pixel: (B, C, H, W) -> (B, C, ceil(H / 2), ceil(W / 2)).

    The border is never the largest, as in timm, or zeros, as in Keras and MindCV, which a SiLU's negative values show.
    Pasting the border before a pool without padding is twice as fast on a CPU as a padded pool, and exports to ONNX.
    """

    def __init__(self, *, zero_border: bool = False):
        super().__init__()
        self.border = 0.0 if check_flag("StemPool", "zero_border", zero_border) else LOWEST
        self.pool = nn.MaxPool2d(kernel_size=3, stride=2, pad_mode="valid")

    def construct(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        column = ops.full((batch, channels, height, 1), self.border, dtype=x.dtype)
        x = ops.concat((column, x, column) if width % 2 else (column, x), 3)
        row = ops.full((batch, channels, 1, x.shape[3]), self.border, dtype=x.dtype)
        return self.pool(ops.concat((row, x, row) if height % 2 else (row, x), 2))
