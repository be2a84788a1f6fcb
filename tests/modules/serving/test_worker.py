"""The worker: one job at a time, a bounded queue, and nobody waits longer than the limit."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from mindcv_halo.errors import UserError
from mindcv_halo.serving.limits import Limits, RefusedError
from mindcv_halo.serving.worker import Worker


def test_jobs_run_one_after_the_other_in_their_order():
    running, order = [], []

    def job(number: int) -> int:
        running.append(number)
        assert running == [number]
        time.sleep(0.01)
        running.pop()
        order.append(number)
        return number**2

    async def main() -> list[int]:
        worker = Worker(Limits())
        return await asyncio.gather(*(worker.run(job, number) for number in range(5)))

    assert asyncio.run(main()) == [0, 1, 4, 9, 16] and order == [0, 1, 2, 3, 4]


def test_an_error_reaches_the_one_who_asked():
    async def main() -> None:
        worker = Worker(Limits())
        with pytest.raises(UserError, match="no"):
            await worker.run(_fail)
        assert await worker.run(int, "3") == 3

    asyncio.run(main())


def _fail() -> None:
    raise UserError("no")


def test_too_late_and_too_many():
    """A job that hangs: its sender and the next one give up in time, the third place is free then, and work goes on."""
    go_on, ran = threading.Event(), []

    async def main() -> None:
        worker = Worker(Limits(timeout=1.0, max_waiting=2))
        hanging = asyncio.create_task(worker.run(go_on.wait))
        queued = asyncio.create_task(worker.run(ran.append, "queued"))
        await asyncio.sleep(0.05)
        with pytest.raises(RefusedError, match="too many images wait") as error:
            await worker.run(ran.append, "third")
        assert error.value.status == 503
        for task in (hanging, queued):
            with pytest.raises(RefusedError, match=r"took more than 1 s") as error:
                await task
            assert error.value.status == 504
        late = asyncio.create_task(worker.run(ran.append, "late"))  # the queued job has given its place back
        await asyncio.sleep(0.05)
        go_on.set()
        await late
        await worker.run(ran.append, "last")

    try:
        asyncio.run(main())
    finally:
        go_on.set()  # else pytest would wait for the worker's thread where a check above fails
    assert ran == ["late", "last"]


@pytest.mark.parametrize("name", ["max_bytes", "max_pixels", "timeout", "max_waiting"])
def test_limits_that_would_refuse_everything(name):
    with pytest.raises(UserError, match=f"{name} 0 must be above 0"):
        Limits(**{name: 0})
