"""Sums over all ranks."""

from __future__ import annotations

import mindspore
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

_FLOATS = (mstype.float16, mstype.bfloat16, mstype.float32, mstype.float64)
_DIGITS = 4096  # whole numbers are added up in two parts, each of which float32 holds exactly


def count_ranks() -> int:
    """The processes that MindSpore's parallel context shares the data among; 1 outside of it."""
    if mindspore.get_auto_parallel_context("parallel_mode") not in ("data_parallel", "hybrid_parallel"):
        return 1
    return mindspore.get_auto_parallel_context("device_num")


class AllReduceSum(nn.Cell):
    """The sum of a tensor over all ranks, on each of them; the tensor itself where there is one rank.

    Whole numbers too, for which MindSpore has no collective on a CPU: exact below 2^24 and with fewer than 4096 ranks.
    """

    def __init__(self):
        super().__init__()
        self.is_alone = count_ranks() == 1
        self.add_up = nn.Identity() if self.is_alone else ops.AllReduce(ops.ReduceOp.SUM)

    def construct(self, x: Tensor) -> Tensor:
        if self.is_alone:
            return x
        if x.dtype in _FLOATS:
            return self.add_up(x)
        whole = x.astype(mstype.int32)
        high = self.add_up((whole // _DIGITS).astype(mstype.float32))
        low = self.add_up((whole % _DIGITS).astype(mstype.float32))
        return (high.astype(mstype.int32) * _DIGITS + low.astype(mstype.int32)).astype(x.dtype)
