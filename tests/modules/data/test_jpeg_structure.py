"""Which JPEG files MindSpore's decoder gets to see. It ends the process at most of those that are refused here."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mindcv_halo.data.decoding import decode, read_decodable
from mindcv_halo.data.jpeg_structure import find_jpeg_size
from mindcv_halo.errors import UserError


def encode(mode: str = "RGB", size: tuple[int, int] = (48, 40), **options) -> bytes:
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8))
    content = io.BytesIO()
    coarse.resize(size).convert(mode).save(content, "JPEG", **options)
    return content.getvalue()


SOUND = {
    "baseline": {},
    "full colour": {"subsampling": 0},
    "half colour": {"subsampling": 1},
    "progressive": {"progressive": True},
    "grey": {"mode": "L"},
    "grey progressive": {"mode": "L", "progressive": True},
    "four inks": {"mode": "CMYK"},
    "restarts": {"restart_marker_blocks": 2},
    "own codes": {"optimize": True},
    "coarse": {"quality": 1},
    "comment": {"comment": b"\xff\xd9 is no end here"},
    "profile": {"icc_profile": bytes(range(256)) * 300},
    "EXIF": {"exif": b"Exif\0\0" + bytes(300)},
    "a pixel": {"size": (1, 1)},
}


@pytest.mark.parametrize("kind", SOUND)
def test_what_encoders_write_is_sound(kind):
    size = SOUND[kind].get("size", (48, 40))
    content = encode(**SOUND[kind])
    assert find_jpeg_size(content) == size
    assert find_jpeg_size(content + b"appended by a camera") == size
    assert decode(content).shape == (*size[::-1], 3)


def test_fill_bytes_before_a_marker_are_sound():
    content = encode()
    place = content.index(b"\xff\xdb")
    assert find_jpeg_size(content[:place] + b"\xff\xff" + content[place:]) == (48, 40)


def change(content: bytes, marker: int, offset: int, value: int | bytes) -> bytes:
    """The file with a byte, or several, behind the first marker of a kind replaced."""
    place = content.index(bytes([0xFF, marker])) + offset
    value = bytes([value]) if isinstance(value, int) else value
    return content[:place] + value + content[place + len(value) :]


BASELINE, PROGRESSIVE = encode(), encode(progressive=True)
# Where the bytes of a segment are, counted from its marker: 2 its length, 4 its content.
DAMAGED = {
    "no JPEG": b"\x89PNG" + BASELINE[4:],
    "empty": b"",
    "start alone": BASELINE[:2],
    "marker of the quantisation changed": change(BASELINE, 0xDB, 1, 0xDF),
    "marker of the quantisation zeroed": change(BASELINE, 0xDB, 0, b"\0\0"),
    "length of the quantisation": change(BASELINE, 0xDB, 3, 0x42),
    "number of the quantisation": change(BASELINE, 0xDB, 4, 0x05),
    "frame zeroed": change(BASELINE, 0xC0, 0, bytes(19)),
    "marker of the frame changed": change(BASELINE, 0xC0, 1, 0xC3),
    "another frame": BASELINE.replace(b"\xff\xc4", b"\xff\xc0\0\x0b\x08\0\x28\0\x30\1\1\x11\0\xff\xc4", 1),
    "arithmetic codes": change(BASELINE, 0xC0, 1, 0xC9),
    "12 bits": change(BASELINE, 0xC0, 4, 12),
    "no height": change(BASELINE, 0xC0, 5, b"\0\0"),
    "no width": change(BASELINE, 0xC0, 7, b"\0\0"),
    "no components": change(BASELINE, 0xC0, 9, 0),
    "more components": change(BASELINE, 0xC0, 9, 4),
    "sampling of 0": change(BASELINE, 0xC0, 11, 0x02),
    "sampling of 5": change(BASELINE, 0xC0, 11, 0x52),
    "sampling of a fraction": change(BASELINE, 0xC0, 11, 0x33).replace(b"\x02\x11\x01", b"\x02\x22\x01", 1),
    "absent quantisation": change(BASELINE, 0xC0, 12, 3),
    "two components of one name": change(BASELINE, 0xC0, 13, 1),
    "marker of the codes changed": change(BASELINE, 0xC4, 1, 0xC8),
    "kind of the codes": change(BASELINE, 0xC4, 4, 0x20),
    "more codes": change(BASELINE, 0xC4, 5, 9),
    "more codes of a length than there can be": change(BASELINE, 0xC4, 5, bytes([3, 1, 5, 1, 1, 1, 0, 0, 0])),
    "a code of 16 bits for DC": change(BASELINE, 0xC4, 21, 200),
    "marker of the scan changed": change(BASELINE, 0xDA, 1, 0xE0),
    "no scan": BASELINE[: BASELINE.index(b"\xff\xda")] + b"\xff\xd9",
    "components of the scan": change(BASELINE, 0xDA, 4, 5),
    "a component that is none": change(BASELINE, 0xDA, 5, 9),
    "a component twice": change(BASELINE, 0xDA, 7, 1),
    "absent codes": change(BASELINE, 0xDA, 6, 0x33),
    "a band in a baseline scan": change(BASELINE, 0xDA, 12, 20),
    "a later scan again": BASELINE[:-2] + BASELINE[BASELINE.index(b"\xff\xda") :],
    "start inside": BASELINE[:-2] + b"\xff\xd8\xff\xd9",
    "no end": BASELINE[:-2],
    "length of a comment": BASELINE[:2] + b"\xff\xfe\0\1" + BASELINE[2:],
    "restart interval": BASELINE[:2] + b"\xff\xdd\0\5\0\0\0" + BASELINE[2:],
    "version of JFIF": change(BASELINE, 0xE0, 9, 7),
    "colours of Adobe": BASELINE[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x09" + BASELINE[2:],
    "progressive: band": change(PROGRESSIVE, 0xDA, 11, 5),
    "progressive: bits": change(PROGRESSIVE, 0xDA, 13, 0x3F),
    "progressive: a scan is gone": PROGRESSIVE.replace(b"\xff\xda", b"\xff\xfe", 1),
    "progressive: codes are gone": PROGRESSIVE.replace(b"\xff\xc4", b"\xff\xfe"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_is_damaged_is_not(kind):
    assert find_jpeg_size(DAMAGED[kind]) is None


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_is_damaged_is_decoded_or_named(tmp_path, kind):
    """By Pillow: MindSpore's decoder would end the process at most of these."""
    path = tmp_path / "image.jpg"
    path.write_bytes(DAMAGED[kind])
    try:
        assert decode(read_decodable(str(path))).ndim == 3
    except UserError as error:
        assert str(error).startswith(f"bad image file {path}: ") and str(error).isprintable()


def test_no_damage_fools_it_and_none_fails():
    """Whatever is taken for sound, MindSpore decodes; whatever bytes there are, the answer is a size or None."""
    sound = 0
    for number in range(600):
        rng = np.random.default_rng(number)
        content = bytearray((BASELINE, PROGRESSIVE)[number % 2])
        for place in rng.integers(2, len(content) - 2, 3):
            content[place] = int(rng.integers(256))
        size = find_jpeg_size(bytes(content))
        if size is not None and size[0] * size[1] < 1 << 20:
            sound += 1
            assert decode(bytes(content)).shape == (*size[::-1], 3)
    assert sound > 50
