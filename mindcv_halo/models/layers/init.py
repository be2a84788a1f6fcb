"""Every initialiser of the models. The values are timm's; each is given to its layer once, at construction."""

from __future__ import annotations

from mindspore.common.initializer import Initializer, Normal, TruncatedNormal


def conv_init(out_channels: int, kernel_size: int, groups: int = 1) -> Initializer:
    """Normal with variance 2 / fan_out, for convolutions that norm and activation follow."""
    fan_out = kernel_size * kernel_size * out_channels // groups
    return Normal((2 / fan_out) ** 0.5)


def projection_init(in_channels: int) -> Initializer:
    """Truncated normal with variance 1 / fan_in, for queries, keys and values."""
    return TruncatedNormal(in_channels**-0.5, a=-2.0, b=2.0)


def position_init(dim_head: int) -> Initializer:
    """Truncated normal with variance 1 / dim_head, for the tables of relative positions."""
    return TruncatedNormal(dim_head**-0.5, a=-2.0, b=2.0)


def classifier_init() -> Initializer:
    """Normal with a standard deviation of 0.01, for the weights of a classifier."""
    return Normal(0.01)
