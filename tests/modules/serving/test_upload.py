"""Uploads of strangers: what is taken, and that nothing else costs more than a look."""

from __future__ import annotations

import io
import struct
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from mindcv_halo.data.decoding import to_rgb
from mindcv_halo.errors import UserError
from mindcv_halo.serving.limits import Limits, RefusedError
from mindcv_halo.serving.upload import FORMATS, decode_upload

PIXELS = np.stack([*np.mgrid[0:240:8, 0:240:6], np.full((30, 40), 90)], axis=2).astype(np.uint8)  # 30 x 40


def encode(kind: str, pixels: np.ndarray = PIXELS) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


def huge_png(width: int, height: int) -> bytes:
    """A PNG that says it has this size; a few bytes of zeros follow, compressed."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(10_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def refuse(data: bytes, **limits) -> RefusedError:
    with pytest.raises(RefusedError) as error:
        decode_upload(data, Limits(**limits))
    return error.value


@pytest.mark.parametrize("kind", FORMATS)
def test_formats(kind):
    image = decode_upload(encode(kind), Limits())
    assert image.size == (40, 30)
    assert np.abs(np.array(image.convert("RGB")).astype(int) - PIXELS).mean() < 8  # some formats lose a little


@pytest.mark.parametrize("kind", ["TIFF", "PPM", "ICO", "EPS", "PDF"])
def test_other_formats_are_refused_whatever_pillow_thinks_of_them(kind):
    error = refuse(encode(kind))
    assert error.status == 415 and "this is none of JPEG, PNG" in str(error)


@pytest.mark.parametrize("data", [b"", b"no image", b"\x00" * 1000, b"<svg xmlns='http://www.w3.org/2000/svg'/>"])
def test_what_is_no_image(data):
    assert refuse(data).status == 415


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_images_that_are_cut_short(kind):
    data = encode(kind, np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    for share in (0.005, 0.1, 0.5, 0.95):
        error = refuse(data[: int(share * len(data))])
        assert error.status == 422 or (share < 0.1 and error.status == 415)  # of the header little is left
        assert "\n" not in str(error)


@pytest.mark.parametrize("size", [(8_000, 8_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_too_many_pixels_are_never_decoded(size):
    data = huge_png(*size)
    assert len(data) < 300
    tracemalloc.start()
    error = refuse(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert error.status == 413 and "50,000,000" in str(error) and peak < 2**20


def test_the_limit_of_pixels_is_exact():
    data = encode("PNG")
    assert decode_upload(data, Limits(max_pixels=30 * 40)).size == (40, 30)
    assert "40 x 30 pixels; at most 1,199 are taken" in str(refuse(data, max_pixels=30 * 40 - 1))


def test_what_pillow_would_refuse_cannot_be_allowed():
    most = 2 * Image.MAX_IMAGE_PIXELS
    with pytest.raises(UserError, match=f"max_pixels 300000000 must be at most {most}, where Pillow refuses"):
        Limits(max_pixels=300_000_000)
    error = refuse(huge_png(14_000, 14_000), max_pixels=most)
    assert f"more than {most:,} pixels" in str(error)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow's warning reaches nobody
        assert refuse(huge_png(13_000, 13_000), max_pixels=most).status == 422


@pytest.mark.parametrize("kind", [np.uint16, np.int32])
def test_greys_of_16_bits_cost_little_more_than_their_pixels(kind):
    greys = (np.arange(1_000_000).reshape(1000, 1000) % 65_536).astype(kind)
    image = Image.fromarray(greys)  # as Pillow's newer and older versions decode a PNG of 16 bits
    tracemalloc.start()
    rgb = to_rgb(image)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(np.array(rgb), np.stack([greys >> 8] * 3, axis=2))
    assert peak < 9 * greys.size


def test_of_an_animation_the_first_frame():
    content = io.BytesIO()
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (200, 20)]
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:])
    image = decode_upload(content.getvalue(), Limits())
    assert np.array(image.convert("RGB")).min() > 190
