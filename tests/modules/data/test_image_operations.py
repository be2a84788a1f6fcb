"""Operations on images, against their definitions in numpy."""

from __future__ import annotations

import numpy as np
from PIL import Image

from mindcv_halo.data import augment_ops as image_operations


def gradient(height: int = 12, width: int = 16) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_operations_do_what_they_say():
    image = gradient()
    pixels = np.asarray(image).astype(int)
    exact = [
        (image_operations.invert(image), 255 - pixels),
        (image_operations.posterize(image, 3), pixels & 0b11100000),
        (image_operations.posterize(image, 0), pixels & 0b10000000),
        (image_operations.posterize(image, 8), pixels),
        (image_operations.solarize(image, 100), np.where(pixels < 100, pixels, 255 - pixels)),
        (image_operations.solarize(image, 256), pixels),
        (image_operations.solarize_add(image, 60), np.where(pixels < 128, np.minimum(pixels + 60, 255), pixels)),
    ]
    for actual, expected in exact:
        np.testing.assert_array_equal(np.asarray(actual), expected)
    np.testing.assert_allclose(np.asarray(image_operations.brightness(image, 0.5)).astype(int), pixels * 0.5, atol=1)
    grey = np.asarray(image.convert("L"))[..., None]
    np.testing.assert_allclose(
        np.asarray(image_operations.desaturate(image, 1.0)).astype(int), grey * [1, 1, 1], atol=1
    )
    for unchanged in (
        image_operations.color(image, 1),
        image_operations.contrast(image, 1),
        image_operations.sharpness(image, 1),
    ):
        np.testing.assert_array_equal(np.asarray(unchanged), pixels)


def test_geometry_moves_pixels_and_fills_with_the_colour():
    pixels = np.asarray(gradient())
    image = Image.fromarray(pixels)
    moved = np.asarray(image_operations.translate_x(image, 3, resample=Image.Resampling.NEAREST, fillcolor=(1, 2, 3)))
    np.testing.assert_array_equal(moved[:, :-3], pixels[:, 3:])
    assert (moved[:, -3:] == [1, 2, 3]).all()
    moved = np.asarray(image_operations.translate_y(image, -2, resample=Image.Resampling.NEAREST))
    np.testing.assert_array_equal(moved[2:], pixels[:-2])
    assert (moved[:2] == 128).all()
    sheared = np.asarray(image_operations.shear_x(image, 1.0, resample=Image.Resampling.NEAREST))
    for row in range(12):  # row y moves by y, and a half rounds either way
        shifts = [shift for shift in (row, row + 1) if np.array_equal(sheared[row, : 16 - shift], pixels[row, shift:])]
        assert shifts, row
    turned = np.asarray(image_operations.rotate(gradient(12, 12), 90))
    np.testing.assert_array_equal(turned, np.rot90(np.asarray(gradient(12, 12))))
