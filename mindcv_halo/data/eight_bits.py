"""Any image that Pillow opens, as three channels of eight bits."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageCms, ImageOps

_DEPTHS = (8, 10, 12, 14, 16)  # bits that sensors and files have
_ORIENTATION = 0x0112  # EXIF's tag

# What undoes the turn that an orientation asks for.
_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def to_rgb(image: Image.Image, exif: bool = False) -> Image.Image:
    """`image` decoded, in mode RGB; turned as its EXIF orientation says if `exif`, and else as it is stored.

    Transparency is dropped: what colour lies below shows. Colours of 16 bits keep their upper 8 (Pillow's rule); of
    greys with more than 8 bits see reduce_depth. Raises many types for a damaged image, as Pillow's plug-ins do.
    """
    image = _orient(image, exif)
    if image.mode == "F" or image.mode.startswith("I"):
        pixels = np.asarray(image)
        if image.mode == "I" and _is_unsigned(image):
            pixels = pixels.view(np.uint32)
        image = Image.fromarray(reduce_depth(pixels))
    elif image.mode == "LAB":
        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
    elif image.mode in ("RGBa", "La"):  # colours are multiplied by their opacity
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    return image.convert("RGB")


def reduce_depth(pixels: np.ndarray) -> np.ndarray:
    """Greys of any type as uint8, (height, width), by the least depth that holds the image's largest value.

    Integers: the upper 8 of 8, 10, 12, 14 or 16 bits, and of as many as it takes beyond. Floats: 0 to 1 becomes 0 to
    255 if no value is larger; else as integers. What is below 0, or no number, becomes 0.
    """
    is_float = pixels.dtype.kind == "f"
    if is_float:
        pixels = np.nan_to_num(pixels, nan=0, posinf=np.finfo(pixels.dtype).max, neginf=0)
    largest = pixels.max()
    if is_float and largest <= 1:
        return np.rint(255 * pixels.clip(0)).astype(np.uint8)
    whole = int(largest)
    depth = next((depth for depth in _DEPTHS if whole < 1 << depth), whole.bit_length())
    if is_float:
        return np.rint(pixels / 2.0 ** (depth - 8)).clip(0, 255).astype(np.uint8)
    # Results go straight into the smallest type, for large images.
    reduced = np.right_shift(pixels, depth - 8, out=np.empty(pixels.shape, np.uint8), casting="unsafe")
    reduced[pixels < 0] = 0
    return reduced


def is_turned(image: Image.Image) -> bool:
    """Whether the EXIF orientation of an image that is not decoded yet asks for a turn."""
    return _read_orientation(image) in _BACK


def _orient(image: Image.Image, exif: bool) -> Image.Image:
    """Pillow turns TIFF files while it decodes them, and others only when it is told to."""
    orientation = _read_orientation(image)
    image.load()
    is_done = orientation in _BACK and _read_orientation(image) != orientation
    if exif and orientation in _BACK and not is_done:
        return ImageOps.exif_transpose(image)
    return image.transpose(_BACK[orientation]) if is_done and not exif else image


def _read_orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a damaged EXIF block raises many types, and says nothing about the pixels
        return 1


def _is_unsigned(image: Image.Image) -> bool:
    """Whether the 32-bit integers of a TIFF are unsigned; Pillow reads the same bits as signed ones."""
    sample_format = 339  # TIFF's tag; 1, its default, is unsigned
    tags = getattr(image, "tag_v2", None)
    return tags is not None and tuple(tags.get(sample_format, (1,)))[0] == 1
