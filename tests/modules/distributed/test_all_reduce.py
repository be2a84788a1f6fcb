"""Means over ranks, bucket by bucket. A cell stands in for the sum over ranks."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops
from support.ways import compiler_calls, has_kernels

from mindcv_halo import accelerate
from mindcv_halo.distributed import all_reduce as all_reduce_mean
from mindcv_halo.distributed.all_reduce import AllReduceMean, Bucket, plan_buckets

needs_kernels = pytest.mark.skipif(not has_kernels(), reason="no C++ compiler here, or no MindSpore that kernels fit")


class ThreeRanks(nn.Cell):
    """Adds what two more ranks would bring: the number 1 and the number 2 for each of this rank's."""

    def construct(self, x: Tensor) -> Tensor:
        return x + (ops.ones_like(x) + 2 * ops.ones_like(x))


class Step(nn.Cell):
    """As TrainStep, whose parameters the statistics are."""

    def __init__(self, mean: AllReduceMean, statistics: ParameterTuple):
        super().__init__(auto_prefix=False)
        self.mean = mean
        self.statistics = statistics

    def construct(self, gradients, loss):
        return self.mean(gradients, self.statistics, loss)


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


@pytest.mark.parametrize("device, counts", [("CPU", [1] * 10), ("GPU", [1, 4, 5]), ("Ascend", [1, 4, 5])])
def test_a_bucket_is_1_mb_on_a_cpu_and_16_mb_on_a_device(monkeypatch, device, counts):
    """The loss, one number more, finds room with the last tensors of a device."""
    monkeypatch.setattr(ms, "get_context", {"device_target": device}.__getitem__)
    buckets = AllReduceMean([((1 << 20) - 1,)] * 9, [], 2).buckets
    assert [bucket.end - bucket.first for bucket in buckets] == counts
    quarters = AllReduceMean([((1 << 18) - 1,)] * 3, [], 2).buckets
    assert len(quarters) == (3 if device == "CPU" else 1)
    eighths = AllReduceMean([((1 << 17) - 1,)] * 3, [], 2).buckets
    assert len(eighths) == (2 if device == "CPU" else 1)


@pytest.mark.parametrize("native", [False, pytest.param(True, marks=needs_kernels)])
@pytest.mark.parametrize("limit, num_buckets", [(1, 7), (8, 3), (100, 1)])
def test_means_of_gradients_statistics_and_loss(mode, monkeypatch, limit, num_buckets, native):
    """Vectors, arrays and numbers, in buckets of their own and together; statistics are set to theirs."""
    monkeypatch.setattr(ops, "AllReduce", ThreeRanks)
    monkeypatch.setattr(all_reduce_mean, "plan_buckets", lambda sizes, _: plan_buckets(sizes, limit))
    gradients = [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.array([2048, 1], np.float32),
        np.full((2, 1, 2), -3, np.float32),
        np.ones(1, np.float32),
    ]
    statistics = [np.array([1, 5, 7], np.float32), np.array([0.5], np.float32)]
    loss = np.float32(0.25)
    mean = AllReduceMean([array.shape for array in gradients], [array.shape for array in statistics], 3)
    assert len(mean.buckets) == num_buckets
    if native:
        accelerate(mean)
    parameters = ParameterTuple(Parameter(Tensor(array), name=f"p{index}") for index, array in enumerate(statistics))
    step = Step(mean, parameters)
    for times in (1, 2):
        found, mean_loss = step(tuple(map(Tensor, gradients)), Tensor(loss))
        statistics = [(array + 3) / 3 for array in statistics]
        for array, each in zip([*gradients, loss], [*found, mean_loss], strict=True):
            assert each.shape == array.shape, times
            np.testing.assert_allclose(each.asnumpy(), (array + 3) / 3, rtol=1e-6)
        for array, each in zip(statistics, parameters, strict=True):
            np.testing.assert_allclose(each.asnumpy(), array, rtol=1e-6)


def test_more_tensors_than_one_split_compiles(graph, monkeypatch):
    """Each part of a split costs MindSpore three calls inside calls, of which it allows a thousand.

    Here a quarter of the tensors may take a quarter of the calls, in a fraction of the time.
    """
    assert all_reduce_mean.MOST_TENSORS == 128
    monkeypatch.setattr(all_reduce_mean, "MOST_TENSORS", 32)
    monkeypatch.setattr(ops, "AllReduce", ThreeRanks)
    mean = AllReduceMean([(1,)] * 75, [], 3)
    with compiler_calls(1000 // 4):
        found, _ = mean(tuple(Tensor(np.zeros(1, np.float32)) for _ in range(75)), (), Tensor(np.float32(0)))
    assert [bucket.end - bucket.first for bucket in mean.buckets] == [12, 32, 32]
    assert {float(each.asnumpy()[0]) for each in found} == {1.0}


@pytest.mark.parametrize("native", [False, pytest.param(True, marks=needs_kernels)])
def test_more_tensors_than_any_model_has(graph, monkeypatch, native):
    """Compiled: MindSpore allows a thousand calls inside calls. halonet_h7's step has 714 tensors in 164 buckets.

    Here an eighth of a thousand tensors may take an eighth of the calls, in a fraction of the time.
    """
    monkeypatch.setattr(ops, "AllReduce", ThreeRanks)
    monkeypatch.setattr(all_reduce_mean, "plan_buckets", lambda sizes, _: plan_buckets(sizes, 5))
    count = 120
    shapes = [(2,), (1, 2), (1,), (3, 2)] * (count // 4)
    tensors = tuple(Tensor(np.full(shape, number, np.float32)) for number, shape in enumerate(shapes))
    mean = AllReduceMean(shapes, [], 3)
    with compiler_calls(count):
        found, _ = (accelerate(mean) if native else mean)(tensors, (), Tensor(np.float32(0)))
    assert len(mean.buckets) > count / 2
    assert [float(each.asnumpy().min()) for each in found] == pytest.approx([(i + 3) / 3 for i in range(count)])
