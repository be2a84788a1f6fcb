"""Pages: everything is inside, and no text becomes markup."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from mindcv_halo.report import page as html_page
from mindcv_halo.report.page import make_thumbnail

EVIL = "<script>alert('1')</script>\"&amp;"


class Reader(HTMLParser):
    """Tags, their attributes, and the text between them."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def test_text_stays_text():
    picture = html_page.make_picture(b"\x01\x02", "image/png", EVIL, "wide")
    page = html_page.make_page(
        EVIL,
        [
            html_page.make_numbers([(EVIL, EVIL)]),
            html_page.make_section(EVIL, html_page.make_text(EVIL)),
            html_page.make_table([(EVIL, True)], [(EVIL,)]),
            html_page.make_cards([(picture, (EVIL,), EVIL)]),
        ],
    )
    reader = Reader(page)
    assert "script" not in {tag for tag, _ in reader.tags}
    assert reader.text.count(EVIL) == 10
    (image,) = [attributes for tag, attributes in reader.tags if tag == "img"]
    assert image == {"class": "wide", "alt": EVIL, "src": "data:image/png;base64,AQI="}


def test_tables_keep_their_shape():
    reader = Reader(html_page.make_table([("name", False), ("count", True)], [("a", "1"), ("b", "2")]))
    names = [tag for tag, _ in reader.tags]
    assert names.count("tr") == 3 and names.count("th") == 2 and names.count("td") == 4
    assert [attributes for tag, attributes in reader.tags if tag == "td"][:2] == [{}, {"class": "number"}]


@pytest.mark.parametrize(
    "shape, size, is_small",
    [
        ((8, 8, 1), (8, 8), True),
        ((32, 20, 3), (20, 32), True),
        ((150, 200, 3), (200, 150), False),
        ((375, 500, 3), (240, 180), False),
    ],
)
def test_thumbnails(shape, size, is_small):
    pixels = np.full(shape, 200, np.uint8)
    thumbnail = make_thumbnail(pixels)
    assert thumbnail.is_small is is_small
    with Image.open(io.BytesIO(thumbnail.content)) as image:
        assert image.size == size and Image.MIME[image.format] == thumbnail.media_type
        np.testing.assert_allclose(np.asarray(image), 200, atol=2)  # JPEG


def test_thumbnails_of_very_long_images():
    with Image.open(io.BytesIO(make_thumbnail(np.zeros((1, 2000, 3), np.uint8)).content)) as image:
        assert image.size == (240, 1)


def test_pictures_can_be_had_back():
    content = bytes(range(256))
    (_, attributes), *_ = Reader(html_page.make_picture(content, "image/png", "", "")).tags
    assert base64.b64decode(attributes["src"].partition(",")[2]) == content
