"""The list of a large folder is that of a walk, whoever made it; a folder that changed is walked anew."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mindcv_halo.data import folder_index, image_folder
from mindcv_halo.data.image_folder import ImageFolder, scan_image_folder
from mindcv_halo.errors import UserError

NAMES = ("a/1.jpg", "a/0.jpg", "a/notes.txt", "a/deep/er/2.jpg", "b/3.png", "b/.4.png", "c/5.jpg", "stray.jpg")


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A folder of six images, which counts as large, long at rest."""
    monkeypatch.setenv("MINDCV_HALO_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(folder_index, "LARGE", 6)
    monkeypatch.setattr(folder_index, "_SECONDS_AT_REST", 0)
    for name in NAMES:
        path = tmp_path / "images" / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "6.jpg").touch()
    os.symlink(tmp_path / "elsewhere", tmp_path / "images" / "train" / "c" / "link")
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/images/train/c/\xff.jpg"))).touch()
    rest()
    return tmp_path / "images"


def rest() -> None:
    """Until the clock of the file system has moved on."""
    time.sleep(0.02)


@pytest.fixture
def walks(monkeypatch) -> list[str]:
    """The folders that were walked for their images, each time."""
    folders: list[str] = []
    walk = image_folder._walk
    monkeypatch.setattr(
        image_folder, "_walk", lambda disk, folder, names: folders.append(str(folder)) or walk(disk, folder, names)
    )
    return folders


def scan(root: Path) -> tuple:
    return describe(scan_image_folder(root, "train"))


def describe(images: ImageFolder) -> tuple:
    return images.folder, images.class_names, images.paths, images.labels.tolist(), str(images.left_out)


def walk_anew(root: Path) -> tuple:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder_index, "LARGE", 1 << 40)
        return scan(root)


def find_index(root: Path) -> Path:
    (file,) = (root.parent / "cache" / "folders").glob("*.index")
    return file


def test_it_is_walked_once(root, walks):
    expected = walk_anew(root)
    assert len(expected[2]) == 7 and "2 files" not in expected[4] and "stray.jpg" in expected[4]
    assert scan(root) == expected and len(walks) == 2
    assert scan(root) == expected and len(walks) == 2
    assert scan_image_folder(root, "train").labels.dtype == "int32"
    assert scan_image_folder(root, "train", ["c", "x", "b", "a"]).labels.tolist() == [3, 3, 3, 2, 0, 0, 0]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root.parent)
        assert scan(Path("images"))[2] == tuple(os.path.relpath(path, root.parent) for path in expected[2])
    assert len(walks) == 2


def retarget(train: Path) -> None:
    (train / "c" / "link").unlink()
    (train.parent / "other").mkdir()
    (train.parent / "other" / "7.jpg").touch()
    os.symlink(train.parent / "other", train / "c" / "link")


def put_times_back(train: Path) -> None:
    status = (train / "b").stat()
    (train / "b" / "9.jpg").touch()
    os.utime(train / "b", ns=(status.st_atime_ns, status.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file more": lambda train: (train / "b" / "9.jpg").touch(),
    "a file less": lambda train: (train / "a" / "1.jpg").unlink(),
    "a file renamed": lambda train: (train / "a" / "1.jpg").rename(train / "a" / "10.jpg"),
    "a file moved": lambda train: (train / "a" / "1.jpg").rename(train / "b" / "1.jpg"),
    "far below": lambda train: (train / "a" / "deep" / "er" / "9.jpg").touch(),
    "behind a link": lambda train: (train.parents[1] / "elsewhere" / "9.jpg").touch(),
    "another link": retarget,
    "a class renamed": lambda train: (train / "b").rename(train / "d"),
    "a class more": lambda train: ((train / "d").mkdir(), (train / "d" / "1.jpg").touch()),
    "a stray more": lambda train: (train / "stray.png").touch(),
    "times put back": put_times_back,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_noticed(root, walks, change):
    before = scan(root)
    change(root / "train")
    rest()
    after = scan(root)
    assert after != before and len(walks) == 2
    assert after == walk_anew(root)
    assert scan(root) == after and len(walks) == 3


def test_a_class_that_was_emptied_is_an_error(root):
    scan(root)
    (root / "train" / "b" / "3.png").unlink()
    with pytest.raises(UserError, match="holds no image"):
        scan(root)


def sign(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def change_header(**changes) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        header, _, names = data.partition(b"\n")[2].partition(b"\n")
        return sign(json.dumps({**json.loads(header), **changes}).encode() + b"\n" + names)

    return change


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut off": lambda data: data[:-1],
    "a name changed": lambda data: data.replace(b"0.jpg", b"7.jpg"),
    "no text": lambda data: sign(b"\xff" * 100),
    "no table": lambda data: sign(b"[]\n"),
    "a deep table": lambda data: sign(b"[" * 100_000),
    "another version": change_header(key=[0]),
    "no stamps": change_header(stamps=None),
    "fewer images": change_header(runs=[["a", 1, 0]]),
    "more images": change_header(runs=[["a", 100, 0]]),
    "odd places": change_header(runs=[[None, 7, 0]]),
    "odd labels": change_header(runs=[["a", 7, "x"]]),
    "odd notes": change_header(left_out=3, examples=None),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_list_is_made_anew(root, walks, damage):
    expected = scan(root)
    file = find_index(root)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert scan(root) == expected and len(walks) == 2
    assert file.read_bytes() == whole


@pytest.mark.parametrize("kind", ["writable", "link", "pipe", "folder"])
def test_what_others_can_have_written_is_not_read(root, walks, kind):
    expected = scan(root)
    file = find_index(root)
    if kind == "writable":
        file.chmod(0o660)
    else:
        file.rename(file.with_name("moved"))
        {"link": lambda: os.symlink("moved", file), "pipe": lambda: os.mkfifo(file), "folder": file.mkdir}[kind]()
    assert scan(root) == expected and len(walks) == 2


def test_a_cache_that_cannot_be_written_does_no_harm(root, walks):
    expected = walk_anew(root)
    (root.parent / "cache").write_text("a file")
    assert scan(root) == scan(root) == expected and len(walks) == 3


def test_a_folder_that_changes_is_not_kept(root, walks, monkeypatch):
    """Nor one whose file system may not tell of changes."""
    monkeypatch.setattr(folder_index, "_SECONDS_AT_REST", 10)
    scan(root)
    monkeypatch.setattr(folder_index, "_SECONDS_AT_REST", 0)
    device = os.stat(root).st_dev
    mounts = root.parent / "mounts"
    mounts.write_text(f"22 27 {os.major(device)}:{os.minor(device)} / /mnt rw shared:1 - fuse.objects bucket rw\n")
    monkeypatch.setattr(folder_index, "_MOUNTS", str(mounts))
    scan(root)
    assert len(walks) == 2 and not list((root.parent / "cache" / "folders").glob("*.index"))


def test_several_processes_make_one_walk(root, walks, monkeypatch):
    """They start at the same time, here as threads: each opens the lock for itself."""
    walk, start = image_folder._walk, threading.Barrier(4)

    def slow_walk(disk, folder, names):
        time.sleep(0.2)
        return walk(disk, folder, names)

    def start_and_scan(_: int) -> tuple:
        start.wait()
        return scan(root)

    monkeypatch.setattr(image_folder, "_walk", slow_walk)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(start_and_scan, range(4)))
    assert len(walks) == 1 and results == [walk_anew(root)] * 4


def test_who_waited_in_vain_walks_by_itself(root, walks):
    """Another process has the lock, and ends without a list."""
    scan(root)
    file = find_index(root)
    file.unlink()
    with file.with_suffix(".lock").open() as lock, ThreadPoolExecutor(1) as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = pool.submit(scan, root)
        time.sleep(0.1)
        assert not waiting.done() and len(walks) == 1
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert waiting.result() == walk_anew(root)
    assert not file.exists()


def test_small_folders_are_walked_each_time(root, walks, monkeypatch):
    monkeypatch.setattr(folder_index, "LARGE", 50_000)
    assert scan(root) == scan(root) and len(walks) == 2
    assert not (root.parent / "cache").exists()
