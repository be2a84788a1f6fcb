"""metrics.csv: a line per epoch, written at once, so that a run that is cut off keeps its history."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ..files.whole_file import write_whole
from .metrics import Metrics

COLUMNS = ("epoch", "step", "lr", "train_loss", "top1", "top5", "val_loss", "images_per_second")


class MetricsTable:
    """The table of a run. `resume_after` keeps the lines of a former part of it, up to that epoch."""

    def __init__(self, path: Path, resume_after: int = 0):
        self.path = path
        kept = [row for row in read_metrics(path) if int(row["epoch"]) <= resume_after] if resume_after else []
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(kept)
        write_whole(path, text.getvalue())

    def append(
        self, epoch: int, step: int, rate: float, train_loss: float, metrics: Metrics | None, speed: float
    ) -> None:
        """`step` counts from the start of the run; epochs without validation leave its cells empty."""
        validated = (metrics.top1, metrics.top5, metrics.loss) if metrics else ("", "", "")
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow((epoch, step, rate, train_loss, *validated, round(speed, 1)))


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The lines of a metrics.csv; one that was cut off in the middle is left out."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if all(value is not None for value in row.values())]
