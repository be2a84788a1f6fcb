"""The ways in which a cell can compute: MindSpore's two modes, and native kernels, `frozen` or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import mindspore as ms
from mindspore import nn

from mindcv_halo.native import NativeUnavailableError, accelerate, load_kernels, name_bfloat16_instructions

MODES = {"graph": ms.GRAPH_MODE, "pynative": ms.PYNATIVE_MODE}
WAYS = (*MODES, "native")


def has_kernels() -> bool:
    try:
        load_kernels()
    except NativeUnavailableError:
        return False
    return True


def has_bfloat16() -> bool:
    return has_kernels() and bool(name_bfloat16_instructions())


def take(way: str, cell: nn.Cell, *, frozen: bool = False) -> nn.Cell:
    """The cell, made to compute in this way."""
    return accelerate(cell, frozen=frozen) if way == "native" else cell


@contextmanager
def compiler_calls(most: int) -> Iterator[None]:
    """Let MindSpore's compiler call itself so many times and no more, in place of a thousand: a small graph takes few.

    What takes too many in a large one then does so in one that compiles in a fraction of the time.
    """
    ms.set_recursion_limit(most)
    try:
        yield
    finally:
        ms.set_recursion_limit(1000)
