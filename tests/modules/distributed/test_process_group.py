"""What ranks say to each other arrives bit for bit. The ranks are threads, and a sum over them is their AllReduce."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from mindspore import Parameter, Tensor, ops
from support.limits import LAST_RESORT

from mindcv_halo.distributed import process_group
from mindcv_halo.distributed.process_group import ONE_PROCESS, ProcessGroup

SIZE = 3
FLOATS = np.array([-0.0, 0.0, np.inf, -np.inf, 1e-45, 3.4e38], np.float32)
NANS = np.array([0x7FC00001, 0xFFC12345, 0x7F800001], np.uint32).view(np.float32)  # one of them signals
LARGE = np.array([2**63 - 1, -(2**63), 2**53 + 1, -1], np.int64)


class Meeting:
    """Stands in for ops.AllReduce: the threads that call it leave with the float32 sum of what they brought."""

    def __init__(self):
        self.place = threading.local()
        self.brought: list[np.ndarray | None] = [None] * SIZE
        self.barrier = threading.Barrier(SIZE, timeout=LAST_RESORT)
        self.sizes: list[int] = []  # of what rank 0 brought

    def __call__(self, tensor: Tensor) -> Tensor:
        values = tensor.asnumpy()
        assert values.dtype == np.float32
        self.brought[self.place.rank] = values
        if self.place.rank == 0:
            self.sizes.append(values.size)
        self.barrier.wait()
        total = np.sum(self.brought, axis=0)
        self.barrier.wait()
        return Tensor(total)

    def run(self, task: Callable[[ProcessGroup], Any]) -> list[Any]:
        """What `task` returns on each rank."""

        def run_rank(rank: int) -> Any:
            self.place.rank = rank
            try:
                return task(ProcessGroup(rank, SIZE))
            except BaseException:
                self.barrier.abort()
                raise

        with ThreadPoolExecutor(SIZE) as pool:
            return list(pool.map(run_rank, range(SIZE)))


@pytest.fixture
def meeting(monkeypatch) -> Meeting:
    meeting = Meeting()
    monkeypatch.setattr(ops, "AllReduce", lambda: meeting)
    return meeting


def test_the_sum(meeting):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    for total in meeting.run(lambda group: group.sum(values * 10**group.rank)):
        np.testing.assert_array_equal(total, 111 * values)


def test_nobody_goes_on_before_all_are_there(meeting):
    arrived = []

    def task(group: ProcessGroup) -> int:
        arrived.append(group.rank)
        group.wait()
        return len(arrived)

    assert meeting.run(task) == [SIZE] * SIZE


@pytest.mark.parametrize(
    "contents",
    [
        [b"", b"", b""],
        [b"", b"a", b""],
        [b"abc", b"", b"\0"],
        [b"\0\0\0", b"\xff\xff\xff", b"\xff"],
        [FLOATS.tobytes(), NANS.tobytes(), LARGE.tobytes()],
        [np.arange(1 << 16, dtype=np.uint16).tobytes(), b"short", b"odd"],
    ],
)
def test_each_rank_hears_all(meeting, contents):
    assert meeting.run(lambda group: group.exchange(contents[group.rank])) == [contents] * SIZE


@pytest.mark.parametrize(
    "content, sizes",
    [(b"", []), (b"a", [1]), (b"abcdef", [3]), (b"abcdefg", [3, 1]), (bytes(range(40)) + b"\0", [3] * 7)],
)
def test_a_broadcast_goes_in_chunks(meeting, monkeypatch, content, sizes):
    monkeypatch.setattr(process_group, "_CHUNK", 3)
    heard = meeting.run(lambda group: group.broadcast(content if group.is_main else b"ignored" * group.rank))
    assert heard == [content] * SIZE
    assert meeting.sizes[2:] == sizes  # after the exchange of the length


def make_parameters(rank: int) -> list[Parameter]:
    """Of several types and shapes; ranks differ in every number."""
    arrays = {
        "floats": np.concatenate([FLOATS, NANS]).reshape(3, 3),
        "large": LARGE,
        "half": np.array([1.5, -0.0, 65504, 6e-8, 1], np.float16),
        "flags": np.array([True, False, True]),
        "count": np.array(7, np.int32),
    }
    return [
        Parameter(Tensor(value if rank == 0 else np.full_like(value, rank + 1)), name=name)
        for name, value in arrays.items()
    ]


def bits(parameters: list[Parameter]) -> list[tuple]:
    return [(item.name, item.shape, str(item.dtype), item.asnumpy().tobytes()) for item in parameters]


def test_parameters_are_those_of_rank_0(meeting):
    parameters = [make_parameters(rank) for rank in range(SIZE)]
    expected = bits(parameters[0])
    assert expected != bits(parameters[1])
    meeting.run(lambda group: group.broadcast_parameters(parameters[group.rank]))
    assert [bits(each) for each in parameters] == [expected] * SIZE


def test_a_broadcast_that_loses_a_bit_is_noticed_by_all(meeting, monkeypatch):
    broadcast = ProcessGroup.broadcast

    def broken(self: ProcessGroup, content: bytes) -> bytes:
        heard = broadcast(self, content)
        return heard if self.rank != 1 else bytes([heard[0] ^ 1]) + heard[1:]

    monkeypatch.setattr(ProcessGroup, "broadcast", broken)
    complaints = meeting.run(lambda group: complaint(group, [Parameter(Tensor([1.0, 2.0]), name="weight")]))
    assert complaints == ["ranks [1] do not hold the weights of rank 0 after the broadcast"] * SIZE


def test_ranks_with_other_parameters_are_noticed(meeting):
    names = ["weight", "weight", "bias"]
    complaints = meeting.run(lambda group: complaint(group, [Parameter(Tensor([1.0]), name=names[group.rank])]))
    assert complaints == ["ranks [2] do not hold the weights of rank 0 after the broadcast"] * SIZE


def complaint(group: ProcessGroup, parameters: list[Parameter]) -> str:
    with pytest.raises(RuntimeError) as caught:
        group.broadcast_parameters(parameters)
    return str(caught.value)


def test_one_process_says_everything_to_itself(monkeypatch):
    monkeypatch.setattr(ops, "AllReduce", None)
    values = np.arange(3, dtype=np.float32)
    ONE_PROCESS.wait()
    np.testing.assert_array_equal(ONE_PROCESS.sum(values), values)
    assert ONE_PROCESS.is_main and ONE_PROCESS.exchange(b"abc") == [b"abc"] and ONE_PROCESS.broadcast(b"abc") == b"abc"
    parameters = make_parameters(0)
    ONE_PROCESS.broadcast_parameters(parameters)
    assert bits(parameters) == bits(make_parameters(0))
