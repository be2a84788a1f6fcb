"""A validation as a folder to look at: tables, the confusion matrix and the worst mistakes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple
from pathlib import Path

import numpy as np

from ..data.class_names import count_named_classes
from ..files.text import format_csv_line
from ..files.whole_file import write_whole
from ..runs.metrics import Metrics
from .page import make_cards, make_numbers, make_page, make_picture, make_section, make_table, make_text, make_thumbnail
from .pictures import draw_confusion
from .results import ClassRow, ImageResults, count_confusions, judge_images, tabulate_classes

NUM_WORST = 24  # images on the page
CSV_COLUMNS = ("class", "images", "top1", "top5", "loss", "taken_for", "times_taken")


class LogitsRecorder:
    """All logits of a validation, in one array: 200 MB for 50,000 images of 1,000 classes.

    It knows beforehand how many images there are at most.
    """

    def __init__(self, most: int):
        self.most = most
        self.num_seen = 0
        self._logits = np.empty((0, 0), np.float32)
        self._labels = np.empty(most, np.int32)

    def __call__(self, logits: np.ndarray, labels: np.ndarray) -> None:
        """The next batch: (B, classes) and (B,)."""
        if self.num_seen == 0:
            self._logits = np.empty((self.most, logits.shape[1]), np.float32)
        here = slice(self.num_seen, self.num_seen + len(labels))
        self._logits[here], self._labels[here] = logits, labels
        self.num_seen += len(labels)

    @property
    def logits(self) -> np.ndarray:
        """float32, (images, classes)"""
        return self._logits[: self.num_seen]

    @property
    def labels(self) -> np.ndarray:
        """int32, (images,)"""
        return self._labels[: self.num_seen]


def write_report(
    folder: Path,
    *,
    title: str,
    class_names: Sequence[str],
    paths: Sequence[str],
    read_image: Callable[[int], np.ndarray],
    labels: np.ndarray,
    logits: np.ndarray,
    metrics: Metrics,
) -> Path:
    """Write metrics.json, per_class.csv, confusion.png and report.html, and return the path of the last.

    labels: (images,); logits: (images, classes); paths: one text per image; read_image(i): the pixels of image i,
    uint8, (height, width, 3 or 1), asked for the worst mistakes only. Classes without a folder are left out, unless an
    image was taken for one. Needs matplotlib.
    """
    assert metrics.num_images == len(labels) == len(logits) == len(paths)
    num_classes = len(class_names)
    results = judge_images(logits, labels)
    class_names = class_names[: max(count_named_classes(class_names), 1 + int(results.predictions.max()))]
    confusions = count_confusions(results, len(class_names))
    rows = tabulate_classes(results, confusions, class_names, has_top5=metrics.top5 is not None)

    numbers = {name: value for name, value in asdict(metrics).items() if value is not None}
    numbers["num_classes"] = num_classes
    finite = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
    write_whole(folder / "metrics.json", json.dumps({"title": title, **finite}, indent=2) + "\n")
    write_whole(folder / "per_class.csv", _format_csv(rows))
    draw_confusion(confusions, class_names, folder / "confusion.png")

    sections = (
        _describe_numbers(metrics, num_classes),
        _show_confusions((folder / "confusion.png").read_bytes()),
        _tabulate(rows, has_top5=metrics.top5 is not None),
        _show_mistakes(results, class_names, paths, read_image),
    )
    page = folder / "report.html"
    write_whole(page, make_page(f"Validation of {title}", sections))
    return page


def _format_csv(rows: Sequence[ClassRow]) -> str:
    return "".join(map(format_csv_line, (CSV_COLUMNS, *(astuple(row) for row in rows))))


def _describe_numbers(metrics: Metrics, num_classes: int) -> str:
    top5 = () if metrics.top5 is None else (("top-5", f"{metrics.top5:.2f} %"),)
    return make_numbers(
        (
            ("top-1", f"{metrics.top1:.2f} %"),
            *top5,
            ("loss", f"{metrics.loss:.4f}"),
            ("images", f"{metrics.num_images:,}"),
            *((("left out", f"{metrics.num_left_out:,}"),) if metrics.num_left_out else ()),
            ("classes", f"{num_classes:,}"),
        )
    )


def _show_confusions(content: bytes) -> str:
    picture = make_picture(content, "image/png", "The confusion matrix", "wide")
    return make_section("What was taken for what", picture)


def _tabulate(rows: Sequence[ClassRow], *, has_top5: bool) -> str:
    """The table of classes, the worst first (of equal ones that with the higher loss), those without images last."""
    ranked = sorted(rows, key=lambda row: (row.top1 is None, row.top1, -(row.loss or 0)))
    header = (
        ("class", False),
        ("images", True),
        ("top-1, %", True),
        *((("top-5, %", True),) if has_top5 else ()),
        ("mean loss", True),
        ("most often taken for", False),
    )
    table = make_table(header, (_format_row(row, has_top5) for row in ranked))
    return make_section("Classes, the worst first", table)


def _format_row(row: ClassRow, has_top5: bool) -> tuple[str, ...]:
    shares = (row.top1, row.top5) if has_top5 else (row.top1,)
    if row.num_images == 0:
        return row.name, "0", *("" for _ in shares), "", ""
    taken_for = f"{row.taken_for} ({row.num_taken})" if row.taken_for is not None else ""
    return row.name, str(row.num_images), *(f"{share:.1f}" for share in shares), f"{row.loss:.3f}", taken_for


def _show_mistakes(
    results: ImageResults, class_names: Sequence[str], paths: Sequence[str], read_image: Callable[[int], np.ndarray]
) -> str:
    mistakes = results.mistakes()
    if not len(mistakes):
        return make_section("The worst mistakes", make_text("There are none."))
    shown = mistakes[:NUM_WORST]
    cards = []
    for position in shown:
        true, predicted = class_names[results.labels[position]], class_names[results.predictions[position]]
        small = make_thumbnail(read_image(int(position)))
        style = "small" if small.is_small else ""
        lines = (
            f"true: {true} ({results.label_probabilities[position]:.1%})",
            f"predicted: {predicted} ({results.probabilities[position]:.1%})",
        )
        note = f"loss {results.losses[position]:.2f}, {paths[position]}"
        cards.append((make_picture(small.content, small.media_type, true, style), lines, note))
    chosen = f"The {NUM_WORST} with the highest loss, of" if len(mistakes) > NUM_WORST else "All"
    text = f"{chosen} {len(mistakes):,} images that were taken for another class; in brackets the probabilities."
    return make_section("The worst mistakes", make_text(text), make_cards(cards))
