"""Copies of cells that MindSpore computes again in the backward pass."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from mindspore import nn

_AGAIN = "_recompute_cell"  # where MindSpore keeps what does that, which cannot be copied


class RecomputedCell(nn.Cell):
    """A cell of which copy.deepcopy works after `recompute()` too; the copy is computed again as well."""

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Cell:
        again = getattr(self, _AGAIN, None)
        make, arguments, state = self.__reduce_ex__(4)[:3]  # as copy.deepcopy does it
        copied = make(*arguments)
        memo[id(self)] = copied
        if again is not None:
            memo[id(again)] = None
        copied.__setstate__(deepcopy(state, memo))
        if again is not None:
            copied._cells.pop(_AGAIN, None)
            vars(copied)[_AGAIN] = None
            copied.recompute()
        return copied
