"""Dropout and stochastic depth: shares, scale, and masks that can be had again."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

from mindcv_halo.models.layers import Dropout, DropPath


def test_dropout_keeps_the_mean(mode):
    cell = Dropout(0.3).set_train()
    out = cell(ops.ones((1000, 100), ms.float32)).asnumpy()
    assert set(np.unique(out)) == {np.float32(0), np.float32(1 / 0.7)}
    # 100,000 draws: the share of zeros has a standard deviation of 0.0014.
    assert abs((out == 0).mean() - 0.3) < 0.006
    # No row or column is special.
    assert np.abs((out == 0).mean(0) - 0.3).max() < 0.08


def test_drop_path_drops_whole_images(mode):
    cell = DropPath(0.5).set_train()
    out = cell(ops.ones((64, 3, 2, 2), ms.float32)).asnumpy().reshape(64, -1)
    assert all(len(set(row)) == 1 for row in out)
    assert set(out[:, 0]) == {np.float32(0), np.float32(2)}


def test_nothing_is_dropped_in_evaluation(mode):
    x = Tensor(np.random.standard_normal((4, 3, 2, 2)).astype(np.float32))
    for cell in (Dropout(0.5), DropPath(0.5)):
        np.testing.assert_array_equal(cell.set_train(False)(x).asnumpy(), x.asnumpy())


def test_masks_differ_from_draw_to_draw_and_come_back_with_the_counter(mode):
    cell = Dropout(0.5).set_train()
    x = ops.ones((200,), ms.float32)
    first, second, third = (cell(x).asnumpy() for _ in range(3))
    assert not np.array_equal(first, second) and not np.array_equal(second, third)
    cell.keep.num_draws.set_data(Tensor(1, ms.int32))
    np.testing.assert_array_equal(cell(x).asnumpy(), second)


def test_two_cells_draw_differently():
    x = ops.ones((200,), ms.float32)
    masks = [Dropout(0.5).set_train()(x).asnumpy() for _ in range(2)]
    assert not np.array_equal(*masks)
