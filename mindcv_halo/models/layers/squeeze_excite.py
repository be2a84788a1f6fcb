"""Squeeze-and-excitation (arXiv:1709.01507) with MindCV's arguments and parameter names, for models of one's own.

The models of this library have channel_attention.SqueezeExcite.
"""

from __future__ import annotations

from mindspore import Tensor, nn

from ...errors import UserError
from .checks import check_positive, check_whole
from .pooling import GlobalAvgPooling
from .rounding import make_divisible


class SqueezeExcite(nn.Cell):
    """x * gate(conv_expand(act(norm(conv_reduce(mean of x over H and W))))): (B, C, H, W) -> the same.

    The inner width is `rd_channels`, or in_channels * rd_ratio rounded to a multiple of `rd_divisor`. `norm` (any true
    value) puts a batch norm between.
    """

    def __init__(
        self,
        in_channels: int,
        rd_ratio: float = 1 / 16,
        rd_channels: int | None = None,
        rd_divisor: int = 8,
        norm: type[nn.Cell] | None = None,
        act_layer: type[nn.Cell] = nn.ReLU,
        gate_layer: type[nn.Cell] = nn.Sigmoid,
    ):
        super().__init__()
        thing = type(self).__name__
        in_channels = check_whole(thing, "in_channels", in_channels)
        rd_ratio = check_positive(thing, "rd_ratio", rd_ratio)
        rd_divisor = check_whole(thing, "rd_divisor", rd_divisor)
        if rd_channels is None:
            hidden = make_divisible(in_channels * rd_ratio, rd_divisor)
        else:
            hidden = check_whole(thing, "rd_channels", rd_channels)
        for name, kind in (("act_layer", act_layer), ("gate_layer", gate_layer)):
            if not callable(kind):
                raise UserError(f"{thing}: {name} {kind!r} must be a class of cells, such as nn.ReLU")
        self.pool = GlobalAvgPooling(keep_dims=True)
        self.conv_reduce = self.make_layer(in_channels, hidden)
        self.bn = nn.BatchNorm2d(hidden) if norm else nn.Identity()
        self.act = act_layer()
        self.conv_expand = self.make_layer(hidden, in_channels)
        self.gate = gate_layer()

    def make_layer(self, in_channels: int, out_channels: int) -> nn.Cell:
        return nn.Conv2d(in_channels, out_channels, 1, has_bias=True)

    def construct(self, x: Tensor) -> Tensor:
        hidden = self.act(self.bn(self.conv_reduce(self.pool(x))))
        return x * self.gate(self.conv_expand(hidden))


class SqueezeExciteV2(SqueezeExcite):
    """The same with linear layers, whose weights have two axes."""

    def make_layer(self, in_channels: int, out_channels: int) -> nn.Cell:
        return _Linear(in_channels, out_channels)


class _Linear(nn.Dense):
    """A linear layer of the channels of a map of one pixel: (B, in, 1, 1) -> (B, out, 1, 1)."""

    def construct(self, x: Tensor) -> Tensor:
        return super().construct(x.reshape(x.shape[:2])).expand_dims(-1).expand_dims(-1)
