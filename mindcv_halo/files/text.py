"""Text that may hold anything: for a message or a picture in one line, for a line of CSV as it was."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def printable(text: str) -> str:
    """The text; characters that cannot be seen are escaped as in Python, spaces at its ends show by quotes."""
    shown = "".join(letter if letter.isprintable() else _escape(letter) for letter in text)
    return shown if shown == shown.strip() and shown else f"'{shown}'"


def show_path(path: str) -> str:
    """A path in a message of one line: with line breaks and the like it stands in quotes, as Python writes it."""
    return path if path.isprintable() else repr(path)


def shorten(text: str, longest: int) -> str:
    """The text, cut off where it is longer than so many letters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def list_some(names: Sequence[str], most: int = 10) -> str:
    """The first of many names, for a message."""
    return ", ".join(map(printable, names[:most])) + (", ..." if len(names) > most else "")


def put_in_one_line(text: str) -> str:
    """A message that may quote names of files: what would end its line, or command a terminal, is escaped."""
    return _CONTROL.sub(lambda match: _escape(match[0]), text)


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def format_csv_line(values: Iterable[Any]) -> str:
    """The values and a newline; None is an empty cell.

    Before Python 3.13 the csv module quotes a cell for a carriage return only where its own lines end with one.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(values)
    return text.getvalue().removesuffix("\r\n") + "\n"
