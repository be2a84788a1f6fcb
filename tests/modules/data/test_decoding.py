from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mindcv_halo.data import bad_image_error, create_dataset, create_loader, create_transforms, find_bad_images
from mindcv_halo.data.decoding import decode, read_decodable
from mindcv_halo.data.storage import MOST_BYTES
from mindcv_halo.errors import UserError


def encode(image: Image.Image, image_format: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, image_format, **options)
    return out.getvalue()


def read(path: Path) -> np.ndarray:
    return decode(read_decodable(str(path)))


def png_of_16_bits(pixels: np.ndarray) -> bytes:
    """An RGB PNG with 16 bits a channel, which Pillow cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "mode, image_format",
    [
        *[(mode, "PNG") for mode in ("RGB", "L", "P", "RGBA", "LA", "1")],
        *[(mode, "TIFF") for mode in ("RGB", "L", "CMYK")],
        ("RGB", "BMP"),
        ("RGB", "PPM"),
        ("P", "GIF"),
        ("RGB", "WEBP"),
        ("RGBA", "WEBP"),
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
    ],
)
def test_every_format_and_mode_gives_three_channels(tmp_path, picture, mode, image_format):
    data = encode(Image.fromarray(picture(0)).convert(mode), image_format)
    path = tmp_path / "image.jpg"  # the name lies on purpose
    path.write_bytes(data)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), int)
    # JPEG: two decoders may round differently by a grey level
    np.testing.assert_allclose(read(path).astype(int), expected, atol=1 if image_format == "JPEG" else 0)


@pytest.mark.parametrize("image_format", ["GIF", "WEBP"])
def test_animations_give_their_first_frame(tmp_path, picture, image_format):
    frames = [Image.fromarray(picture(seed)) for seed in range(3)]
    path = tmp_path / "moving.png"
    path.write_bytes(encode(frames[0], image_format, save_all=True, append_images=frames[1:], lossless=True))
    with Image.open(path) as animation:
        assert animation.n_frames == 3
    tolerance = {"GIF": 60, "WEBP": 0}[image_format]  # GIF has 256 colours
    np.testing.assert_allclose(read(path).astype(int), picture(0), atol=tolerance)


@pytest.mark.parametrize("kind", ["grey PNG", "grey TIFF", "RGB PNG"])
def test_16_bits_keep_the_upper_8(tmp_path, kind):
    shape = (6, 7, 3) if kind == "RGB PNG" else (6, 7)
    pixels = np.random.default_rng(0).integers(0, 1 << 16, shape).astype(np.uint16)
    data = png_of_16_bits(pixels) if kind == "RGB PNG" else encode(Image.fromarray(pixels), kind.split()[1])
    path = tmp_path / "deep"
    path.write_bytes(data)
    expected = pixels >> 8
    np.testing.assert_array_equal(read(path), expected if kind == "RGB PNG" else np.stack([expected] * 3, -1))


def test_an_ordinary_jpeg_passes_untouched(tmp_path, picture):
    path = tmp_path / "image.jpg"
    path.write_bytes(encode(Image.fromarray(picture(0)), "JPEG"))
    assert read_decodable(str(path)) == path.read_bytes()


def test_a_jpeg_with_a_tail_is_still_good(tmp_path, picture):
    data = encode(Image.fromarray(picture(0)), "JPEG")
    path = tmp_path / "image.jpg"
    path.write_bytes(data + b"appended by a camera")
    np.testing.assert_allclose(read(path).astype(int), np.asarray(Image.open(path).convert("RGB"), int), atol=1)


BAD = {
    "zero": lambda good: b"",
    "garbage": lambda good: b"not an image" * 50,
    "truncated": lambda good: good[: len(good) // 2],
    "start only": lambda good: good[:20],
}


@pytest.fixture(params=BAD)
def bad_file(request, make_folder) -> Path:
    path = make_folder({"train/a": 3, "train/b": 3}) / "train" / "a" / "1.jpg"
    path.write_bytes(BAD[request.param](path.read_bytes()))
    return path


def iterate(dataset) -> int:
    loader = create_loader(dataset, 2, transform=create_transforms("", 32, True), num_parallel_workers=2)
    return sum(len(labels) for _, labels in loader.create_tuple_iterator(num_epochs=1, output_numpy=True))


def test_a_bad_file_is_named(bad_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = bad_file.parents[2]
    with pytest.raises(RuntimeError) as caught:
        iterate(create_dataset("", str(root)))
    error = bad_image_error(caught.value)
    assert isinstance(error, UserError)
    assert str(error).startswith(f"bad image file {bad_file}: ")
    assert "\n" not in str(error)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]  # no dump of minddata's
    assert [line.split(": ")[0] for line in find_bad_images(str(root), "train")] == [f"bad image file {bad_file}"]


def test_damage_inside_is_named(make_folder):
    """Its ends are those of an image."""
    root = make_folder({"train/a": 2})
    (root / "train" / "a" / "1.jpg").write_bytes(b"\xff\xd8\xff\xe0 whole at both ends only \xff\xd9")
    with pytest.raises(RuntimeError) as caught:
        iterate(create_dataset("", str(root)))
    error = str(bad_image_error(caught.value))
    assert error.startswith(f"bad image file {root}/train/a/1.jpg: ") and error.endswith(", or set skip_bad_images")
    errors = find_bad_images(str(root), "train")
    assert len(errors) == 1 and "a/1.jpg" in errors[0] and "\n" not in errors[0] and "skip" not in errors[0]


def test_a_line_break_in_a_name_makes_no_second_line(tmp_path):
    path = tmp_path / "two\nlines.jpg"
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"^bad image file '.*two\\nlines.jpg': it is empty; remove or replace it$"):
        read_decodable(str(path))


def test_a_file_that_vanished_is_named(make_folder):
    root = make_folder({"train/a": 2})
    dataset = create_dataset("", str(root))
    (root / "train" / "a" / "1.jpg").unlink()
    with pytest.raises(RuntimeError) as caught:
        iterate(dataset)
    assert "a/1.jpg: No such file" in str(bad_image_error(caught.value))


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "BMP", "GIF"])
def test_an_image_of_too_many_pixels_is_refused_by_its_header(tmp_path, image_format):
    """65,000 x 65,000 pixels in a small file would take 13 GB."""
    data = bytearray(encode(Image.new("RGB", (64, 64)), image_format))
    width, height = {"JPEG": (7, 5), "PNG": (18, 22), "BMP": (18, 22), "GIF": (6, 8)}[image_format]
    start = data.index(b"\xff\xc0") if image_format == "JPEG" else 0
    for place in (start + width, start + height):
        data[place : place + 2] = struct.pack("<H" if image_format in ("BMP", "GIF") else ">H", 65_000)
    if image_format == "PNG":
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path = tmp_path / "bomb"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"bomb: it has (65000 x 65000|more than 178,956,970) pixels"):
        read_decodable(str(path))


def test_a_file_of_gigabytes_is_not_read(tmp_path):
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)  # takes no room on the disk
    with pytest.raises(UserError, match=r"huge.jpg: it has 2,147,483,649 bytes, and files of 2,147,483,648 at "):
        read_decodable(str(path))


def test_a_strip_is_refused(tmp_path):
    """Validation resizes its shorter side, and the longer one with it."""
    for name, size in {"strip.jpg": (1, 51), "strip.png": (102, 2)}.items():
        Image.new("RGB", size).save(tmp_path / name)
        with pytest.raises(UserError, match="its sides may differ by a factor of 50 at most; crop it"):
            read_decodable(str(tmp_path / name))
    Image.new("RGB", (50, 1)).save(tmp_path / "good.png")
    assert read(tmp_path / "good.png").shape == (1, 50, 3)


def test_what_lies_beside_the_pixels_of_a_png_does_no_harm(tmp_path, picture, capfd):
    """A colour profile that decoders complain of, and a comment whose checksum is wrong."""
    data = encode(Image.fromarray(picture(0)), "PNG")

    def chunk(kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
        right = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum or right)

    extra = chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(bytes(200))) + chunk(b"tEXt", b"Title\0x", checksum=1)
    path = tmp_path / "image.png"
    path.write_bytes(data[:33] + extra + data[33:])
    np.testing.assert_array_equal(read(path), picture(0))
    assert capfd.readouterr().err == ""


def test_other_errors_are_not_blamed_on_images():
    assert bad_image_error(RuntimeError("map operation: [Resize] failed. The image has 4 axes.")) is None
