"""A page that is one file: its style and its pictures lie inside it. All text is escaped here, and only here."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2733; background: #fff; max-width: 1100px; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.numbers { display: flex; flex-wrap: wrap; gap: .8rem; margin: 0; }
.numbers div { background: #eef3f8; border-radius: 8px; padding: .6rem 1.1rem; }
.numbers dt { font-size: .85rem; color: #53616f; } .numbers dd { margin: 0; font-size: 1.4rem; font-weight: 600; }
img.wide { max-width: 100%; height: auto; }
.scroll { max-height: 34rem; overflow: auto; border: 1px solid #d5dde5; border-radius: 8px; }
table { border-collapse: collapse; width: 100%; }
th { position: sticky; top: 0; background: #eef3f8; } th, td { padding: .3rem .8rem; text-align: left; }
tr + tr td { border-top: 1px solid #e6ebf0; } .number { text-align: right; font-variant-numeric: tabular-nums; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); gap: 1rem; }
.cards figure { margin: 0; border: 1px solid #d5dde5; border-radius: 8px; padding: .8rem; overflow-wrap: anywhere; }
.cards img { display: block; width: 100%; height: 180px; margin-bottom: .5rem; object-fit: contain;
             background: #eef3f8; }
.cards img.small { image-rendering: pixelated; }
td, .cards p { white-space: pre-wrap; }
.cards p { margin: .3rem 0 0; } .cards .note { font-size: .8rem; color: #53616f; }
"""


def make_page(title: str, sections: Iterable[str]) -> str:
    """A whole page; `sections` is HTML that the functions below made."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(sections)
        + "\n</body>\n</html>\n"
    )


def make_section(heading: str, *parts: str) -> str:
    """A heading, and HTML that the functions below made."""
    return "\n".join((f"<h2>{escape(heading)}</h2>", *parts))


def make_text(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def make_numbers(numbers: Iterable[tuple[str, str]]) -> str:
    """Names and values that stand out."""
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in numbers)
    return f'<dl class="numbers">{items}</dl>'


def make_table(header: Sequence[tuple[str, bool]], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls if it is long; `header` says for each column its title and whether it holds numbers."""
    styles = [' class="number"' if is_number else "" for _, is_number in header]
    head = "".join(f"<th{style}>{escape(title)}</th>" for style, (title, _) in zip(styles, header, strict=True))
    lines = (
        "".join(f"<td{style}>{escape(cell)}</td>" for style, cell in zip(styles, row, strict=True)) for row in rows
    )
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>'


def make_picture(content: bytes, media_type: str, description: str, style: str) -> str:
    """`description` is for those who do not see it; `style` is a class of the page's style sheet, or nothing."""
    data = base64.b64encode(content).decode()
    return f'<img class="{style}" alt="{escape(description)}" src="data:{media_type};base64,{data}">'


def make_cards(cards: Iterable[tuple[str, Sequence[str], str]]) -> str:
    """Pictures side by side: (HTML of the picture, lines of text, a note in small print)."""
    figures = (
        f"<figure>{picture}<figcaption>{''.join(map(make_text, lines))}"
        f'<p class="note">{escape(note)}</p></figcaption></figure>\n'
        for picture, lines, note in cards
    )
    return f'<div class="cards">\n{"".join(figures)}</div>'


def escape(text: str) -> str:
    """Text as HTML. A browser takes a carriage return that is not escaped for a line feed."""
    return html.escape(text).replace("\r", "&#13;")


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
