"""From an image file to bytes that minddata's decoder takes, and from its errors to ours."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import mindspore.dataset.vision as vision
import numpy as np
from PIL import Image

from ..errors import UserError
from .image_folder import scan_image_folder

_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_ENDS = 12  # bytes that tell whether a file is whole
_ERROR_PREFIX = "bad image file"


def read_decodable(path: str) -> bytes:
    """The content of an image file as minddata's decoder takes it: three channels come out.

    A JPEG or PNG that ends as it should is passed on after a look at its first and last bytes. Anything else goes
    through Pillow and comes as an uncompressed BMP: GIF and WebP (their first frame), TIFF, files with a tail, and
    files cut short. The type is told by the content, so that a wrong extension does no harm.

    Raises UserError that names `path` if it cannot be read or decoded.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise _bad_image(path, error.strerror) from None
    return data if _is_complete(data[:_ENDS], data[-_ENDS:]) else _reencode(data, path)


def decode(data: bytes | np.ndarray) -> np.ndarray:
    """Pixels (height, width, 3), uint8, of what read_decodable gives. Raises RuntimeError for a damaged image."""
    content = np.frombuffer(data, np.uint8)
    try:
        return vision.Decode()(content)
    except RuntimeError:
        # After a damaged JPEG MindSpore 2.10 refuses the next good one too, with the error of the first.
        return vision.Decode()(content)


def find_bad_files(paths: Sequence[str], num_threads: int = 1) -> dict[str, str]:
    """The files among `paths` that read_decodable refuses, each with its error; good ones cost a look at both ends."""
    with ThreadPoolExecutor(num_threads) as pool:
        results = pool.map(_find_error, paths, chunksize=64)
        return {path: error for path, error in zip(paths, results, strict=True) if error}


def find_bad_images(root: str, split: str) -> list[str]:
    """Decode every image of root/split/class in full, and return one line for each that cannot be decoded."""
    errors = (find_decode_error(path) for path in scan_image_folder(root, split).paths)
    return [error for error in errors if error]


def find_decode_error(path: str) -> str | None:
    """What is wrong with an image file, decoded in full; None if nothing is."""
    try:
        decode(read_decodable(path))
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
    found = re.search(rf"{_ERROR_PREFIX} .*; remove or replace it[^\n]*", text)
    if found:
        return UserError(found.group())
    if not re.search(r"\[\w*Decode\w*\] failed", text):
        return None
    return UserError(
        f"{_ERROR_PREFIX}, and minddata does not say which ({_reason(text)}); "
        "mindcv_halo.data.find_bad_images(root, split) lists the files to remove or replace"
    )


def _reason(text: str) -> str:
    """The part of minddata's text that says what its decoder did not like."""
    found = re.search(r"Decode\w*\] failed\.?\s*([^\n]*?)\s*(?:Dump the|You can|\n|$)", text)
    return (found and found.group(1)) or "it cannot be decoded"


def _bad_image(path: str, reason: str) -> UserError:
    return UserError(f"{_ERROR_PREFIX} {path}: {reason}; remove or replace it, or train with skip_bad_images")


def _find_error(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            head = file.read(_ENDS)
            file.seek(-min(_ENDS, os.fstat(file.fileno()).st_size), os.SEEK_END)
            tail = file.read()
        if not _is_complete(head, tail):
            read_decodable(path)
    except OSError as error:
        return str(_bad_image(path, error.strerror))
    except UserError as error:
        return str(error)
    return None


def _is_complete(head: bytes, tail: bytes) -> bool:
    """Whether these ends belong to a whole JPEG or PNG."""
    return (head.startswith(_JPEG_START) and tail.endswith(_JPEG_END)) or (
        head.startswith(_PNG_START) and tail.endswith(_PNG_END)
    )


def _reencode(data: bytes, path: str) -> bytes:
    if not data:
        raise _bad_image(path, "it is empty")
    try:
        with Image.open(io.BytesIO(data)) as image:
            rgb = to_rgb(image)
    except Exception as error:  # Pillow's plug-ins raise many types
        reason = str(error) if "BytesIO" not in str(error) else "it holds no known image format"
        raise _bad_image(path, reason.replace("\n", " ")) from None
    out = io.BytesIO()
    rgb.save(out, "BMP")
    return out.getvalue()


def to_rgb(image: Image.Image) -> Image.Image:
    """Three channels of 8 bits; 16-bit greys keep their upper byte (Pillow's own conversion would clip them)."""
    if image.mode.startswith("I"):
        pixels = np.asarray(image)  # 16 or 32 bits; the results go straight into the smallest type, for large images
        grey = np.clip(pixels, 0, 65535, out=np.empty(pixels.shape, np.uint16), casting="unsafe")
        image = Image.fromarray(np.right_shift(grey, 8, out=np.empty(grey.shape, np.uint8), casting="unsafe"))
    return image.convert("RGB")
