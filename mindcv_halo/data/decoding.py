"""From an image file to bytes that minddata's decoder takes, and from its errors to ours.

MindSpore 2.10's decoder ends the process at many a damaged file. So it gets two kinds of bytes only: a JPEG whose
structure was checked, which it decodes without an error whatever its compressed data holds, and the BMP that was made
here of anything else. What is wrong with an image is therefore known here, by its path, before minddata sees it.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import mindspore.dataset.vision as vision
import numpy as np
from PIL import Image

from ..errors import UserError
from ..files.text import show_path
from . import jpeg_structure, png_structure
from .eight_bits import is_turned, to_rgb
from .image_folder import scan_image_folder
from .image_formats import IMAGE_FORMATS
from .jpeg_structure import find_jpeg_size
from .quiet_pillow import quiet_pillow
from .storage import DISK, Files

MAX_PIXELS = 178_956_970  # the most that Pillow takes by default; half a gigabyte of colours
MAX_RATIO = 50  # of an image's sides: resizing the shorter one would make a strip huge before it is cropped

_ENDS = 12  # bytes that tell whether a file is whole
_ERROR_PREFIX = "bad image file"

logging.getLogger("PIL").addHandler(logging.NullHandler())


def read_decodable(path: str, exif: bool = False, storage: Files = DISK) -> bytes:
    """The content of an image file as minddata's decoder takes it: three channels come out.

    A JPEG that is whole and sound is passed on as it is. Anything else goes through Pillow and comes as an uncompressed
    BMP (see data.eight_bits for what becomes of depth, transparency and other colours); of an animation it is the first
    frame. The type is told by the content, so that a wrong extension does no harm.

    exif: turn the image as its EXIF orientation says. Without it every format comes as it is stored.
    storage: what the path leads into.

    Raises UserError that names `path` if it cannot be read or decoded, has more than MAX_PIXELS pixels, or has sides
    that differ by a factor of more than MAX_RATIO.
    """
    try:
        data = storage.read(path)
    except OSError as error:
        raise _bad_image(path, error.strerror) from None
    except MemoryError as error:
        raise _bad_image(path, explain_failure(error)) from None
    if _is_whole_jpeg(data[:_ENDS], data[-_ENDS:]):
        size = find_jpeg_size(data)
        if size is not None:
            check_size(size, _name(path))
            if not exif or b"Exif\0" not in data or not _is_turned(data):
                return data
    return _reencode(data, path, exif)


def decode(data: bytes | np.ndarray) -> np.ndarray:
    """Pixels (height, width, 3), uint8, of what read_decodable gives."""
    return vision.Decode()(np.frombuffer(data, np.uint8))


def check_size(size: tuple[int, int], name: str) -> None:
    """Raises UserError for a (width, height) in pixels of an image, called `name`, that is too large, or a strip."""
    width, height = size
    if width * height > MAX_PIXELS:
        raise UserError(
            f"{name}: it has {width} x {height} pixels, and images of {MAX_PIXELS:,} pixels at most are read; shrink it"
        )
    if max(size) > MAX_RATIO * min(size):
        raise UserError(
            f"{name}: it has {width} x {height} pixels, and its sides may differ by a factor of {MAX_RATIO} at most; "
            "crop it"
        )


def find_bad_files(paths: Sequence[str], num_threads: int = 1, storage: Files = DISK) -> dict[str, str]:
    """The files among `paths` that are cut off or no image, each with its error; good ones cost a look at both ends."""
    with ThreadPoolExecutor(num_threads) as pool:
        results = pool.map(partial(_find_error, storage=storage), paths, chunksize=64)
        return {path: error for path, error in zip(paths, results, strict=True) if error}


def find_bad_images(root: str, split: str) -> list[str]:
    """Decode every image of root/split/class in full, and return one line for each that cannot be decoded."""
    images = scan_image_folder(root, split)
    errors = (find_decode_error(path, images.storage) for path in images.paths)
    return [error for error in errors if error]


def find_decode_error(path: str, storage: Files = DISK) -> str | None:
    """What is wrong with an image file, decoded in full; None if nothing is."""
    try:
        decode(read_decodable(path, storage=storage))
    except UserError as error:
        return str(error)
    except RuntimeError as error:
        return str(_bad_image(path, _reason(str(error))))
    return None


def bad_image_error(error: BaseException) -> UserError | None:
    """The UserError behind an error that iterating a loader raised, or None if no image is to blame for it.

    minddata wraps whatever its workers raise into one RuntimeError with a long text; only that text is read here.
    """
    text = str(error)
    found = re.search(rf"{_ERROR_PREFIX} [^\n]*", text)
    if found:
        return UserError(found.group())
    if not re.search(r"\[\w*Decode\w*\] failed", text):
        return None
    return UserError(
        f"{_ERROR_PREFIX}, and minddata does not say which ({_reason(text)}); "
        "mindcv_halo.data.find_bad_images(root, split) lists the files to remove or replace"
    )


def explain_failure(error: BaseException) -> str:
    """Why Pillow did not decode an image, in words for one line."""
    if isinstance(error, MemoryError):
        return "it takes more memory than there is"
    text = "".join(letter if letter.isprintable() else "?" for letter in " ".join(str(error).split()))
    if isinstance(error, Image.UnidentifiedImageError):
        return "it holds no known image format"
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {MAX_PIXELS:,} pixels"
    return text or f"it cannot be decoded ({type(error).__name__})"


def _reason(text: str) -> str:
    """The part of minddata's text that says what its decoder did not like."""
    found = re.search(r"Decode\w*\] failed\.?\s*([^\n]*?)\s*(?:Dump the|You can|\n|$)", text)
    return (found and found.group(1)) or "it cannot be decoded"


def _bad_image(path: str, reason: str) -> UserError:
    return UserError(f"{_name(path)}: {reason}; remove or replace it")


def _name(path: str) -> str:
    return f"{_ERROR_PREFIX} {show_path(path)}"


def _find_error(path: str, storage: Files) -> str | None:
    try:
        head, tail = storage.read_ends(path, _ENDS)
        if not _is_whole_jpeg(head, tail) and not _is_whole_png(head, tail):
            read_decodable(path, storage=storage)
    except OSError as error:
        return str(_bad_image(path, error.strerror))
    except UserError as error:
        return str(error)
    return None


def _is_whole_jpeg(head: bytes, tail: bytes) -> bool:
    """Whether these ends belong to a JPEG that was not cut off."""
    return head.startswith(jpeg_structure.START) and tail.endswith(jpeg_structure.END)


def _is_whole_png(head: bytes, tail: bytes) -> bool:
    return head.startswith(png_structure.START) and tail.endswith(png_structure.END)


@quiet_pillow()
def _is_turned(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            return is_turned(image)
    except Exception:  # Pillow's plug-ins raise many types; the file is sound but for what is beside the image
        return False


def _reencode(data: bytes, path: str, exif: bool) -> bytes:
    if not data:
        raise _bad_image(path, "it is empty")
    try:
        rgb = _decode_with_pillow(png_structure.strip_png(data), path, exif)
    except UserError:
        raise
    except Exception as error:  # Pillow's plug-ins raise many types
        raise _bad_image(path, explain_failure(error)) from None
    out = io.BytesIO()
    rgb.save(out, "BMP")
    return out.getvalue()


@quiet_pillow()
def _decode_with_pillow(data: bytes, path: str, exif: bool) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
        check_size(image.size, _name(path))
        return to_rgb(image, exif)
