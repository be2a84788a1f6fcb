"""Images out of a zip or a tar are those of the folder that was packed, and no archive does harm."""

from __future__ import annotations

import copy
import io
import os
import pickle
import re
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from mindspore.dataset import vision
from PIL import Image
from support.hostile_archives import PACKERS, hostile_archives, pack_tar, pack_zip

from mindcv_halo.data import create_dataset, create_loader, create_transforms, find_bad_images, seed_epoch
from mindcv_halo.data.decoding import find_decode_error
from mindcv_halo.data.image_folder import list_class_folders, scan_image_folder
from mindcv_halo.engine.batches import check_image_files, find_loaded_images
from mindcv_halo.errors import UserError


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """Three images of two classes, not in the order of their names."""
    contents = {}
    for number, name in enumerate(("train/a/1.png", "train/b/x/0.png", "train/b/10.png")):
        pixels = np.random.default_rng(number).integers(0, 256, (6, 7, 3), dtype=np.uint8)
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "PNG")
        contents[name] = content.getvalue()
    return contents


@pytest.fixture
def folder(files, tmp_path) -> Path:
    """images/{train,val}, with what is left out between them, and its archives beside it."""
    others = {"train/stray.png": b"", "train/b/notes.txt": b"x", "train/b/.2.png": b"x", "train/c/0.png": b"no image"}
    validation = {name.replace("train", "val"): content for name, content in files.items()}
    everything = {**files, **others, **validation}
    for name, content in everything.items():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name, pack in PACKERS.items():
        (tmp_path / name).write_bytes(pack(everything))
    within = {f"images/{name}": content for name, content in everything.items()}
    (tmp_path / "top.zip").write_bytes(pack_zip({"images/": b"", **within, "__MACOSX/images/train/._1.png": b"x"}))
    (tmp_path / "top.tar").write_bytes(pack_tar({f"./{name}": content for name, content in within.items()}))
    return tmp_path


ARCHIVES = (*PACKERS, "top.zip", "top.tar")


@pytest.mark.parametrize("name", ARCHIVES)
def test_the_same_images(folder, name):
    on_disk, packed = (scan_image_folder(folder / root, "train") for root in ("images", name))
    below = len(f"{on_disk.folder}/")
    assert [path[below:] for path in on_disk.paths] == ["a/1.png", "b/10.png", "b/x/0.png", "c/0.png"]
    inside = len(f"{packed.folder}/")
    assert [path[inside:] for path in packed.paths] == [path[below:] for path in on_disk.paths]
    assert packed.class_names == on_disk.class_names and packed.labels.tolist() == on_disk.labels.tolist()
    assert packed.left_out.counts == on_disk.left_out.counts and packed.left_out.total == 3
    assert all(path.startswith(f"{folder / name}/") for path in packed.paths)
    for path, twin in zip(packed.paths, on_disk.paths, strict=True):
        content = Path(twin).read_bytes()
        assert packed.storage.read(path) == content and packed.storage.size(path) == len(content)
        assert packed.storage.read_ends(path, 12) == on_disk.storage.read_ends(twin, 12)
        assert packed.storage.read_ends(path, 9999) == (content, content)
    assert list_class_folders(folder / name, "val") == ["a", "b"] and list_class_folders(folder / name, "test") == []
    expected = [line.replace("/images/", "/") for line in find_bad_images(str(folder / "images"), "train")]
    assert [
        line.replace(f"/{name}/", "/").replace("/images/", "/") for line in find_bad_images(str(folder / name), "train")
    ] == expected and len(expected) == 1


@pytest.mark.parametrize("name", ARCHIVES)
def test_the_same_batches(folder, name):
    """In training, where another image stands in for the one that is bad, and in validation."""
    found = []
    for root in ("images", name):
        seed_epoch(5, 1)
        dataset = create_dataset("", str(folder / root), skip_bad_images=True, num_parallel_workers=2)
        transform = create_transforms("", 8, True)
        loader = create_loader(dataset, 2, is_training=True, transform=transform, mixup=0.8, num_classes=3)
        check_image_files(loader)
        found.append([*loader.create_tuple_iterator(num_epochs=1, output_numpy=True)])
        dataset = create_dataset("", str(folder / root), "val", shuffle=False)
        loader = create_loader(dataset, 3, transform=[vision.Decode()])
        check_image_files(loader)
        found[-1] += loader.create_tuple_iterator(num_epochs=1, output_numpy=True)
        images = find_loaded_images(loader)
        np.testing.assert_array_equal([images.read(position) for position in range(3)], found[-1][-1][0])
        assert [len(labels) for _, labels in found[-1]] == [2, 2, 3]
    for batch, twin in zip(*found, strict=True):
        for array, other in zip(batch, twin, strict=True):
            np.testing.assert_array_equal(array, other)


@pytest.mark.parametrize("name", ["images", *PACKERS])
def test_a_bad_image_is_named(folder, name):
    dataset = create_dataset("", str(folder / name))
    with pytest.raises(UserError, match=rf"^bad image file {folder / name}/train/c/0.png: .*, or set skip_bad_images$"):
        check_image_files(create_loader(dataset, 2, transform=[vision.Decode()]))


@pytest.mark.parametrize("name", ["images", *PACKERS])
@pytest.mark.parametrize(
    "split, names, message",
    [
        ("test", None, "split 'test' is no folder in {root}; it has train, val; choose one of them, or correct"),
        ("train/a", None, "{root}/train/a has no class folders; images belong in"),
        ("train", ["a", "b"], "{root}/train: c is none of the 2 classes of the model"),
        ("train/b", None, "class folder {root}/train/b/y holds no image; put files with"),
    ],
)
def test_errors_are_those_of_a_folder(folder, files, name, split, names, message):
    more = {"train/b/y/notes.txt": b"x"}
    (folder / "images/train/b/y").mkdir()
    (folder / "images/train/b/y/notes.txt").write_bytes(b"x")
    if name in PACKERS:
        (folder / name).write_bytes(PACKERS[name]({**files, "train/c/0.png": b"x", "val/a/0.png": b"x", **more}))
    with pytest.raises(UserError, match=re.escape(message.format(root=folder / name))):
        create_dataset("", str(folder / name), split, class_names=names)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["images.zip", "images.tar"])
def test_the_last_of_two_files_of_a_name_counts(files, tmp_path, name):
    """As `tar -r` leaves them, and as it is when they are unpacked. In a zip what stands before a file has any length:
    the program zip notes its times there."""
    members = [("train/a/1.png", b"old"), *files.items()]
    if name == "images.zip":
        with zipfile.ZipFile(tmp_path / name, "w") as packed:
            for member, content in members:
                entry = zipfile.ZipInfo(member)
                entry.extra = b"UT\x05\0\x03\0\0\0\0"
                packed.writestr(entry, content)
    else:
        with tarfile.open(tmp_path / name, "w") as packed:
            for member, content in members:
                entry = tarfile.TarInfo(member)
                entry.size = len(content)
                packed.addfile(entry, io.BytesIO(content))
    images = scan_image_folder(tmp_path / name, "train")
    assert [images.storage.read(path) for path in images.paths] == [
        files[f"train/{path.partition('/train/')[2]}"] for path in images.paths
    ]
    assert len(images.paths) == 3


def test_links_within_a_tar(files, tmp_path):
    """As tar writes them of a folder: the second name of a file, and a link beside it."""
    image = files["train/a/1.png"]
    links = {
        "train/a/hard.png": {"type": b"1", "linkname": "train/a/1.png"},
        "train/a/soft.png": {"type": b"2", "linkname": "../b/./x/0.png"},
        "train/a/twice.png": {"type": b"2", "linkname": "soft.png"},
        "train/a/gone.png": {"type": b"2", "linkname": "2.png"},
    }
    (tmp_path / "images.tar").write_bytes(pack_tar({**files, **dict.fromkeys(links, b"")}, **links))
    images = scan_image_folder(tmp_path / "images.tar", "train")
    contents = {Path(path).name: images.storage.read(path) for path in images.paths if "/a/" in path}
    other = files["train/b/x/0.png"]
    assert contents == {"1.png": image, "hard.png": image, "soft.png": other, "twice.png": other}
    assert images.left_out.counts == {"links to nothing": 1}


def test_both_splits_share_one_open_archive(folder):
    train, val = (scan_image_folder(folder / "images.tar", split).storage for split in ("train", "val"))
    assert train is val is copy.deepcopy(train) is pickle.loads(pickle.dumps(train))
    os.utime(folder / "images.tar", (0, 0))
    assert scan_image_folder(folder / "images.tar", "val").storage is not val


def test_an_archive_that_shrinks_meanwhile(folder):
    images = scan_image_folder(folder / "stored.zip", "train")
    os.truncate(folder / "stored.zip", 100)
    assert all("the archive is cut off" in find_decode_error(path, images.storage) for path in images.paths[1:])


def test_an_archive_that_must_not_be_read(folder, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UserError, match="images.tar': Permission denied; make it readable, or move it away"):
        scan_image_folder(folder / "images.tar", "train")


def test_no_ordinary_file(tmp_path):
    os.mkfifo(tmp_path / "images.zip")
    with pytest.raises(UserError, match="is no folder and no ordinary file; give a folder, or a zip or tar archive"):
        create_dataset("", str(tmp_path / "images.zip"))


def test_hostile_archives(files, tmp_path):
    """Each is refused with a text of one line, or its images are decoded or refused one by one."""
    path = tmp_path / "images.x"
    for what, content, message in hostile_archives(files):
        path.write_bytes(content)
        try:
            images = scan_image_folder(path, "train")
            errors = list(filter(None, [find_decode_error(file, images.storage) for file in images.paths]))
        except UserError as error:
            errors = [str(error)]
            assert message, f"{what}: {error}"
        assert not message or re.search(message, "".join(errors)), f"{what}: {errors}"
        assert all(str(path) in error and error.isprintable() for error in errors), f"{what}: {errors}"


@pytest.mark.parametrize("name", PACKERS)
def test_damage_anywhere(files, tmp_path, name):
    """A changed byte shows, or changes nothing that is read; a tar has no checksum of what its files hold."""
    whole = PACKERS[name](files)
    rng = np.random.default_rng(0)
    path = tmp_path / name
    for _ in range(60):
        content = bytearray(whole)
        at = int(rng.integers(len(whole)))
        content[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(content if rng.random() < 0.8 else content[:at])
        try:
            images = scan_image_folder(path, "train")
            found = [images.storage.read(file) for file in images.paths if not find_decode_error(file, images.storage)]
        except UserError:
            continue
        assert name == "images.tar" or set(found) <= set(files.values())
