"""Which files of a folder are images, and what is said of the others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mindcv_halo.data import IMAGE_EXTENSIONS, create_dataset
from mindcv_halo.data.folder_walk import LeftOut, walk_images
from mindcv_halo.data.image_folder import scan_image_folder
from mindcv_halo.errors import UserError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def walk(folder: Path) -> tuple[list[str], LeftOut]:
    left_out = LeftOut()
    return [os.path.relpath(path, folder) for path in walk_images(str(folder), left_out)], left_out


@pytest.mark.parametrize(
    "extension",
    [".jpg", ".JPEG", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".TIFF", ".ppm", ".pgm", ".pbm", ".tga"],
)
def test_extensions(tmp_path, extension):
    touch(tmp_path / f"image{extension}")
    assert walk(tmp_path)[0] == [f"image{extension}"]


def test_optional_formats_follow_pillow():
    from PIL import features

    names = {".webp": "webp", ".jp2": "jpg_2000", ".jpeg2000": "jpg_2000", ".avif": "avif"}
    for extension, name in names.items():
        if name in features.get_supported_modules() + features.get_supported_codecs():
            assert extension in IMAGE_EXTENSIONS


def test_nested_folders_come_in_the_order_of_torchvision(tmp_path):
    """sorted(os.walk(folder)), names sorted in each."""
    touch(
        *(
            tmp_path / name
            for name in ("b/2.jpg", "b/10.jpg", "b-c/1.jpg", "z.jpg", "a/y/1.png", "a/x.png", "b/d/0.jpg")
        )
    )
    found, left_out = walk(tmp_path)
    expected = []
    for folder, _, names in sorted(os.walk(tmp_path, followlinks=True)):
        expected += [os.path.relpath(os.path.join(folder, name), tmp_path) for name in sorted(names)]
    assert found == expected and len(found) == 7
    assert str(left_out) == "" and left_out.total == 0


def test_links_are_followed_and_cycles_end(tmp_path):
    touch(tmp_path / "elsewhere" / "linked.jpg", tmp_path / "a" / "own.jpg", tmp_path / "file.png")
    (tmp_path / "a" / "to folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "a" / "to file.png").symlink_to(tmp_path / "file.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "itself.jpg").symlink_to(tmp_path / "a" / "itself.jpg")
    found, left_out = walk(tmp_path / "a")
    assert found == ["own.jpg", "to file.png", "to folder/linked.jpg"]
    assert left_out.counts == {"links to nothing": 1, "links to folders that are read anyway": 2}


def test_what_is_left_out_is_counted_with_examples(tmp_path):
    touch(*(tmp_path / name for name in ("1.jpg", "notes.txt", "b/Thumbs.db", ".2.jpg", ".DS_Store", ".hidden/3.jpg")))
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.png")
    found, left_out = walk(tmp_path)
    assert found == ["1.jpg"]
    text = str(left_out)
    assert text.startswith("left out 5 files: ") and "\n" not in text
    for part in (
        "2 without the extension of an image, such as",
        f"1 hidden, such as {tmp_path}/.2.jpg",
        f"1 links to nothing, such as {tmp_path}/gone.jpg",
        f"1 no ordinary files, such as {tmp_path}/pipe.png",
    ):
        assert part in text


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=f"^folder {tmp_path}: Permission denied; make it readable"):
        walk(tmp_path)


@pytest.mark.parametrize("asked", ["scandir", "stat"])
def test_a_class_folder_that_cannot_be_read_is_named(make_folder, monkeypatch, asked):
    """Whether its content or its place is asked for."""
    root = make_folder({"train/a": 1, "train/b": 1})
    ask = getattr(os, asked)

    def refuse(folder, *arguments, **options):
        if str(folder).endswith("train/a"):
            raise PermissionError(13, "Permission denied")
        return ask(folder, *arguments, **options)

    monkeypatch.setattr(os, asked, refuse)
    with pytest.raises(UserError, match=f"^folder {root}/train/a: Permission denied; make it readable"):
        scan_image_folder(root, "train")


def test_a_split_knows_what_it_leaves_out(make_folder):
    root = make_folder({"train/a": 1, "train/a/deep/er": 2, "train/b": 1})
    touch(root / "train" / "stray.jpg", root / "train" / "readme.txt", root / "train" / "b" / "notes.txt")
    (root / "train" / "c").symlink_to(root / "nowhere")
    folder = scan_image_folder(root, "train")
    assert [os.path.relpath(path, root / "train") for path in folder.paths] == [
        "a/0.jpg", "a/deep/er/0.jpg", "a/deep/er/1.jpg", "b/0.jpg",
    ]  # fmt: skip
    assert folder.labels.tolist() == [0, 0, 0, 1]
    kinds = {"beside the class folders": 1, "links to nothing": 1, "without the extension of an image": 1}
    assert folder.left_out.counts == kinds
    assert create_dataset("", str(root)).left_out == str(folder.left_out)
