"""What MindSpore has compiled, which it goes on with when a cell inside changes."""

from __future__ import annotations

import gc

import mindspore
from mindspore import nn


def forget_graphs() -> None:
    """Have every cell and every jit function compile anew at its next call, whatever it had compiled for.

    A cell does not know those around it, nor the functions that call it, so that it cannot tell whose graph is stale.
    """
    # Held until the end: MindSpore walks through a table that each cell leaves when it goes.
    cells = [thing for thing in gc.get_objects() if issubclass(type(thing), nn.Cell)]
    mindspore.ms_memory_recycle()
    for cell in cells:  # MindSpore has none of those that copy.deepcopy made in its table
        if _has_graphs(cell):
            cell.compile_cache.clear()


def is_compiled(network: nn.Cell) -> bool:
    """Whether the network or a cell inside it was called by itself, in graph mode."""
    return any(_has_graphs(cell) for _, cell in network.cells_and_names())


def _has_graphs(cell: nn.Cell) -> bool:
    return bool(vars(cell).get("_compile_cache"))
