"""Which image files a prediction is about."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from ..data import IMAGE_EXTENSIONS
from ..data.folder_walk import LeftOut, walk_images
from ..errors import UserError
from ..utils.path import find_kind

_logger = logging.getLogger("mindcv_halo")


def list_images(image_path: str | Sequence[str]) -> list[tuple[Path, Path]]:
    """The files to predict, each with its place relative to the folder that was named; a file's is its name.

    What a folder holds besides images is said in a line of the log. Raises UserError for a path that does not exist,
    and a folder without images.
    """
    found = []
    for path in map(Path, [image_path] if isinstance(image_path, str) else image_path):
        kind = find_kind(path)
        if kind == "folder":
            found += _list_folder(path)
        elif kind == "file":
            found.append((path, Path(path.name)))
        else:
            raise UserError(f"image_path {path}: there is no such file or folder; check the path")
    return found


def show_progress(paths: Sequence[Path]) -> Iterable[Path]:
    """The same paths; on a terminal a bar on stderr counts them."""
    hidden = len(paths) < 2 or not sys.stderr.isatty()
    return tqdm(paths, desc="predicting", unit="img", disable=hidden, dynamic_ncols=True)


def _list_folder(folder: Path) -> list[tuple[Path, Path]]:
    left_out = LeftOut()
    files = list(map(Path, walk_images(str(folder), left_out)))
    if not files:
        raise UserError(
            f"image_path {folder}: no image there; give a file or a folder of {' '.join(IMAGE_EXTENSIONS)}"
            + (f" ({left_out})" if left_out.total else "")
        )
    if left_out.total:
        _logger.warning(f"image_path {folder}: {left_out}")
    return [(file, file.relative_to(folder)) for file in files]
