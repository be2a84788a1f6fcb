"""Every mode that Pillow opens, every depth, and every orientation."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mindcv_halo.data.decoding import decode, read_decodable
from mindcv_halo.data.eight_bits import reduce_depth, to_rgb
from mindcv_halo.engine.images import read_pixels


def draw() -> Image.Image:
    coarse = np.random.default_rng(0).integers(40, 216, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((24, 18), Image.Resampling.BICUBIC)


def encode(image: Image.Image, image_format: str, **options) -> bytes:
    content = io.BytesIO()
    image.save(content, image_format, **options)
    return content.getvalue()


GREY = np.asarray(draw().convert("L"))
DEEP = {
    "I": Image.fromarray(GREY.astype(np.int32) * 257),
    "I;16": Image.fromarray(GREY.astype(np.uint16) * 257),
    "I;16B": Image.frombytes("I;16B", (24, 18), (GREY.astype(">u2") * 257).tobytes()),
    "F": Image.fromarray(GREY.astype(np.float32) / 255),
}
ALPHA = {"LA": "LA", "PA": "PA", "RGBA": "RGBA", "La": "LA", "RGBa": "RGBA"}


@pytest.mark.parametrize("mode", ["RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "LAB"])
def test_colours_keep_their_looks(mode):
    picture = draw()
    if mode == "LAB":  # the way back is not ours
        from PIL import ImageCms

        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(picture, *profiles, outputMode="LAB")
    else:
        image = picture.convert("RGBA").convert("RGBa") if mode == "RGBa" else picture.convert(mode)
    assert image.mode == mode
    tolerance = {"YCbCr": 3, "HSV": 4, "LAB": 10}.get(mode, 0)  # of rounding there and back
    np.testing.assert_allclose(np.asarray(to_rgb(image), int), np.asarray(picture, int), atol=tolerance)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", *DEEP])
def test_greys_keep_their_looks(mode):
    image = DEEP[mode] if mode in DEEP else draw().convert(mode if mode != "La" else "LA").convert(mode)
    expected = np.where(GREY > 127, 255, 0) if mode == "1" else GREY
    found = np.asarray(to_rgb(image), int)
    if mode == "1":  # dithered: it is right on average
        assert set(np.unique(found)) == {0, 255} and abs(found.mean() - GREY.mean()) < 10
        return
    np.testing.assert_allclose(found, np.stack([expected] * 3, -1), atol=1)


@pytest.mark.parametrize("mode", ["P", "PA"])
def test_palettes_keep_their_looks(mode):
    image = draw().quantize(64)
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(np.asarray(to_rgb(image.convert(mode))), expected)


@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
def test_transparency_is_dropped(tmp_path, mode):
    """Whether it is a channel or a colour: what lies below shows."""
    image = draw().quantize(64) if mode == "P" else draw().convert(mode)
    clear = {"L": 100, "P": 3, "RGB": (10, 20, 30)}[mode]
    path = tmp_path / "image.png"
    path.write_bytes(encode(image, "PNG", transparency=clear))
    np.testing.assert_array_equal(decode(read_decodable(str(path))), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(
    "pixels, expected",
    [
        (np.array([[0, 128, 255]], np.uint16), [0, 128, 255]),  # 8 bits in 16
        (np.array([[0, 512, 1023]], np.uint16), [0, 128, 255]),
        (np.array([[0, 2048, 4095]], np.uint16), [0, 128, 255]),  # 12 bits in 16
        (np.array([[0, 8192, 16383]], np.uint16), [0, 128, 255]),
        (np.array([[0, 32768, 65535]], np.uint16), [0, 128, 255]),
        (np.array([[0, 1 << 30, (1 << 31) - 1]], np.int32), [0, 128, 255]),
        (np.array([[0, 1 << 31, (1 << 32) - 1]], np.uint32), [0, 128, 255]),
        (np.array([[-5, 1000, 4000]], np.int32), [0, 62, 250]),
        (np.array([[-5, 0, 0]], np.int32), [0, 0, 0]),
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[-0.5, 0.25, 0.75]], np.float32), [0, 64, 191]),
        (np.array([[0, 127.6, 255]], np.float32), [0, 128, 255]),
        (np.array([[0, 2048, 4095]], np.float32), [0, 128, 255]),
        (np.array([[np.nan, -np.inf, 1]], np.float32), [0, 0, 255]),
        (np.array([[0, 1, np.inf]], np.float32), [0, 0, 255]),
        (np.zeros((1, 3), np.float32), [0, 0, 0]),
    ],
)
def test_depth_is_the_least_that_holds_the_largest_value(pixels, expected):
    reduced = reduce_depth(pixels)
    assert reduced.dtype == np.uint8 and reduced.tolist() == [expected]


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint32, np.float32])
def test_deep_tiffs(tmp_path, dtype):
    """As scanners and microscopes write them."""
    factor = {np.uint16: 1 << 8, np.int32: 1 << 23, np.uint32: 1 << 24, np.float32: 1 / 255}[dtype]
    pixels = (GREY.astype(np.float64) * factor).astype(dtype)
    data = encode(Image.fromarray(pixels.view(np.int32) if dtype == np.uint32 else pixels), "TIFF")
    if dtype == np.uint32:  # Pillow writes signed integers only, and reads others as signed ones
        is_signed, is_not = (bytes.fromhex(f"5301 0300 01000000 0{number}000000") for number in (2, 1))
        assert data.count(is_signed) == 1
        data = data.replace(is_signed, is_not)
    path = tmp_path / "deep.tif"
    path.write_bytes(data)
    np.testing.assert_allclose(decode(read_decodable(str(path)))[..., 0].astype(int), GREY, atol=1)


ROTATED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize(
    "image_format, options",
    [
        ("JPEG", {"quality": 95}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_one_rule_for_the_orientation_of_all_formats(tmp_path, image_format, options):
    for orientation, turn in ROTATED.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / "image"
        path.write_bytes(encode(draw(), image_format, exif=exif, **options))
        expected = np.asarray(draw(), int)
        tolerance = 30 if image_format == "JPEG" else 0
        for is_asked, pixels in ((False, expected), (True, turn(expected))):
            found = decode(read_decodable(str(path), exif=is_asked)).astype(int)
            assert found.shape == pixels.shape
            np.testing.assert_allclose(found, pixels, atol=tolerance)
            with Image.open(path) as image:
                np.testing.assert_allclose(read_pixels(image, is_asked).astype(int), pixels, atol=tolerance)


def test_damaged_exif_turns_nothing(tmp_path):
    path = tmp_path / "image.jpg"
    path.write_bytes(encode(draw(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + bytes(30)))
    assert decode(read_decodable(str(path), exif=True)).shape == (18, 24, 3)
