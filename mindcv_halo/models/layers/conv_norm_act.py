"""The one convolution of the models: convolution, batch norm, activation."""

from __future__ import annotations

from typing import Any

from mindspore import Tensor, nn

from ...errors import UserError
from .activation import make_activation
from .checks import check_act, check_flag, check_multiple, check_odd, check_whole
from .init import conv_init


def make_norm(channels: int, *, zero_init: bool = False) -> nn.BatchNorm2d:
    """Batch norm as in the peers: eps 1e-5, running statistics keep 0.9 of the past.

    `zero_init` starts its scale at zero, so that a residual block starts as its shortcut.
    """
    return nn.BatchNorm2d(channels, eps=1e-5, momentum=0.9, gamma_init="zeros" if zero_init else "ones")


class ConvNormAct(nn.Cell):
    """Convolution without bias, batch norm, activation: (B, in, H, W) -> (B, out, ceil(H / stride), ceil(W / stride)).

    `act` is "relu", "silu" or None. Raises UserError for any other, an even kernel, and groups that do not divide both
    widths.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        act: str | None = "relu",
        zero_init: bool = False,
    ):
        super().__init__()
        in_channels = check_whole("ConvNormAct", "in_channels", in_channels)
        out_channels = check_whole("ConvNormAct", "out_channels", out_channels)
        kernel_size = check_odd("ConvNormAct", "kernel_size", kernel_size)
        stride = check_whole("ConvNormAct", "stride", stride)
        groups = check_whole("ConvNormAct", "groups", groups)
        check_multiple("ConvNormAct", "in_channels", in_channels, "groups", groups)
        check_multiple("ConvNormAct", "out_channels", out_channels, "groups", groups)
        check_act("ConvNormAct", "act", act, may_lack=True)
        zero_init = check_flag("ConvNormAct", "zero_init", zero_init)
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            pad_mode="pad",
            padding=kernel_size // 2,
            group=groups,
            has_bias=False,
            weight_init=conv_init(out_channels, kernel_size, groups),
        )
        self.norm = make_norm(out_channels, zero_init=zero_init)
        self.act = make_activation(act)

    def construct(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class Conv2dNormActivation(nn.Cell):
    """MindCV's convolution, norm and activation, `features`, for models of one's own; ours have ConvNormAct.

    (B, in_channels, H, W) -> (B, out_channels, ...). With `pad_mode` "pad" the padding is by default what keeps the
    size, divided by the stride. `norm` and `activation` are classes, None for none; the convolution has a bias where
    there is no norm. Further arguments are nn.Conv2d's.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        pad_mode: str = "pad",
        padding: int | None = None,
        dilation: int = 1,
        groups: int = 1,
        norm: type[nn.Cell] | None = nn.BatchNorm2d,
        activation: type[nn.Cell] | None = nn.ReLU,
        has_bias: bool | None = None,
        **kwargs: Any,
    ):
        super().__init__()
        thing = "Conv2dNormActivation"
        in_channels = check_whole(thing, "in_channels", in_channels)
        out_channels = check_whole(thing, "out_channels", out_channels)
        groups = check_whole(thing, "groups", groups)
        check_multiple(thing, "in_channels", in_channels, "groups", groups)
        check_multiple(thing, "out_channels", out_channels, "groups", groups)
        may_be_pairs = pad_mode != "pad" or padding is not None
        sides = {"kernel_size": kernel_size, "stride": stride, "dilation": dilation}
        kernel_size, stride, dilation = (
            value if may_be_pairs and isinstance(value, tuple) else check_whole(thing, name, value)
            for name, value in sides.items()
        )
        for name, kind in (("norm", norm), ("activation", activation)):
            if kind is not None and not callable(kind):
                raise UserError(f"{thing}: {name} {kind!r} must be a class of cells, such as nn.ReLU, or None")
        if has_bias is not None:
            has_bias = check_flag(thing, "has_bias", has_bias)
        if pad_mode != "pad":
            padding = 0
        elif padding is None:
            padding = (stride - 1 + dilation * (kernel_size - 1)) // 2
        conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            pad_mode=pad_mode,
            padding=padding,
            dilation=dilation,
            group=groups,
            has_bias=norm is None if has_bias is None else has_bias,
            **kwargs,
        )
        self.features = nn.SequentialCell(
            [conv, *([norm(out_channels)] if norm else []), *([activation()] if activation else [])]
        )

    def construct(self, x: Tensor) -> Tensor:
        return self.features(x)
