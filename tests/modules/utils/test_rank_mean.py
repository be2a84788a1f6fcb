"""Means over ranks, bucket by bucket. A cell stands in for the sum over ranks."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from mindcv_halo.utils import rank_mean
from mindcv_halo.utils.rank_mean import RankMean, plan_buckets


class ThreeRanks(nn.Cell):
    """Adds what two more ranks would bring: the number 1 and the number 2 for each of this rank's."""

    def construct(self, x: Tensor) -> Tensor:
        return x + (ops.ones_like(x) + 2 * ops.ones_like(x))


@pytest.mark.parametrize(
    "sizes, limit, expected",
    [
        ([3, 4], 7, [[(1, 0, 4), (0, 4, 7)]]),
        ([3, 4], 6, [[(1, 0, 4)], [(0, 0, 3)]]),
        ([2, 9, 2], 4, [[(2, 0, 2)], [(1, 0, 9)], [(0, 0, 2)]]),  # a tensor is never cut
        ([1, 1, 1, 1], 3, [[(3, 0, 1), (2, 1, 2), (1, 2, 3)], [(0, 0, 1)]]),
        ([5], 4, [[(0, 0, 5)]]),
        ([], 4, []),
    ],
)
def test_buckets(sizes, limit, expected):
    assert plan_buckets(sizes, limit) == tuple(map(tuple, expected))


@pytest.mark.parametrize("device, counts", [("CPU", [1] * 9), ("GPU", [4, 4, 1]), ("Ascend", [4, 4, 1])])
def test_a_bucket_is_1_mb_on_a_cpu_and_16_mb_on_a_device(monkeypatch, device, counts):
    monkeypatch.setattr(ms, "get_context", {"device_target": device}.__getitem__)
    buckets = RankMean([(1 << 20,)] * 9, 2).buckets
    assert [len(bucket) for bucket in buckets] == counts
    quarters = RankMean([(1 << 18,)] * 3, 2).buckets
    assert len(quarters) == (3 if device == "CPU" else 1)
    eighths = RankMean([(1 << 17,)] * 3, 2).buckets
    assert len(eighths) == (2 if device == "CPU" else 1)


@pytest.mark.parametrize("limit", [1, 8, 100])
def test_means_have_the_shapes_and_types_of_the_tensors(mode, monkeypatch, limit):
    """float16 goes through float32: 2048 + 3 is 2052 in float16, so that the mean would be 684, not 683.67."""
    monkeypatch.setattr(ops, "AllReduce", ThreeRanks)
    monkeypatch.setattr(rank_mean, "plan_buckets", lambda sizes, _: plan_buckets(sizes, limit))
    arrays = [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.float32(0.5),
        np.array([2048, 1], np.float16),
        np.full((2, 1, 2), -3, np.float32),
    ]
    mean = RankMean([array.shape for array in arrays], 3)
    assert len(mean.buckets) == {1: 4, 8: 2, 100: 1}[limit]
    found = mean(tuple(map(Tensor, arrays)))
    assert [each.dtype for each in found] == [mstype.float32, mstype.float32, mstype.float16, mstype.float32]
    for array, each in zip(arrays, found, strict=True):
        expected = ((array.astype(np.float64) + 3) / 3).astype(array.dtype)
        assert each.shape == array.shape
        np.testing.assert_allclose(each.asnumpy(), expected, rtol=1e-6)
