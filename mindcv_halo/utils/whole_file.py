"""Files that are at any moment either the old one or the whole new one."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, content: bytes | str) -> None:
    """Replace `path` by a file of this content; text is written as UTF-8, names of files in it as they are."""
    data = content.encode(errors="surrogateescape") if isinstance(content, str) else content
    unfinished = path.with_name(f".{path.name}.unfinished")
    with unfinished.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
