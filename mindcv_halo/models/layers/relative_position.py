"""Relative positions of queries and keys on a 2-D map, learned per axis and shared by all heads (arXiv:1803.02155).

Axes: M maps, Y X queries, P R keys (rows, columns), D head width.
"""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import initializer

from ...errors import UserError
from .checks import check_size, check_whole
from .init import position_init


class RelativePosition(nn.Cell):
    """Position logits q . height_rel[p - y + P - 1] + q . width_rel[r - x + R - 1].

    Shapes: (M, Y, X, D) -> (M, Y * X, P * R). `queries` is (Y, X), `keys` is (P, R).
    The tables have 2 * P - 1 and 2 * R - 1 rows. Raises UserError for more queries than keys along an axis, for which
    they have no rows.
    """

    def __init__(self, queries: tuple[int, int], keys: tuple[int, int], dim_head: int):
        super().__init__()
        queries = check_size("RelativePosition", "queries", queries)
        keys = check_size("RelativePosition", "keys", keys)
        dim_head = check_whole("RelativePosition", "dim_head", dim_head)
        if queries[0] > keys[0] or queries[1] > keys[1]:
            raise UserError(f"RelativePosition: queries {queries} must be at most the keys {keys} along each axis")
        self.queries = queries
        self.keys = keys
        self.dim_head = dim_head
        self.height_rel = Parameter(initializer(position_init(dim_head), (2 * keys[0] - 1, dim_head)))
        self.width_rel = Parameter(initializer(position_init(dim_head), (2 * keys[1] - 1, dim_head)))
        self.row_index = Tensor(_relative_index(queries[0], keys[0]))
        self.column_index = Tensor(_relative_index(queries[1], keys[1]))
        self.one_hot = Tensor(_one_hot_positions(*keys).T.copy())
        self.matmul_transposed = ops.BatchMatMul(transpose_b=True)

    def construct(self, q_MYXD: Tensor) -> Tensor:
        (rows, columns), (key_rows, key_columns) = self.queries, self.keys
        height_YPD = ops.gather(self.height_rel.astype(q_MYXD.dtype), self.row_index, 0)
        width_XRD = ops.gather(self.width_rel.astype(q_MYXD.dtype), self.column_index, 0)
        # One matmul per axis, batched over the coordinate that picks the rows of its table.
        by_row = self.matmul_transposed(q_MYXD.transpose(1, 0, 2, 3).reshape(rows, -1, self.dim_head), height_YPD)
        by_column = self.matmul_transposed(q_MYXD.transpose(2, 0, 1, 3).reshape(columns, -1, self.dim_head), width_XRD)
        row_logits = by_row.reshape(rows, -1, columns, key_rows).transpose(1, 0, 2, 3)
        column_logits = by_column.reshape(columns, -1, rows, key_columns).transpose(1, 2, 0, 3)
        # A matmul with the keys' one-hot positions adds the two numbers for every key: on a CPU it is faster than their
        # broadcast sum, which is of the size of the logits.
        logits = ops.concat((row_logits, column_logits), -1).reshape(-1, key_rows + key_columns)
        return ops.matmul(logits, self.one_hot.astype(logits.dtype)).reshape(-1, rows * columns, key_rows * key_columns)


def _relative_index(queries: int, keys: int) -> np.ndarray:
    """The row of the table for each query and key: (queries, keys), int32."""
    return (np.arange(keys)[None, :] - np.arange(queries)[:, None] + keys - 1).astype(np.int32)


def _one_hot_positions(rows: int, columns: int) -> np.ndarray:
    """Each key's row and column as one-hot vectors side by side: (rows * columns, rows + columns), float32."""
    row, column = np.divmod(np.arange(rows * columns), columns)
    return np.concatenate([np.eye(rows, dtype=np.float32)[row], np.eye(columns, dtype=np.float32)[column]], axis=1)
