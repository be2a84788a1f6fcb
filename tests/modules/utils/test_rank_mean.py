"""Means over ranks, bucket by bucket. A cell stands in for the sum over ranks."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from mindcv_halo.utils import rank_mean
from mindcv_halo.utils.rank_mean import Bucket, RankMean, plan_buckets


class ThreeRanks(nn.Cell):
    """Adds what two more ranks would bring: the number 1 and the number 2 for each of this rank's."""

    def construct(self, x: Tensor) -> Tensor:
        return x + (ops.ones_like(x) + 2 * ops.ones_like(x))


@pytest.mark.parametrize(
    "sizes, limit, expected",
    [
        ([3, 4], 7, [(0, 2)]),
        ([3, 4], 6, [(0, 1), (1, 2)]),
        ([2, 9, 2], 4, [(0, 1), (1, 2), (2, 3)]),  # a tensor is never cut
        ([1, 1, 1, 1], 3, [(0, 1), (1, 4)]),
        ([5], 4, [(0, 1)]),
        ([], 4, []),
    ],
)
def test_buckets(sizes, limit, expected):
    assert plan_buckets(sizes, limit) == tuple(Bucket(*ends) for ends in expected)


@pytest.mark.parametrize("device, counts", [("CPU", [1] * 9), ("GPU", [1, 4, 4]), ("Ascend", [1, 4, 4])])
def test_a_bucket_is_1_mb_on_a_cpu_and_16_mb_on_a_device(monkeypatch, device, counts):
    monkeypatch.setattr(ms, "get_context", {"device_target": device}.__getitem__)
    buckets = RankMean([(1 << 20,)] * 9, 2).buckets
    assert [bucket.end - bucket.first for bucket in buckets] == counts
    quarters = RankMean([(1 << 18,)] * 3, 2).buckets
    assert len(quarters) == (3 if device == "CPU" else 1)
    eighths = RankMean([(1 << 17,)] * 3, 2).buckets
    assert len(eighths) == (2 if device == "CPU" else 1)


@pytest.mark.parametrize("limit, num_buckets", [(1, 5), (8, 2), (100, 1)])
def test_means_have_the_shapes_of_the_tensors(mode, monkeypatch, limit, num_buckets):
    """Vectors, arrays and numbers, in buckets of their own and together."""
    monkeypatch.setattr(ops, "AllReduce", ThreeRanks)
    monkeypatch.setattr(rank_mean, "plan_buckets", lambda sizes, _: plan_buckets(sizes, limit))
    arrays = [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.float32(0.5),
        np.array([2048, 1], np.float32),
        np.full((2, 1, 2), -3, np.float32),
        np.ones(1, np.float32),
    ]
    mean = RankMean([array.shape for array in arrays], 3)
    assert len(mean.buckets) == num_buckets
    found = mean(tuple(map(Tensor, arrays)))
    for array, each in zip(arrays, found, strict=True):
        assert each.shape == array.shape
        np.testing.assert_allclose(each.asnumpy(), (array + 3) / 3, rtol=1e-6)


def test_more_tensors_than_any_model_has(monkeypatch):
    """Compiled: MindSpore allows a thousand calls inside calls. halonet_h7's step has 714 tensors in 164 buckets."""
    monkeypatch.setattr(ops, "AllReduce", ThreeRanks)
    monkeypatch.setattr(rank_mean, "plan_buckets", lambda sizes, _: plan_buckets(sizes, 5))
    monkeypatch.setattr(rank_mean, "CPU_BUCKET", 5)
    shapes = [(2,), (1, 2), (), (3, 2)] * 250
    tensors = tuple(Tensor(np.full(shape, number, np.float32)) for number, shape in enumerate(shapes))
    before = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        mean = RankMean(shapes, 3)
        found = mean(tensors)
    finally:
        ms.set_context(mode=before)
    assert len(mean.buckets) == 500
    assert [float(each.asnumpy().min()) for each in found] == pytest.approx([(i + 3) / 3 for i in range(1000)])
