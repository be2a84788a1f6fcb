"""One thread that computes, so that the others can go on answering."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from .limits import Limits, RefusedError

T = TypeVar("T")


class Worker:
    """Runs one job after the other. A job that is too late is taken out of the queue; one that runs already goes on,
    because nothing can stop it, and its result is dropped.
    """

    def __init__(self, limits: Limits):
        self.limits = limits
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="prediction")
        self._places = threading.BoundedSemaphore(limits.max_waiting)

    async def run(self, job: Callable[..., T], *arguments: Any) -> T:
        """Raises RefusedError: 503 if too many jobs wait already, 504 if this one is not done in time."""
        if not self._places.acquire(blocking=False):
            raise RefusedError(503, "too many images wait already; try again in a moment")
        future = self._executor.submit(job, *arguments)
        future.add_done_callback(lambda _: self._places.release())
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self.limits.timeout)
        except asyncio.TimeoutError:
            raise RefusedError(504, f"the prediction took more than {self.limits.timeout:g} s") from None

    def close(self) -> None:
        """Let the running job end, and drop those that wait."""
        self._executor.shutdown(wait=False, cancel_futures=True)
