"""The mean of a map."""

from __future__ import annotations

from mindspore import Tensor, nn

from .checks import check_flag


class GlobalAvgPooling(nn.Cell):
    """The mean over H and W: (B, C, H, W) -> (B, C), or with `keep_dims` (B, C, 1, 1)."""

    def __init__(self, keep_dims: bool = False):
        super().__init__()
        self.keep_dims = check_flag("GlobalAvgPooling", "keep_dims", keep_dims)

    def construct(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keep_dims=self.keep_dims)
