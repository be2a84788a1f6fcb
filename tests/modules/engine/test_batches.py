"""Waiting for batches, without a limit by oneself, with one where others wait; and a device's queue of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import mindspore.dataset as ds
import numpy as np
import pytest
from support.device_queue import DeviceQueue

from mindcv_halo.config import make_recipe
from mindcv_halo.data import split_epoch
from mindcv_halo.distributed import watchdog
from mindcv_halo.distributed.process_group import ONE_PROCESS, ProcessGroup
from mindcv_halo.engine.batches import limit_batches, read_batches, run_from_queue

OPTIONS = make_recipe({"data_timeout": 0.2}).run


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """What a process would have ended with."""
    texts: list[str] = []
    monkeypatch.setattr(watchdog, "_give_up", lambda text, record: texts.append(text))
    return texts


def slow_loader(seconds: float) -> ds.Dataset:
    """Two batches of one image; the second takes its time."""

    def generate():
        for number in range(2):
            time.sleep(number * seconds)
            yield np.full(3, number, np.float32), np.int32(number)

    return ds.GeneratorDataset(generate, ["image", "label"], shuffle=False).batch(1)


@pytest.mark.parametrize(
    "group, seconds, texts",
    [
        (ONE_PROCESS, 0.6, set()),
        (
            ProcessGroup(1, 2),
            0.6,
            {"error: rank 1: no batch for 0.2 s (data_timeout): its data hangs; --resume True goes on"},
        ),
    ],
)
def test_a_rank_whose_data_hangs_says_so(said, group, seconds, texts):
    batches = list(read_batches(slow_loader(seconds), limit_batches(OPTIONS, group)))
    assert [label.tolist() for _, label in batches] == [[0], [1]]
    assert set(said) == texts  # a busy machine may keep it waiting for the first batch too


def test_only_waiting_for_a_batch_is_limited():
    """What is done with it may take long."""
    waits = []

    @contextmanager
    def limit():
        waits.append("waits")
        yield
        waits.append("has it")

    for _ in read_batches(slow_loader(0), limit):
        assert waits[-1] == "has it"
    assert waits == ["waits", "has it"] * 3  # the last finds the end


def test_every_epoch_has_a_queue_of_its_own(monkeypatch):
    """So has every part of one. The first goes on where another run was interrupted, and the last is interrupted."""
    queue = DeviceQueue().put_in_place(monkeypatch)
    loader = ds.NumpySlicesDataset(np.arange(6), "image", shuffle=False).batch(2)

    def run_epoch(since: int) -> Iterator[int]:
        for part in split_epoch(loader, seed=0, epoch=0, first_batch=since):
            for value in run_from_queue(lambda images: images.sum(), part):
                yield int(value)

    assert list(run_epoch(1)) == [5, 9]
    assert list(run_epoch(0)) == [1, 5, 9]
    epoch = run_epoch(0)
    assert next(epoch) == 1 and queue.num_open == 1
    epoch.close()
    assert queue.num_open == 0
