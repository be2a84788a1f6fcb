"""The ways in which a cell can compute: MindSpore's two modes, and native kernels, `frozen` or not."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn

from mindcv_halo.native import NativeUnavailableError, accelerate, load_kernels

MODES = {"graph": ms.GRAPH_MODE, "pynative": ms.PYNATIVE_MODE}
WAYS = (*MODES, "native")


def has_kernels() -> bool:
    try:
        load_kernels()
    except NativeUnavailableError:
        return False
    return True


def take(way: str, cell: nn.Cell, *, frozen: bool = False) -> nn.Cell:
    """The cell, made to compute in this way."""
    return accelerate(cell, frozen=frozen) if way == "native" else cell
