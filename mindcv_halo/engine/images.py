"""The images that a prediction is about: which files, and the pixels of any image that Python has."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..data import IMAGE_EXTENSIONS, read_decodable
from ..data.decoding import check_size, decode, explain_failure
from ..data.eight_bits import to_rgb
from ..data.folder_walk import LeftOut, walk_images
from ..errors import UserError
from ..files.path import check_file, find_kind

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
        elif kind:
            check_file(f"image_path {path}", path)
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


ImageLike = str | os.PathLike | Image.Image | np.ndarray


def read_pixels(image: ImageLike, exif: bool = False) -> np.ndarray:
    """An image as uint8, (height, width, 3); files and Pillow images are turned by their EXIF if `exif`.

    Raises UserError for one that cannot be read, is too large, or a long strip (see data.read_decodable).
    """
    if isinstance(image, str | os.PathLike):
        return decode(read_decodable(str(image), exif))
    if isinstance(image, Image.Image):
        check_size(image.size, "bad image")
        try:
            return np.array(to_rgb(image, exif))
        except Exception as error:  # Pillow decodes at first use, and its plug-ins raise many types
            raise UserError(f"bad image: {explain_failure(error)}; it is damaged") from error
    if not isinstance(image, np.ndarray):
        raise UserError(f"an image is a path, a Pillow image or an array, not a {type(image).__name__}")
    pixels = image if image.ndim == 3 else image[..., None]
    if image.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        raise UserError(
            f"an array of type {image.dtype} and shape {image.shape} is no image; it must be uint8, "
            "(height, width, 3) or (height, width)"
        )
    check_size((pixels.shape[1], pixels.shape[0]), "bad image")
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
