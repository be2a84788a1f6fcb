"""Files that are at any moment either the old one or the whole new one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST_NAME = 255  # bytes, on nearly every file system


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The path of a file to write beside `path`, whose place it takes when the block ends without an exception."""
    name = f".{path.stem}.unfinished{path.suffix}"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()}.unfinished{path.suffix[:32]}"
    unfinished = path.with_name(name)
    unfinished.unlink(missing_ok=True)
    yield unfinished
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def write_whole(path: Path, content: bytes | str) -> None:
    """Replace `path` by a file of this content; text is written as UTF-8, names of files in it as they are."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(content.encode(errors="surrogateescape") if isinstance(content, str) else content)
