"""Who visits which sample, for every small size and number of shards."""

from __future__ import annotations

import numpy as np
import pytest

from mindcv_halo.data.distributed_sampler import epoch_order

SIZES = range(1, 14)


def orders(size: int, num_shards: int, **options) -> list[np.ndarray]:
    return [epoch_order(size, num_shards=num_shards, shard_id=rank, **options) for rank in range(num_shards)]


@pytest.mark.parametrize("num_shards", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("num_samples", [None, 5])
def test_evaluation_visits_every_sample_once(num_shards, num_samples):
    for size in SIZES:
        shards = orders(size, num_shards, shuffle=False, num_samples=num_samples)
        assert sorted(np.concatenate(shards)) == list(range(min(size, num_samples or size)))
        lengths = [len(shard) for shard in shards]
        assert lengths == sorted(lengths, reverse=True) and lengths[0] - lengths[-1] <= 1


@pytest.mark.parametrize("num_shards", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("num_samples", [None, 5])
def test_training_deals_out_what_one_process_visits(num_shards, num_samples):
    """One by one and in its order: n steps of any number of ranks have seen the same images. Some come twice."""
    for size in SIZES:
        options = {"shuffle": True, "seed": 3, "epoch": 2, "num_samples": num_samples}
        whole = epoch_order(size, **options)
        assert len(set(whole)) == len(whole) == min(size, num_samples or size)
        shards = orders(size, num_shards, **options)
        assert {len(shard) for shard in shards} == {-(-len(whole) // num_shards)}
        dealt = np.stack(shards, axis=1).ravel()
        np.testing.assert_array_equal(dealt[: len(whole)], whole)
        assert len(dealt) - len(whole) < num_shards and set(dealt) == set(whole)


def test_orders_follow_seed_and_epoch():
    def order(**options) -> list[int]:
        return epoch_order(12, shuffle=True, **options).tolist()

    assert order(seed=1, epoch=1) == order(seed=1, epoch=1)
    assert len({tuple(order(seed=seed, epoch=epoch)) for seed in range(3) for epoch in range(3)}) == 9
    assert order(seed=1) != sorted(order(seed=1)) == list(range(12))
