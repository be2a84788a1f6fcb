"""Tables of relative positions for a window or a map of another size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from mindspore import nn

from ..layers import BottleneckAttention, HaloAttention
from ..specs import Halo

TABLES = (".height_rel", ".width_rel")  # how their names end


@dataclass(frozen=True)
class Reach:
    """What one axis of a table is for: `queries` in a row, in the middle of `keys` in a row.

    Its row q - p + keys - 1 is for key p and query q, so that its last rows are used.
    """

    queries: int
    keys: int

    @property
    def rows(self) -> int:
        """Of the table."""
        return 2 * self.keys - 1

    @property
    def used(self) -> int:
        """How many of them some query and key have."""
        return self.queries + self.keys - 1

    @property
    def middle(self) -> float:
        """The row, or between which rows, of a key in the query's own place."""
        return self.rows - 1 - (self.used - 1) / 2


def resize_table(table: np.ndarray, old: Reach, new: Reach) -> np.ndarray:
    """(old.rows, D) -> (new.rows, D), linearly between rows: used rows cover used rows, the middle stays the middle."""
    step = (old.used - 1) / (new.used - 1) if new.used > 1 else 0.0
    places = np.clip(old.middle + (np.arange(new.rows) - new.middle) * step, 0, old.rows - 1)
    columns = [np.interp(places, np.arange(old.rows), column) for column in table.T.astype(np.float64)]
    return np.stack(columns, axis=1).astype(table.dtype)


@dataclass(frozen=True)
class PositionTable:
    """One table of a network."""

    name: str
    reach: Reach
    attention: nn.Cell

    def reach_with(self, rows: int, halo: Halo) -> Reach:
        """The reach of a table of so many rows in the same place of a network whose windows are those of `halo`."""
        if isinstance(self.attention, BottleneckAttention):
            side = (rows + 1) // 2
            return Reach(side, side)
        stride = self.attention.stride if halo.block_size % 2 == 0 else 1  # HaloAttention pools for odd blocks
        return Reach(halo.block_size // stride, halo.block_size + 2 * halo.halo_size)


def list_tables(network: nn.Cell) -> Iterator[PositionTable]:
    """All of a network's position tables."""
    for _, cell in network.cells_and_names():
        if isinstance(cell, HaloAttention | BottleneckAttention):
            embedding = cell.pos_embed
            for table, queries, keys in zip(
                (embedding.height_rel, embedding.width_rel), embedding.queries, embedding.keys, strict=True
            ):
                yield PositionTable(table.name, Reach(queries, keys), cell)
