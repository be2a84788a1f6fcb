"""Gates on channels: squeeze-and-excitation (arXiv:1709.01507) and efficient channel attention (arXiv:1910.03151)."""

from __future__ import annotations

from math import log2

from mindspore import Tensor, nn, ops

from .activation import make_activation
from .checks import check_act, check_positive, check_whole
from .init import conv_init
from .rounding import make_divisible


class SqueezeExcite(nn.Cell):
    """x * sigmoid(expand(act(reduce(mean of x over H and W)))): (B, C, H, W) -> the same."""

    def __init__(self, channels: int, *, ratio: float = 1 / 16, act: str = "relu"):
        super().__init__()
        channels = check_whole("SqueezeExcite", "channels", channels)
        ratio = check_positive("SqueezeExcite", "ratio", ratio)
        hidden = make_divisible(channels * ratio, keep=0.0)
        self.reduce = nn.Conv2d(channels, hidden, 1, has_bias=True, weight_init=conv_init(hidden, 1), bias_init="zeros")
        self.act = make_activation(check_act("SqueezeExcite", "act", act))
        self.expand = nn.Conv2d(
            hidden, channels, 1, has_bias=True, weight_init=conv_init(channels, 1), bias_init="zeros"
        )

    def construct(self, x: Tensor) -> Tensor:
        gate = self.expand(self.act(self.reduce(x.mean((2, 3), keep_dims=True))))
        return x * ops.sigmoid(gate)


class EfficientChannelAttention(nn.Cell):
    """x * sigmoid(a 1-D convolution along the channels of the mean of x): (B, C, H, W) -> the same.

    The kernel grows with log2(channels): 3 for 64 channels, 5 for 128 and 256.
    """

    def __init__(self, channels: int):
        super().__init__()
        channels = check_whole("EfficientChannelAttention", "channels", channels)
        length = int((log2(channels) + 1) / 2)
        kernel_size = max(length if length % 2 else length + 1, 3)
        self.conv = nn.Conv2d(
            1, 1, (1, kernel_size), pad_mode="pad", padding=(0, 0, kernel_size // 2, kernel_size // 2), has_bias=False
        )

    def construct(self, x: Tensor) -> Tensor:
        batch, channels, _, _ = x.shape
        pooled = x.mean((2, 3)).reshape(batch, 1, 1, channels)
        return x * ops.sigmoid(self.conv(pooled)).reshape(batch, channels, 1, 1)
