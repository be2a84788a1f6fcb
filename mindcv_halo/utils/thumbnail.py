"""Small pictures for a page."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

_LONGEST_SIDE = 240  # pixels; twice the density of the place where they are shown would be wasted


@dataclass(frozen=True)
class Thumbnail:
    content: bytes
    media_type: str
    is_small: bool  # the image has at most half a thumbnail's size: it was left as it is, for the page to enlarge


def make_thumbnail(pixels: np.ndarray) -> Thumbnail:
    """pixels: uint8, (height, width, 3) or (height, width, 1)."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    is_small = max(image.size) <= _LONGEST_SIDE // 2
    content = io.BytesIO()
    if is_small:
        image.save(content, "PNG")
        return Thumbnail(content.getvalue(), "image/png", True)
    image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
    image.save(content, "JPEG", quality=85)
    return Thumbnail(content.getvalue(), "image/jpeg", False)
