"""What benchmarks write, in the pages that show it, each between two comments of which the first names the file.

    <!-- written by make pages from benchmarks/NAME/FILE.md -->
    <!-- end of what make pages writes -->

Its title stays away, and its pictures are found from where the page lies.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/training.md")
_PLACE = re.compile(
    r"(?P<begin><!-- written by make pages from (?P<file>\S+) -->\n)(?P<text>.*?)(?P<end><!-- end of what make pages)",
    re.DOTALL,
)
_TITLE = re.compile(r"\A# .*\n+")
_PICTURE = re.compile(r"(?<=\]\()(?=[\w.]+\.png\))")


def write_measured() -> dict[str, str]:
    """The pages by their names, with the results of today; nothing stands where a benchmark has not run."""
    pages = {name: (ROOT / name).read_text(encoding="utf-8") for name in PAGES}
    return {name: _PLACE.sub(lambda match, name=name: _fill(match, name), text) for name, text in pages.items()}


def _fill(match: re.Match[str], page: str) -> str:
    file = ROOT / match["file"]
    if not file.is_file():
        return f"{match['begin']}{match['end']}"
    text = _TITLE.sub("", file.read_text(encoding="utf-8")).strip()
    folder = os.path.relpath(file.parent, (ROOT / page).parent)
    return f"{match['begin']}{_PICTURE.sub(f'{folder}/', text)}\n{match['end']}"
