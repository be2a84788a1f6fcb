"""Any image that Python has, as pixels."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image

from ..data import read_decodable
from ..data.decoding import decode, to_rgb
from ..errors import UserError

ImageLike = str | os.PathLike | Image.Image | np.ndarray

_LARGEST_RATIO = 50  # of an image's sides


def read_pixels(image: ImageLike) -> np.ndarray:
    """An image as uint8, (height, width, 3). Raises UserError for one that cannot be read, and for a long strip."""
    pixels = _decode(image)
    _check_proportions(image, pixels)
    return pixels


def _check_proportions(image: ImageLike, pixels: np.ndarray) -> None:
    """Raises UserError for a strip of an image: resizing its shorter side would make it huge before it is cropped."""
    height, width = pixels.shape[:2]
    if max(height, width) > _LARGEST_RATIO * min(height, width):
        name = f"image {image}" if isinstance(image, str | os.PathLike) else "the image"
        raise UserError(
            f"{name} has {width} x {height} pixels; its sides may differ by a factor of {_LARGEST_RATIO} at most: "
            "crop it"
        )


def _decode(image: ImageLike) -> np.ndarray:
    if isinstance(image, str | os.PathLike):
        try:
            return decode(read_decodable(str(image)))
        except RuntimeError as error:  # bytes that only the decoder itself can refuse
            raise UserError(f"bad image file {image}: it cannot be decoded; repair it, or move it away") from error
    if isinstance(image, Image.Image):
        try:
            return np.array(to_rgb(image))
        except (OSError, ValueError, SyntaxError) as error:  # Pillow decodes at first use
            raise UserError(f"bad image: {error}; it is damaged") from error
    if not isinstance(image, np.ndarray):
        raise UserError(f"an image is a path, a Pillow image or an array, not a {type(image).__name__}")
    pixels = image if image.ndim == 3 else image[..., None]
    if image.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        raise UserError(
            f"an array of type {image.dtype} and shape {image.shape} is no image; it must be uint8, "
            "(height, width, 3) or (height, width)"
        )
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
