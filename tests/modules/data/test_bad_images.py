"""Samples that cannot be decoded: what stands in for them in training, and what evaluation does without."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from mindspore.dataset import vision
from mindspore.dataset.transforms import OneHot
from PIL import Image

from mindcv_halo.data import create_dataset, create_loader, seed_epoch
from mindcv_halo.engine.batches import check_image_files, read_batches
from mindcv_halo.errors import UserError

BAD = ("b/2.png", "b/5.png")


@pytest.fixture
def folder(tmp_path) -> Path:
    """train/{a,b}: eight images each, whose pixels are their number; two of b are damaged inside."""
    for label, name in enumerate("ab"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(8):
            pixels = (
                np.random.default_rng(number).integers(0, 2, (60, 60, 3), dtype=np.uint8) + 20 * number + 10 * label
            )
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "train" / name / f"{number}.png")
    for name in BAD:
        path = tmp_path / "train" / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2 : len(content) // 2 + 50] = bytes(50)
        path.write_bytes(content)
    return tmp_path


def open_folder(folder: Path, *, is_training: bool, num_threads: int = 1, **options):
    dataset = create_dataset(
        "", str(folder), skip_bad_images=True, shuffle=is_training, num_parallel_workers=num_threads, **options
    )
    transform = [vision.Decode(), vision.Resize((60, 60))]  # without effect but on what is left out
    loader = create_loader(dataset, 4, is_training=is_training, transform=transform, num_parallel_workers=1)
    return dataset, loader


def read(loader, skip: int = 0) -> tuple[list[int], list[int]]:
    """Of each image its first pixel, less the noise, and its label."""
    batches = list(read_batches(loader.skip(skip) if skip else loader))
    values = [int(image[..., 0].min()) for images, _ in batches for image in images]
    return values, [int(label) for _, labels in batches for label in labels]


@pytest.mark.parametrize("num_threads", [1, 2])
def test_another_of_its_class_stands_in(folder, num_threads, caplog):
    """The same one whatever reads it, so that a resumed epoch goes on with the same images."""
    logging.getLogger("mindcv_halo").propagate = True
    seed_epoch(7, 0)
    dataset, loader = open_folder(folder, is_training=True, num_threads=num_threads)
    assert dataset.get_dataset_size() == 16 and loader.get_dataset_size() == 4
    values, labels = read(loader)
    assert len(values) == 16 and np.bincount(labels).tolist() == [8, 8]
    assert {0, 10, 20} < set(values) and {50, 110}.isdisjoint(values)  # 20 * 2 + 10, 20 * 5 + 10
    assert all((value // 10) % 2 == label for value, label in zip(values, labels, strict=True))
    seed_epoch(7, 0)
    alone = read(open_folder(folder, is_training=True)[1])
    assert alone == (values, labels)
    seed_epoch(7, 0)
    assert read(open_folder(folder, is_training=True, num_threads=num_threads)[1], skip=2) == (values[8:], labels[8:])


def test_each_is_named_once(folder, caplog):
    logging.getLogger("mindcv_halo").propagate = True
    dataset, loader = open_folder(folder, is_training=True, num_threads=2)
    for epoch in range(3):
        seed_epoch(7, epoch)
        read(loader)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2 and all(any(str(folder / "train" / name) in line for line in said) for name in BAD)
    assert all("another image stands in for it (skip_bad_images, " in line for line in said)
    assert len(dataset.skipped) == 2


@pytest.mark.parametrize("num_shards", [1, 2])
def test_evaluation_goes_on_without(folder, num_shards):
    values = []
    for shard in range(num_shards):
        options = {"num_shards": num_shards, "shard_id": shard}
        dataset, loader = open_folder(folder, is_training=False, num_threads=2, **options)
        for _ in range(2):  # again: what is left out the first time is so the second
            seen, labels = read(loader)
            assert all((value // 10) % 2 == label for value, label in zip(seen, labels, strict=True))
        assert len(seen) + len(dataset.skipped) == 16 // num_shards
        values += seen
    assert len(values) == 14 and {50, 110}.isdisjoint(values)


def test_a_batch_of_nothing_is_left_out_too(folder):
    for number in range(4):
        (folder / "train" / "a" / f"{number}.png").write_bytes(b"no image")
    dataset, loader = open_folder(folder, is_training=False)
    sizes = [len(labels) for _, labels in read_batches(loader)]
    assert sizes == [4, 3, 3] and loader.get_dataset_size() == 4 and len(dataset.skipped) == 6
    assert [label for _, label in dataset.create_tuple_iterator(num_epochs=1, output_numpy=True)].count(-1) == 6


def test_what_is_left_out_stays_so_through_other_operations(folder):
    """The first eight of b are left, of which two are bad."""
    dataset = create_dataset("", str(folder), shuffle=False, skip_bad_images=True)
    loader = create_loader(dataset.skip(8), 4, transform=[vision.Decode(), vision.Resize((60, 60))])
    labels = [label for batch in loader.create_dict_iterator(1, output_numpy=True) for label in batch["label"].tolist()]
    assert labels == [1] * 6


@pytest.mark.parametrize("options", [{"is_training": True}, {"target_transform": OneHot(2)}])
def test_what_cannot_leave_samples_out(folder, options):
    """The label of such a sample is none: minddata's OneHot would end the process."""
    dataset, _ = open_folder(folder, is_training=False)
    with pytest.raises(UserError, match=r"skip_bad_images leaves samples out .* create_dataset\(is_training=True\)"):
        create_loader(dataset, 4, transform=[vision.Decode()], **options)


def test_one_iterator_over_two_epochs(folder):
    loader = open_folder(folder, is_training=False)[1]
    iterator = loader.create_tuple_iterator(num_epochs=2, output_numpy=True)
    assert [sum(len(labels) for _, labels in iterator) for _ in range(2)] == [14, 14]


def test_training_shards_are_as_long_as_each_other(folder):
    seed_epoch(7, 0)
    counts = [
        len(read(open_folder(folder, is_training=True, num_shards=3, shard_id=shard)[1])[0]) for shard in range(3)
    ]
    assert counts == [6, 6, 6]


def test_a_class_without_good_images_gets_one_of_another(folder):
    for path in (folder / "train" / "b").iterdir():
        path.write_bytes(b"no image")
    values, labels = read(open_folder(folder, is_training=True)[1])
    assert len(values) == 16 and set(labels) == {0}


def test_no_good_image_at_all(folder):
    for path in (folder / "train").glob("*/*"):
        path.write_bytes(b"no image")
    loader = open_folder(folder, is_training=True)[1]
    with pytest.raises(UserError, match=r"^no image is left: bad image file .*png: .* \(and 15 more\)$"):
        check_image_files(loader)
    with pytest.raises(UserError, match="^none of the 16 images can be decoded; the first: bad image file"):
        read(loader)


def test_without_the_flag_the_error_says_what_to_do(folder):
    loader = create_loader(create_dataset("", str(folder), shuffle=False), 4, transform=[vision.Decode()])
    check_image_files(loader)  # which looks at both ends of a file only
    with pytest.raises(UserError, match=r"bad image file .*b/2.png: .*; remove or replace it, or set skip_bad_images$"):
        read(loader)
