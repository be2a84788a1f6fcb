"""Predictions as text: for people, as JSON, as CSV. Each piece of text is ready as soon as its image is predicted."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from ..files.text import format_csv_line, printable, put_in_one_line
from .infer import Prediction

CSV_COLUMNS = ("path", "rank", "label", "class", "probability")


def format_table(predictions: Iterable[Prediction]) -> Iterator[str]:
    """The path of an image, then a line for each class, the likeliest first."""
    for prediction in predictions:
        rows = zip(prediction.probabilities, prediction.class_names, strict=True)
        yield f"{put_in_one_line(str(prediction.path))}\n" + "".join(
            f"{100 * share:7.2f} %  {printable(name)}\n" for share, name in rows
        )


def format_json(predictions: Iterable[Prediction]) -> Iterator[str]:
    """One list, with an object for each image. What is no number, which JSON does not have, is null."""
    opening = "["
    for prediction in predictions:
        classes = [
            {"label": label, "name": name, "probability": None if math.isnan(share) else share}
            for _, label, name, share in _list_classes(prediction)
        ]
        content = {"path": str(prediction.path), "predictions": classes}
        yield f"{opening}\n{_format_json(content)}"
        opening = ","
    yield "[]\n" if opening == "[" else "\n]\n"


def format_csv(predictions: Iterable[Prediction]) -> Iterator[str]:
    """A line for each class of each image; ranks count from 1."""
    yield format_csv_line(CSV_COLUMNS)
    for prediction in predictions:
        yield "".join(format_csv_line((prediction.path, *row)) for row in _list_classes(prediction))


FORMATS = {"table": format_table, "json": format_json, "csv": format_csv}


def _list_classes(prediction: Prediction) -> Iterator[tuple[int, int, str, float]]:
    """(rank, label, name, probability), the likeliest first."""
    rows = zip(prediction.labels, prediction.class_names, prediction.probabilities, strict=True)
    for rank, (label, name, share) in enumerate(rows, 1):
        yield rank, label, name, round(share, 6)


def _format_json(content: Any) -> str:
    """JSON that is UTF-8 whatever is in it: bytes in the name of a file that are no UTF-8 are escaped."""
    text = json.dumps(content, ensure_ascii=False)
    return re.sub("[\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)
