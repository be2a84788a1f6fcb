"""Folders that are written to."""

from __future__ import annotations

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
