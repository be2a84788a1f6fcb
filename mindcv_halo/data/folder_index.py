"""The list of a large folder's images, kept in a file: one process walks the folder, and all others read the file.

The file says of every folder that was walked which one it was and when it last changed. That differs as soon as a file
or folder is added, removed or renamed, and the folder is walked anew. Other changes need no new list, but for links to
files: one that leads to nothing any more shows when it is read, and one that leads to an image only now does not show.
`touch` of the folder has it walked anew.

Nothing but time hangs on the file: one that is missing, damaged, of another version or of another user is not read, and
where none can be written every process walks the folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import UserError
from ..files.path import find_cache_folder
from ..files.whole_file import replacing
from ..version import __version__
from .folder_walk import LeftOut
from .image_formats import IMAGE_EXTENSIONS
from .storage import Disk

LARGE = 50_000  # images; fewer are listed in a tenth of a second

_MOUNTS = "/proc/self/mountinfo"
_FORMAT = 1
_MOST_BYTES = 1 << 30  # of the file; a million names take 30 MB
# A folder that changed while it was listed, or after that within the resolution of its file system's clock, would look
# as if it had not.
_SECONDS_AT_REST = 10
_SEPARATOR = "\0"  # of names
# What comes of reading a file that is none of ours, or of writing one where that cannot be.
_FAULTS = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, MemoryError, UserError)


class Found(NamedTuple):
    """The images below the folders of some classes, class by class."""

    paths: list[str]
    labels: np.ndarray  # int32: the class's position
    left_out: LeftOut


class WatchedDisk(Disk):
    """The file system, and what tells each folder that was listed from the same folder after a change."""

    def __init__(self):
        self.stamps: dict[str, list[int]] = {}
        self._devices: set[int] = set()

    def list(self, folder: str) -> list[os.DirEntry]:
        if folder not in self.stamps:  # before it is listed: what changes meanwhile shows
            self.stamps[folder] = _stamp(folder)
            self._devices.add(os.stat(folder).st_dev)
        return super().list(folder)

    def was_at_rest(self, now: float) -> bool:
        """Whether no folder has changed shortly before `now`, or after it."""
        limit = (now - _SECONDS_AT_REST) * 1e9
        return all(changed < limit for _, *times in self.stamps.values() for changed in times)

    def has_own_clocks(self) -> bool:
        """Whether a folder may change and keep its times: file systems of programs, such as those of object stores."""
        try:
            mounts = [line.split(" - ")[-2:] for line in Path(_MOUNTS).read_text().splitlines()]
            programs = {before.split()[2] for before, after in mounts if after.startswith("fuse")}
        except (OSError, ValueError):
            return True
        return any(f"{os.major(device)}:{os.minor(device)}" in programs for device in self._devices)


def find_images(folder: str, class_names: Sequence[str], walk: Callable[[Disk], Found]) -> Found:
    """What `walk` finds, with the file system that it is given, or what it found for another process.

    folder: that of the classes.
    """
    try:
        file = _name_file(folder)
        key = [_FORMAT, __version__, list(IMAGE_EXTENSIONS), os.path.realpath(folder), list(class_names)]
    except _FAULTS:
        return walk(Disk())
    found = _read(file, folder, key)
    if found is not None:
        return found
    with _lock(file) as is_first:
        if is_first:
            disk, started = WatchedDisk(), time.time()
            found = walk(disk)
            if disk.was_at_rest(started) and not disk.has_own_clocks():
                _write(file, folder, key, found, disk.stamps)
            return found
    found = _read(file, folder, key)  # another process has written it meanwhile, or could not
    return walk(Disk()) if found is None else found


def _name_file(folder: str) -> Path:
    """A machine's own, as a home may be shared by several, whose folders of that path differ."""
    place = f"{socket.gethostname()}\n{os.geteuid()}\n{os.path.realpath(folder)}"
    return find_cache_folder() / "folders" / f"{hashlib.sha256(os.fsencode(place)).hexdigest()}.index"


def _stamp(folder: str) -> list[int]:
    status = os.stat(folder)
    return [status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


@contextmanager
def _lock(file: Path) -> Iterator[bool]:
    """Whether no other process writes `file`: if one does, wait for it. Without locks each of several may write it."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        yield True
        return
    try:
        yield _is_first(descriptor)
    finally:
        os.close(descriptor)


def _is_first(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # all who wait go on at the same time
        return False
    except OSError:  # a file system without locks
        pass
    return True


def _read(file: Path, folder: str, key: list) -> Found | None:
    """What the file holds, if it is ours, whole, and of the folder as it is now."""
    try:
        digest, _, content = _read_own(file).partition(b"\n")
        if hashlib.sha256(content).hexdigest().encode() != digest:
            return None
        text, _, names = content.partition(b"\n")
        header = json.loads(text)
        if header["key"] != key or any(_stamp(_join(folder, name)) != was for name, was in header["stamps"].items()):
            return None
        return _unpack(folder, header, names.decode("utf-8", "surrogateescape").split(_SEPARATOR))
    except _FAULTS:
        return None


def _read_own(file: Path) -> bytes:
    """The content of an ordinary file that nobody but this user can have written."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        is_own = status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if not is_own or not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
            raise ValueError("not a file of ours")
        return opened.read()


def _write(file: Path, folder: str, key: list, found: Found, stamps: dict[str, list[int]]) -> None:
    """Nothing where it cannot be written."""
    try:
        runs, names, first = [], [], 0
        for place, paths in groupby(found.paths, lambda path: path.rpartition("/")[0]):
            own = [path.rpartition("/")[2] for path in paths]
            runs.append([_cut(folder, place), len(own), int(found.labels[first])])
            names += own
            first += len(own)
        header = {
            "key": key,
            "stamps": {_cut(folder, place): stamp for place, stamp in stamps.items()},
            "runs": runs,
            "left_out": found.left_out.counts,
            "examples": {kind: _cut(folder, path) for kind, path in found.left_out.examples.items()},
        }
        text = _SEPARATOR.join(names).encode("utf-8", "surrogateescape")
        content = json.dumps(header).encode() + b"\n" + text
        with replacing(file) as unfinished:
            unfinished.touch(0o600)
            unfinished.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
    except _FAULTS:
        return


def _unpack(folder: str, header: dict[str, Any], names: list[str]) -> Found:
    """Raises ValueError where the parts of the file do not fit each other."""
    paths: list[str] = []
    labels: list[int] = []
    for place, count, label in header["runs"]:
        beginning = _join(folder, place) + "/"
        paths += [beginning + name for name in names[len(paths) : len(paths) + count]]
        labels += [label] * count
    if len(paths) != len(names) or len(labels) != len(names):
        raise ValueError("another number of names")
    left_out = LeftOut()
    left_out.counts = header["left_out"]
    left_out.examples = {kind: _join(folder, name) for kind, name in header["examples"].items()}
    return Found(paths, np.array(labels, np.int32), left_out)


def _cut(folder: str, path: str) -> str:
    """What follows the folder in the path of something below it; "" for itself."""
    if path != folder and not path.startswith(folder.rstrip("/") + "/"):
        raise ValueError(f"{path} is not in {folder}")
    return path[len(folder) :].lstrip("/")


def _join(folder: str, name: str) -> str:
    return folder if name == "" else os.path.join(folder, name)
