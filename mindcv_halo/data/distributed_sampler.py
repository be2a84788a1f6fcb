"""Which samples an epoch visits, in which order, on which shard."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import UserError


def epoch_order(
    size: int,
    *,
    shuffle: bool,
    seed: int = 0,
    epoch: int = 0,
    num_shards: int = 1,
    shard_id: int = 0,
    num_samples: int | None = None,
) -> np.ndarray:
    """The indices that shard `shard_id` visits in one epoch: int64, each in [0, size).

    Shuffled (training), all shards are equally long: the permutation, the same on every shard, starts over to fill the
    last round, so up to num_shards - 1 samples are seen twice. In order (evaluation), every sample is in exactly one
    shard, and shards may differ by one in length: shard i takes i, i + num_shards, ... `num_samples` are the first so
    many of the epoch, over all shards.
    """
    if not shuffle:
        return np.arange(size, dtype=np.int64)[:num_samples][shard_id::num_shards]
    order = np.random.default_rng([seed, epoch]).permutation(size)[:num_samples]
    rounds = -(-len(order) // num_shards)
    return np.resize(order, rounds * num_shards)[shard_id::num_shards]


def check_shards(num_shards: int | None, shard_id: int | None) -> tuple[int, int]:
    """(num_shards, shard_id) as numbers, (1, 0) if neither is given; UserError if they do not fit each other."""
    if (num_shards is None) != (shard_id is None):
        raise UserError(f"num_shards={num_shards} and shard_id={shard_id} belong together: give both or neither")
    if num_shards is None:
        return 1, 0
    if not 0 <= shard_id < num_shards:
        raise UserError(f"shard_id={shard_id} is not in [0, num_shards={num_shards})")
    return num_shards, shard_id


class RepeatAugSampler:
    """Repeated augmentation: every sample comes `num_repeats` times in a row, dealt out to the shards in turn.

    An epoch stays as long as without repeats (so it visits about size / num_repeats different samples), rounded down
    to a multiple of `selected_round` if there are that many samples; 0 turns the rounding off.
    Iterating yields indices in [0, dataset_size); `order` also gives the number of each repeat.
    Source: Hoffer et al. 2020, arXiv:1901.09335; Touvron et al. 2021, arXiv:2012.12877 (the rounding).
    """

    def __init__(
        self,
        dataset_size: int,
        num_shards: int | None = None,
        rank_id: int | None = None,
        shuffle: bool = True,
        num_repeats: int = 3,
        selected_round: int = 256,
    ):
        self.num_shards, self.rank_id = check_shards(num_shards, rank_id)
        self.dataset_size = dataset_size
        self.shuffle = shuffle
        self.num_repeats = num_repeats
        self.seed = 0
        self.epoch = 0
        selected = dataset_size
        if selected_round and dataset_size >= selected_round:
            selected = dataset_size // selected_round * selected_round
        self.num_selected_samples = -(-selected // self.num_shards)

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iterator is of, counted from 0."""
        self.epoch = epoch

    def order(self, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """(indices, repeats) of this shard in one epoch: the index of each sample and which of its repeats it is."""
        base = epoch_order(self.dataset_size, shuffle=self.shuffle, seed=seed, epoch=epoch)
        slots = self.rank_id + self.num_shards * np.arange(self.num_selected_samples)
        slots %= self.dataset_size * self.num_repeats
        return base[slots // self.num_repeats], slots % self.num_repeats

    def __len__(self) -> int:
        return self.num_selected_samples

    def __iter__(self) -> Iterator[int]:
        return iter(self.order(self.seed, self.epoch)[0].tolist())
