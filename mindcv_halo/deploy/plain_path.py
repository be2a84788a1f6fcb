"""Paths that MindSpore takes. It refuses to export to one with a blank, a bracket or a letter beyond ASCII in it."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError

_PLAIN = re.compile(r"[0-9a-zA-Z@_\-.:/]+")
_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")


@contextmanager
def plain_folder() -> Iterator[Path]:
    """A temporary folder that MindSpore writes to, whatever TMPDIR is. Raises UserError where there is none."""
    for parent in (tempfile.gettempdir(), *_FOLDERS, os.getcwd()):
        if _PLAIN.fullmatch(parent) and os.access(parent, os.W_OK | os.X_OK):
            with tempfile.TemporaryDirectory(dir=parent) as folder:
                yield Path(folder)
            return
    raise UserError(
        f"MindSpore exports to paths of letters, digits and @ _ - . : / only; none of {', '.join(_FOLDERS)} can be "
        "written: set TMPDIR to such a folder"
    )


def write_to(path: Path, write: Callable[[str], None]) -> None:
    """Have MindSpore write a file, and move it to `path`, which may be on another file system."""
    with plain_folder() as folder:
        plain = folder / f"network{path.suffix}"
        write(str(plain))
        plain.chmod(0o644)  # MindSpore makes it read-only, so that nobody could overwrite it
        shutil.move(plain, path)


@contextmanager
def read_from(path: Path) -> Iterator[str]:
    """A path by which MindSpore reads the file at `path`. It takes any but one that is no Unicode."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with plain_folder() as folder:
            yield shutil.copyfile(path, str(folder / f"network{path.suffix}"))
    else:
        yield str(path)
