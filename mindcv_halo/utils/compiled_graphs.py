"""What MindSpore has compiled, which it goes on with when a cell inside changes."""

from __future__ import annotations

import gc

import mindspore
from mindspore import nn


def forget_graphs() -> None:
    """Have every cell and every jit function compile anew at its next call, whatever it had compiled for.

    A cell does not know those around it, nor the functions that call it, so that it cannot tell whose graph is stale.
    """
    mindspore.ms_memory_recycle()
    for thing in gc.get_objects():  # MindSpore keeps no list of the cells that copy.deepcopy made
        if issubclass(type(thing), nn.Cell) and vars(thing).get("_compile_cache"):
            thing.compile_cache.clear()
