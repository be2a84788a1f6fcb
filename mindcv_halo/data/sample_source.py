"""Samples as a minddata source whose order, and whose random keys, follow from the seed alone."""

from __future__ import annotations

import copy
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import mindspore.dataset as ds
import numpy as np

from .decoding import read_decodable

KEY_COLUMN = "sample_key"
_FILES_PER_TASK = 8  # a thread's task is long enough to outweigh the cost of handing it over

EpochOrder = Callable[[int, int], tuple[np.ndarray, np.ndarray]]

_run_seeds: dict[int, int] = {}  # minddata's seed -> the run's, where they differ


def seed_shard(seed: int, shard_id: int) -> int:
    """Set minddata's seed to one of this shard's own, and return it.

    minddata's operators then draw other numbers on each shard; the order and the keys of samples stay those of `seed`.
    """
    own = seed + shard_id
    ds.config.set_seed(own)
    _run_seeds.clear()
    _run_seeds[own] = seed
    return own


def run_seed(seed: int) -> int:
    """The seed that all shards share, for one that minddata has: itself, unless seed_shard made it."""
    return _run_seeds.get(seed, seed)


class SampleSource:
    """Yields (image, label) or, if `keyed`, (image, label, sample_key) for one epoch after the other.

    image: what `read(index)` returns, a uint8 array; label: int32; sample_key: int64 [seed, epoch, number], where
    number is unique in the epoch and the same whichever shard, thread or restart meets the sample. `plan(seed, epoch)`
    gives the indices and which repeat of its sample each one is, for the seed that all shards share.
    """

    def __init__(
        self, read: Callable[[int], np.ndarray], labels: np.ndarray, plan: EpochOrder, *, num_threads: int = 1
    ):
        self.read = read
        self.labels = labels
        self.plan = plan
        self.num_threads = num_threads
        self.keyed = False
        self.seed = 0
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.plan(0, 0)[0])

    def __iter__(self) -> Iterator[tuple]:
        indices, repeats = self.plan(self.seed, self.epoch)
        numbers = indices + repeats * len(self.labels)
        keys = np.stack([np.full_like(numbers, self.seed), np.full_like(numbers, self.epoch), numbers], axis=1)
        self.epoch += 1
        for index, key, image in zip(indices, keys, self._read_ahead(indices), strict=True):
            yield (image, self.labels[index], key) if self.keyed else (image, self.labels[index])

    def begin(self, seed: int) -> SampleSource:
        """A copy at epoch 0 of the seed that minddata has."""
        fresh = copy.copy(self)
        fresh.seed, fresh.epoch = run_seed(seed), 0
        return fresh

    def order(self, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """(indices, repeats) of an epoch of the seed that minddata has."""
        return self.plan(run_seed(seed), epoch)

    def with_keys(self) -> SampleSource:
        """A copy whose samples have a key as third column, from which transforms draw."""
        keyed = copy.copy(self)
        keyed.keyed = True
        return keyed

    def _read_ahead(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        if self.num_threads == 1:
            yield from map(self.read, indices)
            return
        tasks = (indices[start : start + _FILES_PER_TASK] for start in range(0, len(indices), _FILES_PER_TASK))
        with ThreadPoolExecutor(self.num_threads) as pool:
            waiting = deque(pool.submit(self._read_many, task) for task in islice(tasks, 2 * self.num_threads))
            while waiting:
                images = waiting.popleft().result()
                waiting.extend(pool.submit(self._read_many, task) for task in islice(tasks, 1))
                yield from images

    def _read_many(self, indices: np.ndarray) -> list[np.ndarray]:
        return [self.read(index) for index in indices]


class PositionKeys:
    """Yields (sample_key,) for a data set that is not ours: int64 [seed, epoch, position in the epoch]."""

    def __init__(self, size: int):
        self.size = size
        self.seed = 0
        self.epoch = 0

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[tuple]:
        epoch = self.epoch
        self.epoch += 1
        return ((np.array([self.seed, epoch, position], np.int64),) for position in range(self.size))

    def begin(self, seed: int) -> PositionKeys:
        fresh = PositionKeys(self.size)
        fresh.seed = seed
        return fresh


class SampleDataset(ds.GeneratorDataset):
    """The minddata view of a source: every new iterator starts at epoch 0 of the seed that ds.config has by then.

    `skipped` holds one text for each file that was left out because it cannot be decoded, `name` the data set's name
    (see dataset_names.py), and `class_names` the classes in the order of their labels, if it has any.
    """

    def __init__(
        self,
        source: SampleSource | PositionKeys,
        columns: Sequence[str] = ("image", "label"),
        skipped: Sequence[str] = (),
        name: str = "",
        class_names: Sequence[str] = (),
    ):
        super().__init__(source, list(columns), num_parallel_workers=1, shuffle=False)
        self.skipped = tuple(skipped)
        self.name = name
        self.class_names = tuple(class_names)

    def with_keys(self) -> SampleDataset:
        """The same samples with a third column, their keys."""
        columns = ("image", "label", KEY_COLUMN)
        return SampleDataset(self.source.with_keys(), columns, self.skipped, self.name, self.class_names)

    def num_classes(self) -> int | None:
        return len(self.class_names) or None

    def get_class_indexing(self) -> dict[str, int]:
        return {name: label for label, name in enumerate(self.class_names)}

    def parse(self, children=None):
        """MindSpore calls this for every new iterator."""
        self.source = self.source.begin(ds.config.get_seed())
        return super().parse(children)


def find_leaf(dataset: ds.Dataset) -> ds.Dataset:
    """The data set that the first of each operation's inputs comes from, as minddata looks for classes."""
    while dataset.children:
        dataset = dataset.children[0]
    return dataset


_minddatas_num_classes = ds.Dataset.num_classes


def _num_classes(dataset: ds.Dataset) -> int | None:
    leaf = find_leaf(dataset)
    return leaf.num_classes() if isinstance(leaf, SampleDataset) else _minddatas_num_classes(dataset)


# minddata passes get_class_indexing() on to what map and the others make of a data set, but looks num_classes() up in
# nodes of C++, which a data set in Python does not have.
ds.Dataset.num_classes = _num_classes


class ImageFileReader:
    """read(index) -> the bytes of `paths[index]`, as minddata's decoder takes them."""

    def __init__(self, paths: Sequence[str]):
        self.paths = paths

    def __call__(self, index: int) -> np.ndarray:
        return np.frombuffer(read_decodable(self.paths[index]), np.uint8)


def clamp_workers(num_parallel_workers: int | None) -> int:
    """At most one worker per processor: minddata refuses more."""
    processors = os.cpu_count() or 1
    if num_parallel_workers is None:
        return min(ds.config.get_num_parallel_workers(), processors)
    return max(1, min(num_parallel_workers, processors))
