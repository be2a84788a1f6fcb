"""The one residual shell: what mixes positions in it is a 3x3 convolution or an attention."""

from __future__ import annotations

from mindspore import Tensor, nn

from .activation import make_activation
from .checks import check_act, check_flag, check_kind, check_rate, check_whole
from .conv_norm_act import ConvNormAct, make_norm
from .random_drop import DropPath


class ConvMix(nn.Cell):
    """A 3x3 convolution with norm and activation, then a gate on its channels."""

    def __init__(self, conv: nn.Cell, gate: nn.Cell):
        super().__init__()
        self.conv = check_kind("ConvMix", "conv", conv, nn.Cell)
        self.gate = check_kind("ConvMix", "gate", gate, nn.Cell)

    def construct(self, x: Tensor) -> Tensor:
        return self.gate(self.conv(x))


class AttentionMix(nn.Cell):
    """An attention with norm and activation on its `channels` of output."""

    def __init__(self, attention: nn.Cell, channels: int, *, act: str):
        super().__init__()
        self.attention = check_kind("AttentionMix", "attention", attention, nn.Cell)
        self.norm = make_norm(check_whole("AttentionMix", "channels", channels))
        self.act = make_activation(check_act("AttentionMix", "act", act))

    def construct(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.attention(x)))


class Bottleneck(nn.Cell):
    """act(expand(mix(reduce(x))) + shortcut(x)), with 1x1 convolutions to reduce and expand.

    Shapes: (B, in, H, W) -> (B, out, ceil(H / stride), ceil(W / stride)).
    `mix` takes `inner` channels to `mixed` and carries the stride. The shortcut is the identity where shapes allow it,
    else a 1x1 convolution, or with `conv_shortcut=False` nothing at all. `act_after_sum=False` leaves out the last
    activation. Raises UserError for settings that mean nothing, as all layers do.
    """

    def __init__(
        self,
        mix: nn.Cell,
        *,
        in_channels: int,
        inner: int,
        mixed: int,
        out_channels: int,
        stride: int,
        act: str,
        drop_path_rate: float = 0.0,
        conv_shortcut: bool = True,
        act_after_sum: bool = True,
    ):
        super().__init__()
        check_kind("Bottleneck", "mix", mix, nn.Cell)
        widths = {"in_channels": in_channels, "inner": inner, "mixed": mixed, "out_channels": out_channels}
        in_channels, inner, mixed, out_channels = (check_whole("Bottleneck", *item) for item in widths.items())
        stride = check_whole("Bottleneck", "stride", stride)
        check_act("Bottleneck", "act", act)
        drop_path_rate = check_rate("Bottleneck", "drop_path_rate", drop_path_rate)
        conv_shortcut = check_flag("Bottleneck", "conv_shortcut", conv_shortcut)
        act_after_sum = check_flag("Bottleneck", "act_after_sum", act_after_sum)
        same_shape = in_channels == out_channels and stride == 1
        self.has_shortcut = same_shape or conv_shortcut
        self.reduce = ConvNormAct(in_channels, inner, act=act)
        self.mix = mix
        self.expand = ConvNormAct(mixed, out_channels, act=None, zero_init=self.has_shortcut)
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate else nn.Identity()
        if same_shape or not conv_shortcut:
            self.shortcut = nn.Identity()
        else:
            self.shortcut = ConvNormAct(in_channels, out_channels, stride=stride, act=None)
        self.act = make_activation(act if act_after_sum else None)

    def construct(self, x: Tensor) -> Tensor:
        branch = self.drop_path(self.expand(self.mix(self.reduce(x))))
        return self.act(branch + self.shortcut(x) if self.has_shortcut else branch)
