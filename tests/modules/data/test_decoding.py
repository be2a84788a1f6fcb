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


def test_a_good_jpeg_after_a_damaged_one(tmp_path, monkeypatch):
    """MindSpore 2.10's own decoder refuses it once."""
    monkeypatch.chdir(tmp_path)  # it leaves a copy of what it refuses
    content = io.BytesIO()
    Image.new("RGB", (16, 12), "red").save(content, "JPEG")
    good = content.getvalue()
    for _ in range(2):
        with pytest.raises(RuntimeError):
            decode(good[:4])
        assert decode(good).shape == (12, 16, 3)


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


def test_a_bad_file_is_skipped_and_counted(bad_file):
    dataset = create_dataset("", str(bad_file.parents[2]), skip_bad_images=True)
    assert len(dataset.skipped) == 1 and str(bad_file) in dataset.skipped[0]
    assert dataset.get_dataset_size() == 5
    assert iterate(dataset) == 5


def test_only_bad_files_is_an_error(make_folder):
    root = make_folder({"train/a": 1})
    (root / "train" / "a" / "0.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="none of the 1 images can be decoded"):
        create_dataset("", str(root), skip_bad_images=True)


def test_a_file_that_only_the_decoder_refuses_points_to_the_search(make_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # minddata drops a copy of the image into the working directory
    root = make_folder({"train/a": 2})
    (root / "train" / "a" / "1.jpg").write_bytes(b"\xff\xd8\xff\xe0 whole at both ends only \xff\xd9")
    with pytest.raises(RuntimeError) as caught:
        iterate(create_dataset("", str(root)))
    assert "find_bad_images(root, split) lists the files" in str(bad_image_error(caught.value))
    errors = find_bad_images(str(root), "train")
    assert len(errors) == 1 and "a/1.jpg" in errors[0] and "\n" not in errors[0]


def test_a_file_that_vanished_is_named(make_folder):
    root = make_folder({"train/a": 2})
    dataset = create_dataset("", str(root))
    (root / "train" / "a" / "1.jpg").unlink()
    with pytest.raises(RuntimeError) as caught:
        iterate(dataset)
    assert "a/1.jpg: No such file" in str(bad_image_error(caught.value))


def test_other_errors_are_not_blamed_on_images():
    assert bad_image_error(RuntimeError("map operation: [Resize] failed. The image has 4 axes.")) is None
