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

from ..errors import UserError
from .bad_images import BadImages
from .decoding import read_decodable
from .storage import DISK, Files

KEY_COLUMN = "sample_key"
_FILES_PER_TASK = 8  # a thread's task is long enough to outweigh the cost of handing it over
_MOST_AHEAD = 512 << 20  # bytes that threads read ahead; large images that Pillow decoded take much

EpochOrder = Callable[[int, int], tuple[np.ndarray, np.ndarray]]

_run_seeds: dict[int, int] = {}  # minddata's seed -> the run's, where they differ


def seed_shard(seed: int, shard_id: int, drawing: int | None = None) -> int:
    """Set minddata's seed to one of this shard's own, and return it.

    minddata's operators then draw other numbers on each shard; the order and the keys of samples stay those of `seed`.
    `drawing`: what they draw from in place of `seed`.
    """
    own = (seed if drawing is None else drawing) + shard_id
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

    Where `read` raises UserError, so does the iterator, unless `bad_images` is there to find a sample in its place; all
    copies of the source share it.
    """

    def __init__(
        self,
        read: Callable[[int], np.ndarray],
        labels: np.ndarray,
        plan: EpochOrder,
        *,
        num_threads: int = 1,
        bad_images: BadImages | None = None,
    ):
        self.read = read
        self.labels = labels
        self.plan = plan
        self.num_threads = num_threads
        self.bad_images = bad_images
        self.failures: list[UserError] = []  # what ended an iterator, of this source or a copy of it
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
        for key, (label, image) in zip(keys, self._read_ahead(indices, keys), strict=True):
            yield (image, label, key) if self.keyed else (image, label)

    def begin(self, seed: int) -> SampleSource:
        """A copy at epoch 0 of the seed that minddata has."""
        fresh = copy.copy(self)
        fresh.seed, fresh.epoch = run_seed(seed), 0
        return fresh

    def order(self, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """(indices, repeats) of an epoch of the seed that minddata has."""
        return self.plan(run_seed(seed), epoch)

    def take(self, first: int, last: int) -> SampleSource:
        """A copy that gives the samples from position `first` on, and before `last`, of each epoch."""
        part = copy.copy(self)
        part.plan = lambda seed, epoch: tuple(column[first:last] for column in self.plan(seed, epoch))
        return part

    def with_keys(self) -> SampleSource:
        """A copy whose samples have a key as third column, from which transforms draw."""
        keyed = copy.copy(self)
        keyed.keyed = True
        return keyed

    def _read_ahead(self, indices: np.ndarray, keys: np.ndarray) -> Iterator[tuple[np.int32, np.ndarray]]:
        """The label and the image for each index."""
        if self.num_threads == 1:
            yield from map(self._read_sample, indices, keys)
            return
        starts = range(0, len(indices), _FILES_PER_TASK)
        tasks = ((indices[start : start + _FILES_PER_TASK], keys[start : start + _FILES_PER_TASK]) for start in starts)
        with ThreadPoolExecutor(self.num_threads) as pool:
            waiting = deque(pool.submit(self._read_many, *task) for task in islice(tasks, 1))
            while waiting:
                samples = waiting.popleft().result()
                size = sum(image.nbytes for _, image in samples)
                ahead = max(1, min(2 * self.num_threads, _MOST_AHEAD // size))
                waiting.extend(
                    pool.submit(self._read_many, *task) for task in islice(tasks, max(0, ahead - len(waiting)))
                )
                yield from samples

    def _read_many(self, indices: np.ndarray, keys: np.ndarray) -> list[tuple[np.int32, np.ndarray]]:
        return list(map(self._read_sample, indices, keys))

    def _read_sample(self, index: int, key: np.ndarray) -> tuple[np.int32, np.ndarray]:
        try:
            if self.bad_images is not None:
                return self.bad_images.read(self.read, index, key)
            return self.labels[index], self.read(index)
        except UserError as error:
            advice = "" if self.bad_images is not None else ", or set skip_bad_images"
            failure = UserError(f"{error}{advice}")
            self.failures.append(failure)
            raise failure from None


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

    `left_out` says which files of a folder are no images of the data set, or where files were found that are not in
    data_dir, and "" if there is nothing to say. `name` is the data set's name (see dataset_names.py), and `class_names`
    the classes in the order of their labels, if it has any.
    """

    def __init__(
        self,
        source: SampleSource | PositionKeys,
        columns: Sequence[str] = ("image", "label"),
        left_out: str = "",
        name: str = "",
        class_names: Sequence[str] = (),
    ):
        super().__init__(source, list(columns), num_parallel_workers=1, shuffle=False)
        self.left_out = left_out
        self.name = name
        self.class_names = tuple(class_names)

    def with_keys(self) -> SampleDataset:
        """The same samples with a third column, their keys."""
        columns = ("image", "label", KEY_COLUMN)
        return SampleDataset(self.source.with_keys(), columns, self.left_out, self.name, self.class_names)

    def take_samples(self, first: int, last: int) -> None:
        """Keep the samples from position `first` on, and before `last`, of each epoch."""
        self.source = self.source.take(first, last)
        self.source_len, self.dataset_size = len(self.source), None

    def num_classes(self) -> int | None:
        return len(self.class_names) or None

    def get_class_indexing(self) -> dict[str, int]:
        return {name: label for label, name in enumerate(self.class_names)}

    @property
    def may_leave_out(self) -> bool:
        """Whether some samples may be none, which drop_left_out takes out of a batch."""
        bad_images = getattr(self.source, "bad_images", None)
        return bad_images is not None and not bad_images.replaces

    @property
    def skipped(self) -> tuple[str, ...]:
        """One text for each file that was to be read so far and cannot be decoded, where such files are skipped."""
        bad_images = getattr(self.source, "bad_images", None)
        return () if bad_images is None else tuple(bad_images.errors.values())

    def parse(self, children=None):
        """MindSpore calls this for every new iterator."""
        self.source = self.source.begin(ds.config.get_seed())
        return super().parse(children)


def list_nodes(dataset: ds.Dataset) -> list[ds.Dataset]:
    """`dataset`, the first input of its operation, the first input of that one's, ..., and their leaf."""
    nodes = [dataset]
    while nodes[-1].children:
        nodes.append(nodes[-1].children[0])
    return nodes


def find_leaf(dataset: ds.Dataset) -> ds.Dataset:
    """The data set that the first of each operation's inputs comes from, as minddata looks for classes."""
    return list_nodes(dataset)[-1]


_minddatas_num_classes = ds.Dataset.num_classes


def _num_classes(dataset: ds.Dataset) -> int | None:
    leaf = find_leaf(dataset)
    return leaf.num_classes() if isinstance(leaf, SampleDataset) else _minddatas_num_classes(dataset)


# minddata passes get_class_indexing() on to what map and the others make of a data set, but looks num_classes() up in
# nodes of C++, which a data set in Python does not have.
ds.Dataset.num_classes = _num_classes


class ImageFileReader:
    """read(index) -> the bytes of `paths[index]`, as minddata's decoder takes them, turned by their EXIF if `exif`.

    The paths lead into `storage`.
    """

    def __init__(self, paths: Sequence[str], exif: bool = False, storage: Files = DISK):
        self.paths = paths
        self.exif = exif
        self.storage = storage

    def __call__(self, index: int) -> np.ndarray:
        return np.frombuffer(read_decodable(self.paths[index], self.exif, self.storage), np.uint8)


def clamp_workers(num_parallel_workers: int | None) -> int:
    """At most one worker per processor: minddata refuses more."""
    processors = os.cpu_count() or 1
    if num_parallel_workers is None:
        return min(ds.config.get_num_parallel_workers(), processors)
    return max(1, min(num_parallel_workers, processors))
