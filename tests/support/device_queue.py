"""A stand-in for the queue out of which a device takes its batches: a CPU has none."""

from __future__ import annotations

from collections.abc import Callable

import mindspore as ms
import pytest
from mindspore import Tensor
from mindspore.dataset import Dataset


class DeviceQueue:
    """As mindspore.data_sink, it takes each loader once, and only one of which nothing else was made."""

    def __init__(self):
        self.num_open = 0

    def put_in_place(self, monkeypatch: pytest.MonkeyPatch) -> DeviceQueue:
        monkeypatch.setattr(ms, "data_sink", self.open)
        monkeypatch.setattr(ms.runtime, "synchronize", lambda: None)
        return self

    def open(self, step: Callable[..., Tensor], loader: Dataset) -> Callable[[], Tensor]:
        assert not hasattr(loader, "__transfer_dataset__") and not loader.parent
        loader.__transfer_dataset__ = self
        batches = loader.create_tuple_iterator(num_epochs=1)
        self.num_open += 1
        return lambda: step(*next(batches))

    def stop_send(self) -> None:
        assert self.num_open == 1

    def release(self) -> None:
        self.num_open -= 1
