"""Few batches wait for their turn: at 256 pixels a batch of 64 takes 50 MB."""

from __future__ import annotations

import time

import mindspore.dataset as ds
import numpy as np
import pytest

from mindcv_halo.data import create_loader, create_transforms
from mindcv_halo.data.batch_finish import BatchNormalisation
from mindcv_halo.data.batch_queues import MINDDATAS_LENGTH

NUM_BATCHES = 100


@pytest.fixture
def count_ahead(monkeypatch):
    """How many batches of one image are finished when one was taken, and the next are not."""
    finished = []
    finish = BatchNormalisation.__call__

    def counted(self, images):
        finished.append(len(images))
        return finish(self, images)

    monkeypatch.setattr(BatchNormalisation, "__call__", counted)

    def count(**options) -> int:
        finished.clear()
        images = np.zeros((NUM_BATCHES, 8, 8, 3), np.uint8)
        dataset = ds.NumpySlicesDataset({"image": images, "label": np.zeros(NUM_BATCHES, np.int32)}, shuffle=False)
        transform = create_transforms("cifar10", 8, is_training=False)[-2:]
        loader = create_loader(dataset, 1, transform=transform, num_parallel_workers=2, **options)
        iterator = loader.create_tuple_iterator(num_epochs=1, output_numpy=True)
        next(iterator)
        before = 0
        while before < len(finished):
            before = len(finished)
            time.sleep(0.1)
        return before

    return count


@pytest.mark.parametrize("options", [{}, {"is_training": True, "mixup": 0.8, "num_classes": 2}])
def test_few_batches_are_prepared_ahead(count_ahead, options):
    assert count_ahead(**options) <= 8
    assert ds.config.get_prefetch_size() == MINDDATAS_LENGTH


def test_a_length_of_the_users_own_is_kept(count_ahead):
    ds.config.set_prefetch_size(20)
    try:
        assert count_ahead() > 20
        assert ds.config.get_prefetch_size() == 20
    finally:
        ds.config.set_prefetch_size(MINDDATAS_LENGTH)
