"""A long epoch in parts: the images and the draws of an epoch without interruption, and no more read than one part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mindspore.dataset as ds
import numpy as np
import pytest
from mindspore.dataset import vision

from mindcv_halo.data import create_dataset, create_loader, create_transforms, epoch_parts, seed_epoch, split_epoch
from mindcv_halo.data.sample_source import ImageFileReader, find_leaf, run_seed
from mindcv_halo.engine.batches import read_batches
from mindcv_halo.errors import UserError

SEED, EPOCH = 7, 5
FULL = {"auto_augment": "randaug-m9-n2-mstd0.5-inc1", "re_prob": 0.5, "color_jitter": 0.4}


@pytest.fixture
def root(make_folder, monkeypatch) -> Path:
    """17 images, eight of which make a part."""
    monkeypatch.setattr(epoch_parts, "_IMAGES_PER_WORKER", 4)
    return make_folder({"train/a": 8, "train/b": 9})


@pytest.fixture
def read_files(monkeypatch) -> list[str]:
    """The files that were read."""
    files: list[str] = []
    read = ImageFileReader.__call__
    monkeypatch.setattr(
        ImageFileReader, "__call__", lambda reader, index: files.append(reader.paths[index]) or read(reader, index)
    )
    return files


def train_loader(root: Path, **options) -> epoch_parts.Loader:
    dataset = create_dataset("", str(root), num_parallel_workers=2, **options)
    transform = create_transforms("", 32, True, **FULL)
    return create_loader(dataset, 2, True, True, mixup=0.8, num_classes=2, transform=transform, num_parallel_workers=2)


def read_epoch(loader: ds.Dataset, first_batch: int = 0, epoch: int = EPOCH) -> list[tuple[np.ndarray, np.ndarray]]:
    parts = split_epoch(loader, SEED, epoch, first_batch=first_batch)
    return [batch for part in parts for batch in read_batches(part)]


def same(batches: list, others: list) -> bool:
    return len(batches) == len(others) and all(
        np.array_equal(array, other)
        for batch, twin in zip(batches, others, strict=True)
        for array, other in zip(batch, twin, strict=True)
    )


@pytest.mark.parametrize("options", [{}, {"num_aug_repeats": 3}])
def test_a_long_epoch_goes_on_bit_for_bit(root, read_files, options):
    """From the middle of a part, and from the first batch of one; what lies before that part is not read."""
    whole = read_epoch(train_loader(root, **options))
    following = read_epoch(train_loader(root, **options), epoch=EPOCH + 1)
    assert len(whole) == 8 and not same(whole, following)
    for first_batch, batches_read in [(1, 8), (3, 8), (4, 4), (6, 4), (7, 4)]:
        read_files.clear()
        resumed = train_loader(root, **options)
        assert same(read_epoch(resumed, first_batch), whole[first_batch:])
        assert len(read_files) <= 2 * batches_read + 1  # the last image makes no batch
        assert same(read_epoch(resumed, epoch=EPOCH + 1), following)
    assert read_epoch(train_loader(root, **options), first_batch=8) == []


def test_nothing_is_left_of_an_epoch_that_is_done(root):
    """Where its last part is shorter, too: of that no pipeline is made."""
    (root / "train/b/8.jpg").unlink()
    (root / "train/b/7.jpg").unlink()
    (root / "train/b/6.jpg").unlink()
    loader = train_loader(root)
    assert len(read_epoch(loader)) == loader.get_dataset_size() == 7
    assert list(split_epoch(loader, SEED, EPOCH, first_batch=7)) == []


def test_parts_have_the_images_of_the_epoch(root, read_files):
    loader = train_loader(root)
    read_epoch(loader)
    seed_epoch(SEED, EPOCH)
    source = find_leaf(loader).source
    order, _ = source.order(ds.config.get_seed(), 0)
    assert set(read_files) == {source.read.paths[index] for index in order[:16]}  # the last makes no batch


def test_every_part_of_every_shard_draws_from_its_own_seed(root):
    """And all of them share the seed of the order."""
    loader = train_loader(root)
    own, shared = set(), set()
    for epoch in range(2):
        for shard_id in range(2):
            for _ in split_epoch(loader, SEED, epoch, shard_id):
                own.add(ds.config.get_seed())
                shared.add(run_seed(ds.config.get_seed()))
    assert len(own) == 8 and len(shared) == 2


def test_minddatas_operators_draw_on(root):
    """The flips of the second part are not those of the first over again."""

    def flips(first_batch: int) -> list[bool]:
        def load(transform: list[Callable]) -> np.ndarray:
            loader = create_loader(
                create_dataset("", str(root)), 4, True, True, transform=transform, num_parallel_workers=1
            )
            return read_epoch(loader, first_batch)[0][0]

        plain, flipped = load([vision.Decode()]), load([vision.Decode(), vision.RandomHorizontalFlip()])
        return [not np.array_equal(image, other) for image, other in zip(plain, flipped, strict=True)]

    assert flips(0) != flips(1)


def test_what_is_short_or_quickly_made_is_one_part(root, make_arrays, monkeypatch):
    """It draws as an iterator does that was made after seed_epoch."""
    arrays = create_dataset("mnist", str(make_arrays("mnist")))
    cut = create_dataset("", str(root)).take(16)
    transform = [vision.Decode(), vision.Resize((8, 8))]
    assert create_loader(arrays, 1, is_training=True, transform=[]).batches_per_part == 0
    assert create_loader(cut, 1, is_training=True, transform=transform).batches_per_part == 0
    monkeypatch.setattr(epoch_parts, "_IMAGES_PER_WORKER", 1536)
    loader = train_loader(root)
    parts = read_epoch(loader, first_batch=3)
    seed_epoch(SEED, EPOCH)
    assert same(parts, list(loader.create_tuple_iterator(num_epochs=1, output_numpy=True))[3:])


def test_the_sizes_of_parts(root, monkeypatch):
    """Whole batches, more of them where more workers make them."""
    monkeypatch.undo()
    loader = train_loader(root)
    assert loader.batches_per_part == 1536
    assert epoch_parts.Loader(loader, ["image", "label"], 100, 8).batches_per_part == 123


def test_a_bad_image_of_a_later_part_is_named(root, read_files):
    """And does no harm before it is reached."""
    read_epoch(train_loader(root))
    Path(read_files[12]).write_bytes(b"no image")
    first, second = (read_batches(part) for part in split_epoch(train_loader(root), SEED, EPOCH))
    assert len(list(first)) == 4
    with pytest.raises(UserError, match="no known image format"):
        list(second)
