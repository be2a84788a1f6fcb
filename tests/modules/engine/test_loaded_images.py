"""Image i of LoadedImages is the i-th that the loader gives, whatever the loader does."""

from __future__ import annotations

import struct
from pathlib import Path

import mindspore.dataset as ds
import numpy as np
import pytest
from mindspore.dataset import vision
from PIL import Image

from mindcv_halo.data import create_dataset, create_loader, create_transforms, seed_epoch
from mindcv_halo.engine.batches import find_loaded_images


@pytest.fixture
def folder(tmp_path) -> Path:
    """val/{cat,dog}: five images each, whose first pixel is their number; dog/2.png is none."""
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "val" / name).mkdir(parents=True)
        for number in range(5):
            pixels = np.full((6, 4, 3), 10 * label + number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "val" / name / f"{number}.png")
    (tmp_path / "val" / "dog" / "2.png").write_bytes(b"none")
    return tmp_path


@pytest.fixture
def mnist(tmp_path) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (7, 28, 28), dtype=np.uint8)
    labels = np.arange(7, dtype=np.uint8)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, 7, 28, 28) + images.tobytes())
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, 7) + labels.tobytes())
    return tmp_path


def check(loader: ds.Dataset):
    """The loader gives undecoded or unchanged images, so that pixels can be compared."""
    images = find_loaded_images(loader)
    position = 0
    for batch in loader.create_dict_iterator(num_epochs=1, output_numpy=True):
        for image, label in zip(batch["image"], batch["label"], strict=True):
            np.testing.assert_array_equal(images.read(position), image)
            assert images.labels[position] == label
            position += 1
    assert position == len(images.paths) == len(images.labels)
    return images


@pytest.mark.parametrize("shuffle", [False, True])
def test_files(folder, shuffle):
    """Files that turn out to be bad, and are left out, do not move the others."""
    seed_epoch(3, 1)
    dataset = create_dataset("", str(folder), "val", shuffle=shuffle, skip_bad_images=True, is_training=False)
    loader = create_loader(dataset, 4, transform=[vision.Decode(), vision.Resize((6, 4))])
    list(loader.create_tuple_iterator(num_epochs=1))
    images = check(loader)
    for position, path in enumerate(images.paths):
        label, number = ("cat", "dog").index(Path(path).parent.name), int(Path(path).stem)
        assert images.labels[position] == label
        assert images.read(position)[0, 0, 0] == 10 * label + number
    assert len(images.paths) == 9
    assert (list(images.paths) == sorted(images.paths)) is not shuffle


@pytest.mark.parametrize("shard_id", [0, 1])
def test_a_shard(folder, shard_id):
    (folder / "val" / "dog" / "2.png").unlink()
    seed_epoch(3, 1, shard_id)
    dataset = create_dataset("", str(folder), "val", num_shards=2, shard_id=shard_id)
    assert len(check(create_loader(dataset, 4, transform=[vision.Decode()])).paths) == 5


@pytest.mark.parametrize("shuffle", [False, True])
def test_arrays(mnist, shuffle):
    dataset = create_dataset("mnist", str(mnist), "val", shuffle=shuffle, num_samples=5)
    images = check(create_loader(dataset, 2, transform=[]))
    assert images.read(0).shape == (28, 28, 1)
    np.testing.assert_array_equal([int(path.removeprefix("image ")) for path in images.paths], images.labels)


def test_the_loader_of_a_validation(folder):
    """With all its transforms, read twice: the order is still that of the files."""
    dataset = create_dataset("", str(folder), "val", shuffle=False, skip_bad_images=True)
    loader = create_loader(dataset, 2, transform=create_transforms("", 8, False))
    list(loader.create_tuple_iterator(num_epochs=1))
    images = find_loaded_images(loader)
    assert [Path(path).name for path in images.paths] == [f"{number}.png" for number in (0, 1, 2, 3, 4, 0, 1, 3, 4)]
