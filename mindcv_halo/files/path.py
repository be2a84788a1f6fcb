"""Folders that are written to, and what the environment says of them."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from ..errors import UserError


def make_folder(option: str, path: str) -> Path:
    """The folder that `option` names, made if need be. Raises UserError where it cannot be made or written."""
    if not path:
        raise UserError(f"{option} is empty; name a folder")
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{option} {path}: {error.strerror}; choose a folder that can be written") from error
    return folder


def find_kind(path: Path) -> str:
    """What lies there: "file", "folder", "pipe" for a pipe, socket or device, or "" for nothing that can be reached."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # absent, or its name is too long, or a folder above it must not be entered
        return ""
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "pipe"


def check_file(name: str, path: Path) -> None:
    """Raises UserError, which begins with `name`, where no ordinary file lies: reading a pipe waits for its writer."""
    kind = find_kind(path)
    if not kind:
        raise UserError(f"{name}: there is no such file; check the path")
    if kind != "file":
        raise UserError(f"{name}: it is no ordinary file, but a {kind}; give a file")


def find_cache_folder() -> Path:
    """Where downloaded weights are kept: MINDCV_HALO_HOME, or ~/.cache/mindcv_halo.

    Raises UserError where a `~` in it is the home of nobody.
    """
    folder = os.environ.get("MINDCV_HALO_HOME", "")
    try:
        return Path(folder or "~/.cache/mindcv_halo").expanduser()
    except RuntimeError:
        raise UserError(f"MINDCV_HALO_HOME {folder!r}: there is no such home folder; name another folder") from None


def find_mirror() -> str:
    """The server, such as https://mirror.example.org, to download weights from in place of their own; "" for none."""
    return os.environ.get("MINDCV_HALO_MIRROR", "")
