"""Dropout and stochastic depth whose masks can be reproduced and resumed.

MindSpore's own dropout is not bitwise reproducible on a CPU, and its random state in a compiled graph cannot be
restored. Here a mask is a hash of (seed, number of the draw, position). The number of the draw is a parameter, so that
a checkpoint of the network's state carries it on. The hash, and with it the masks, are one kind on a CPU and another
elsewhere.
"""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, get_context, nn, ops
from mindspore import dtype as mstype

from .checks import check_flag, check_rate

DRAWS = "num_draws"  # the counter's name in a network's state; it is no weight


class RandomKeep(nn.Cell):
    """Draws 0 / 1 masks, where 1 has probability `keep_prob`."""

    def __init__(self, keep_prob: float):
        super().__init__()
        self.num_draws = Parameter(Tensor(0, mstype.int32), name=DRAWS, requires_grad=False)
        self.seed = int(np.random.randint(1 << 30))  # mindspore.set_seed seeds numpy too
        self.decide = ShiftingHash(keep_prob) if get_context("device_target") == "CPU" else MultiplyingHash(keep_prob)

    def construct(self, size: int) -> Tensor:
        """A float32 mask of `size` elements."""
        self.num_draws += 1
        positions = ops.arange(size).astype(mstype.int32) + self.seed
        return self.decide(positions, self.num_draws).astype(mstype.float32)


class ShiftingHash(nn.Cell):
    """(positions, draw) -> whether to keep each, by the finaliser of murmur3: a bijection that mixes all bits."""

    def __init__(self, keep_prob: float):
        super().__init__()
        self.threshold = int(keep_prob * (1 << 24))

    def construct(self, positions: Tensor, draw: Tensor) -> Tensor:
        bits = _mix(_mix(positions) + draw)
        return ops.bitwise_and(bits, 0xFFFFFF) < self.threshold


def _mix(bits: Tensor) -> Tensor:
    bits = _xor_shift(bits, 16) * -2048144789
    bits = _xor_shift(bits, 13) * -1028477387
    return _xor_shift(bits, 16)


def _xor_shift(bits: Tensor, distance: int) -> Tensor:
    shifted = ops.bitwise_right_shift(bits, distance)
    return ops.bitwise_xor(bits, ops.bitwise_and(shifted, (1 << (32 - distance)) - 1))  # a logical, not signed, shift


class MultiplyingHash(nn.Cell):
    """The same without shifts, which many an Ascend leaves to its slow scalar processors.

    Products carry low bits up, and a division in floats carries high bits down. Its masks pass the tests of the mean,
    of neighbours, draws, seeds and rows that those of the other hash pass.
    """

    def __init__(self, keep_prob: float):
        super().__init__()
        self.last_kept = int(keep_prob * (1 << 32)) - (1 << 31) - 1

    def construct(self, positions: Tensor, draw: Tensor) -> Tensor:
        return _stir(_stir(positions) + draw) <= self.last_kept


def _stir(bits: Tensor) -> Tensor:
    bits = _square(bits * -2048144789)
    bits = bits + (bits.astype(mstype.float32) * 2.0**-16).astype(mstype.int32)
    return _square(bits) * -1028477387


def _square(bits: Tensor) -> Tensor:
    return bits + bits * bits * 2  # a bijection of 32-bit integers


class Dropout(nn.Cell):
    """Zeroes each element with probability `rate` in training and scales the rest by 1 / (1 - rate)."""

    def __init__(self, rate: float):
        super().__init__()
        rate = check_rate("Dropout", "rate", rate)
        self.scale = 1 / (1 - rate)
        self.keep = RandomKeep(1 - rate)

    def construct(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * (self.keep(x.size).reshape(x.shape) * self.scale).astype(x.dtype)


class DropPath(nn.Cell):
    """Stochastic depth (arXiv:1603.09382): zeroes whole images' branches in training and scales the rest.

    (B, ...) -> the same. `drop_prob` is at least 0 and below 1; `scale_by_keep` False leaves the rest as it is.
    """

    def __init__(self, drop_prob: float = 0.0, scale_by_keep: bool = True):
        super().__init__()
        drop_prob = check_rate("DropPath", "drop_prob", drop_prob)
        self.scale = 1 / (1 - drop_prob) if check_flag("DropPath", "scale_by_keep", scale_by_keep) else 1.0
        self.keep = RandomKeep(1 - drop_prob)

    def construct(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        each = (x.shape[0],) + (1,) * (x.ndim - 1)
        return x * (self.keep(x.shape[0]).reshape(each) * self.scale).astype(x.dtype)
