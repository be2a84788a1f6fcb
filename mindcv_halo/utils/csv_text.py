"""A line of CSV that every reader reads back as it was."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any


def format_csv_line(values: Iterable[Any]) -> str:
    """The values and a newline; None is an empty cell.

    Before Python 3.13 the csv module quotes a cell for a carriage return only where its own lines end with one.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(values)
    return text.getvalue().removesuffix("\r\n") + "\n"
