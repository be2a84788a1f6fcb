"""Where image files lie: on a disk, in an archive like a folder (archive.py), or in one file (mindrecord.py)."""

from __future__ import annotations

import errno
import os
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Protocol

from ..files.path import find_kind

MACOS_NOTES = "__MACOSX"  # a folder that macOS adds to zip archives
MOST_BYTES = 2 << 30  # of one file; an image of the most pixels that are read has a quarter of it


class Entry(Protocol):
    """What lies in a folder, as os.scandir gives it."""

    @property
    def name(self) -> str: ...

    @property
    def path(self) -> str: ...

    def is_dir(self) -> bool: ...

    def is_file(self) -> bool: ...

    def is_symlink(self) -> bool: ...


class Files(Protocol):
    """Files by their paths. What is wrong with one is an OSError whose strerror tells it."""

    def size(self, path: str) -> int:
        """In bytes."""

    def read(self, path: str) -> bytes: ...

    def read_ends(self, path: str, count: int) -> tuple[bytes, bytes]:
        """The first and the last `count` bytes of a file, or all of it twice."""


class Storage(Files, Protocol):
    """Folders, too."""

    is_packed: bool  # people pack a folder's content, or the folder itself

    def list(self, folder: str) -> Sequence[Entry]: ...

    def is_folder(self, path: str) -> bool: ...

    def leads_nowhere(self, entry: Entry) -> bool:
        """Whether it is a link to what is not there, or back to itself."""

    def identity(self, folder: str) -> Hashable:
        """The same for all paths of a folder."""


class Disk:
    """The file system."""

    is_packed = False

    def list(self, folder: str) -> list[os.DirEntry]:
        with os.scandir(folder) as entries:
            return list(entries)

    def is_folder(self, path: str) -> bool:
        return find_kind(Path(path)) == "folder"

    def leads_nowhere(self, entry: Entry) -> bool:
        return entry.is_symlink() and not os.path.exists(entry.path)

    def identity(self, folder: str) -> tuple[int, int]:
        status = os.stat(folder)
        return status.st_dev, status.st_ino

    def size(self, path: str) -> int:
        return os.path.getsize(path)

    def read(self, path: str) -> bytes:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MOST_BYTES:
                raise OSError(errno.EFBIG, f"it has {size:,} bytes, and files of {MOST_BYTES:,} at most are read")
            return file.read()

    def read_ends(self, path: str, count: int) -> tuple[bytes, bytes]:
        with open(path, "rb") as file:
            head = file.read(count)
            file.seek(-min(count, os.fstat(file.fileno()).st_size), os.SEEK_END)
            return head, file.read()


DISK = Disk()


def read_at(descriptor: int, start: int, count: int) -> bytes:
    """The `count` bytes of an open file from `start` on; fewer at its end."""
    data = os.pread(descriptor, count, start)
    while data and len(data) < count:  # one call reads 2 GB at most, and may be interrupted
        more = os.pread(descriptor, count - len(data), start + len(data))
        if not more:
            break
        data += more
    return data


def damage(reason: str) -> OSError:
    """What reading a damaged file raises."""
    return OSError(errno.EIO, reason)
