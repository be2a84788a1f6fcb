"""Metrics over the images of all ranks."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass

import mindspore.dataset as ds
import numpy as np
import pytest
from mindspore import nn

from mindcv_halo.engine.validate import evaluate
from mindcv_halo.runs.metrics import MetricsCounter

NUM_CLASSES = 6
LOGITS = np.random.default_rng(0).standard_normal((11, NUM_CLASSES)).astype(np.float32)
LABELS = np.arange(11, dtype=np.int32) % NUM_CLASSES


@dataclass
class Together:
    """Stands in for a ProcessGroup: what the ranks before this one have said is heard by it, the last."""

    said: list[bytes]
    is_main: bool = False

    def exchange(self, content: bytes) -> list[bytes]:
        self.said.append(content)
        return self.said


def loader(part: slice) -> ds.Dataset:
    """Its images are the logits that the network, an identity, gives."""
    columns = {"image": LOGITS[part], "label": LABELS[part]}
    return ds.NumpySlicesDataset(columns, shuffle=False).batch(4)


def expected():
    counter = MetricsCounter()
    counter.update(LOGITS, LABELS)
    return counter.result()


@pytest.mark.parametrize("parts", [[slice(0, 11)], [slice(0, 11, 2), slice(1, 11, 2)], [slice(0, 1), slice(1, 11)]])
@pytest.mark.parametrize("idle", [False, True])
def test_shares_add_up(parts, idle):
    """Whatever the shares, and with a rank that has no image."""
    group = Together([])
    for part in parts:
        found = evaluate(nn.Identity(), loader(part), 4, group)
    if idle:
        found = evaluate(nn.Identity(), None, 4, group)
    assert found.num_images == 11
    assert (found.top1, found.top5) == (expected().top1, expected().top5)
    assert found.loss == pytest.approx(expected().loss, rel=1e-12)


def test_one_process_and_its_network():
    network = nn.Identity().set_train()
    assert evaluate(network, loader(slice(None)), 4) == expected()
    assert not network.training


def test_each_batch_is_waited_for_with_a_limit():
    """Three batches, and the end."""
    waited = []

    @contextmanager
    def limit():
        waited.append("begin")
        yield
        waited.append("end")

    evaluate(nn.Identity(), loader(slice(None)), 4, limit=limit)
    assert waited == ["begin", "end"] * 4
