"""What augmentation does to a Pillow image, one function each. What a geometric one uncovers gets `fillcolor`."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

GREY = (128, 128, 128)
BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC


def shear_x(img, shear: float, *, resample=BILINEAR, fillcolor=GREY):
    """Move each row by `shear` times its number to the left, in pixels."""
    return _affine(img, (1, shear, 0, 0, 1, 0), resample, fillcolor)


def shear_y(img, shear: float, *, resample=BILINEAR, fillcolor=GREY):
    """Move each column by `shear` times its number upwards, in pixels."""
    return _affine(img, (1, 0, 0, shear, 1, 0), resample, fillcolor)


def translate_x(img, translate: float, *, resample=BILINEAR, fillcolor=GREY):
    """Move by `translate` pixels to the left."""
    return _affine(img, (1, 0, translate, 0, 1, 0), resample, fillcolor)


def translate_y(img, translate: float, *, resample=BILINEAR, fillcolor=GREY):
    """Move by `translate` pixels upwards."""
    return _affine(img, (1, 0, 0, 0, 1, translate), resample, fillcolor)


def rotate(img, degrees: float, *, resample=BILINEAR, fillcolor=GREY):
    """Turn by `degrees` against the clock, about the middle."""
    return img.rotate(degrees, resample=resample, fillcolor=fillcolor)


def auto_contrast(img):
    """Stretch each channel from its smallest to 0 and from its largest to 255."""
    return ImageOps.autocontrast(img)


def invert(img):
    """255 - value."""
    return ImageOps.invert(img)


def equalize(img):
    """Make all values of a channel about equally frequent."""
    return ImageOps.equalize(img)


def solarize(img, thresh: int):
    """Invert the values from `thresh` on; 256 changes nothing."""
    return ImageOps.solarize(img, thresh)


def solarize_add(img, add: int, thresh: int = 128):
    """Add `add` to the values below `thresh`."""
    table = [min(255, value + add) if value < thresh else value for value in range(256)]
    return img.point(table * len(img.getbands()))


def posterize(img, bits_to_keep: int):
    """Keep the upper bits of each value: 8 changes nothing, and 0 keeps one bit (no bit would be a black image)."""
    return img if bits_to_keep >= 8 else ImageOps.posterize(img, max(1, bits_to_keep))


def contrast(img, factor: float):
    """Distances from the mean grey times `factor`: 0 leaves grey, 1 changes nothing."""
    return ImageEnhance.Contrast(img).enhance(factor)


def color(img, factor: float):
    """Distances from each pixel's grey times `factor`: 0 leaves no colour, 1 changes nothing."""
    return ImageEnhance.Color(img).enhance(factor)


def brightness(img, factor: float):
    """Values times `factor`: 0 leaves black, 1 changes nothing."""
    return ImageEnhance.Brightness(img).enhance(factor)


def sharpness(img, factor: float):
    """Distances from a smoothed image times `factor`: 0 leaves that, 1 changes nothing."""
    return ImageEnhance.Sharpness(img).enhance(factor)


def gaussian_blur_rand(img, factor: float, *, rng: np.random.Generator):
    """Blur with a radius drawn from between 0.1 and 2 * factor pixels."""
    return img.filter(ImageFilter.GaussianBlur(radius=0.1 + (2.0 * factor - 0.1) * rng.random()))


def desaturate(img, factor: float):
    """Take away the share `factor` of the colour."""
    return color(img, min(1.0, max(0.0, 1.0 - factor)))


def _affine(img, matrix: tuple, resample, fillcolor):
    return img.transform(img.size, Image.Transform.AFFINE, matrix, resample=resample, fillcolor=fillcolor)
