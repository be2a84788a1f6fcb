"""Any image that Python has, as pixels."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image

from ..data import read_decodable
from ..data.decoding import check_size, decode, explain_failure
from ..data.eight_bits import to_rgb
from ..errors import UserError

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
