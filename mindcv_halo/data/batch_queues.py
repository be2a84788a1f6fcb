"""Operators on batches whose queues are short.

minddata puts a queue of 16 entries behind each operator, and two more for each of its workers: right for images, and
gigabytes for batches, which are prepared no sooner for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import mindspore.dataset as ds

MINDDATAS_LENGTH = 16  # of a queue, unless ds.config.set_prefetch_size says another
BATCHES_AHEAD = 1  # entries of each queue


class _ShortQueues:
    """Makes minddata's operator in C++ with short queues; another length that the user set is kept."""

    def parse(self, children=None):
        with _queue_length(BATCHES_AHEAD):
            return super().parse(children)


class Batches(_ShortQueues, ds.BatchDataset):
    """dataset.batch(...), with short queues."""


class BatchMap(_ShortQueues, ds.MapDataset):
    """batches.map(...), with short queues."""


@contextmanager
def _queue_length(length: int) -> Iterator[None]:
    """The length of the queues of nodes that are made meanwhile."""
    before = ds.config.get_prefetch_size()
    if before != MINDDATAS_LENGTH:
        yield
        return
    ds.config.set_prefetch_size(length)
    try:
        yield
    finally:
        ds.config.set_prefetch_size(before)
