"""The parts of a long epoch, so that going on in the middle of it need not make all its batches up to there.

minddata's random operators draw one number after the other, from seeds that a pipeline takes when it is made: whoever
wants what they draw for the last image must let them draw for all the others. So a long epoch of image files is read in
parts. Each is a pipeline with seeds of its own over its own images, and what comes before it is not even listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import mindspore.dataset as ds
import numpy as np

from .sample_source import ImageFileReader, SampleDataset, list_nodes, seed_shard

# Of a part. A worker makes more than 200 images of 256 pixels a second: a whole part is made anew in eight seconds at
# most. A pipeline takes a fifth of a second to get going, which in shorter parts would count.
_IMAGES_PER_WORKER = 1536
# Operations behind which sample i still is sample i, or batch i is made of the i-th so many samples.
_ONE_FOR_ONE = (ds.MapDataset, ds.RenameDataset, ds.ProjectDataset, ds.BatchDataset)


class Loader(ds.ProjectDataset):
    """What create_loader returns: batches, which split_epoch deals out in parts.

    num_workers: that make the images.
    """

    def __init__(self, batches: ds.Dataset, columns: list[str], batch_size: int, num_workers: int):
        super().__init__(batches, columns)
        self.batch_size = batch_size
        self.batches_per_part = 0  # the epoch is one part
        *operations, leaf = list_nodes(batches)
        reads_files = isinstance(leaf, SampleDataset) and isinstance(leaf.source.read, ImageFileReader)
        if reads_files and all(isinstance(operation, _ONE_FOR_ONE) for operation in operations):
            self.batches_per_part = -(-_IMAGES_PER_WORKER * num_workers // batch_size)

    def take_part(self, first: int, last: int) -> Loader:
        """The batches from number `first` on, and before number `last`, of each epoch."""
        part = deepcopy(self)
        *operations, leaf = list_nodes(part)
        for operation in operations:
            operation.dataset_size = None
        leaf.take_samples(first * self.batch_size, last * self.batch_size)
        return part


def seed_epoch(seed: int, epoch: int, shard_id: int = 0, part: int = 0) -> int:
    """Set minddata's seed to one that belongs to (seed, epoch), and return it.

    Iterators made afterwards shuffle, augment and mix as that epoch of that run does. All ranks give the same seed, and
    their shard: they share the order of the epoch, but minddata's operators draw other numbers for each, and for each
    `part` of an epoch.
    """
    return seed_shard(_draw_seed(seed, epoch), shard_id, _draw_seed(seed, epoch, part) if part else None)


def split_epoch(
    loader: ds.Dataset, seed: int, epoch: int, shard_id: int = 0, first_batch: int = 0
) -> Iterator[ds.Dataset]:
    """The loaders that give an epoch's batches from number `first_batch` on, one after the other, each seeded.

    Make the iterator of one before you ask for the next::

        for part in split_epoch(loader, seed, epoch, first_batch=first_batch):
            for batch in part.create_dict_iterator(num_epochs=1):
                ...

    With the same batches and num_parallel_workers their images are those of an epoch without interruption, bit for bit.
    An epoch of image files has parts of 1536 images for each worker: of the batches before `first_batch` only those in
    its part are made, and left out. Any other epoch is one part, all of whose batches are made.
    """
    size = loader.get_dataset_size()
    length = getattr(loader, "batches_per_part", 0) or size
    if first_batch >= size:
        return
    for first in range(first_batch // length * length, size, length):
        last = min(first + length, size)
        seed_epoch(seed, epoch, shard_id, first // length)
        part = loader if last - first == size else loader.take_part(first, last)
        # Of a loader from which another was made a device's queue takes nothing: skip from a copy.
        yield deepcopy(part).skip(first_batch - first) if first_batch > first else part


def _draw_seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0] >> 1)
