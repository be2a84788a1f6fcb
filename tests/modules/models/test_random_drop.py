"""Dropout and stochastic depth: shares, scale, and masks that can be had again."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, ops

from mindcv_halo.models.layers import Dropout, DropPath
from mindcv_halo.models.layers.random_drop import MultiplyingHash, ShiftingHash

SIZE = 1 << 20


def draw(cls, keep_prob: float, *, seed: int = 0, number: int = 1) -> np.ndarray:
    """A mask in units of its standard deviation, with mean 0: products of two of them show what they share."""
    positions = Tensor(np.arange(seed, seed + SIZE, dtype=np.int32))
    mask = cls(keep_prob)(positions, Tensor(number, ms.int32)).asnumpy()
    return (mask - keep_prob) / np.sqrt(keep_prob * (1 - keep_prob))


@pytest.mark.parametrize("keep_prob", (0.5, 0.9))
@pytest.mark.parametrize("cls", (ShiftingHash, MultiplyingHash))
def test_masks_are_as_if_drawn_independently(pynative, cls, keep_prob):
    """Sums of a million independent numbers: five standard deviations are exceeded once in two million such tests."""
    mask = draw(cls, keep_prob, seed=12345)
    others = [draw(cls, keep_prob, seed=12345, number=number) for number in (2, 3, 65537)]
    others += [draw(cls, keep_prob, seed=seed) for seed in (12346, 12345 + (1 << 16))]
    others += [np.roll(mask, lag) for lag in (3, 1000, *(1 << exponent for exponent in range(20)))]
    sums = [mask.sum(), *((mask * other).sum() for other in others)]
    assert np.abs(sums).max() < 5 * np.sqrt(SIZE)


@pytest.mark.parametrize("cls", (ShiftingHash, MultiplyingHash))
def test_all_or_nearly_nothing_is_kept(pynative, cls):
    positions = Tensor(np.arange(10000, dtype=np.int32))
    assert cls(1.0)(positions, Tensor(1, ms.int32)).asnumpy().all()
    assert cls(0.01)(positions, Tensor(1, ms.int32)).asnumpy().mean() < 0.02


def test_masks_of_a_cpu_stay_what_they_were(pynative):
    """Runs that were interrupted resume with them."""
    kept = ShiftingHash(0.5)(Tensor(np.arange(16, dtype=np.int32)), Tensor(1, ms.int32)).asnumpy()
    assert "".join("01"[int(keep)] for keep in kept) == "1010100111100000"


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
