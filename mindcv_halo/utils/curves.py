"""The curves of a run, drawn from its metrics.csv."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from .figures import has_matplotlib, make_figure, save_figure

# Title of a panel, and its lines: a column of metrics.csv, its label and its colour.
PANELS = (
    ("loss", (("train_loss", "train", "tab:blue"), ("val_loss", "validation", "tab:orange"))),
    ("accuracy, %", (("top1", "top-1", "tab:blue"), ("top5", "top-5", "tab:green"))),
    ("learning rate", (("lr", "end of epoch", "tab:gray"),)),
)
_MOST_MARKERS = 60  # with more points than that the marks run into each other


def plot_curves(metrics_csv: str | Path, target_png: str | Path) -> bool:
    """Draw loss, top-1 and top-5, and learning rate over the epochs; False, and no file, without matplotlib.

    An empty cell (an epoch without validation) is left out of its line; a panel without any number is left out whole.
    """
    if not has_matplotlib():
        return False
    from matplotlib.ticker import MaxNLocator

    with Path(metrics_csv).open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = {name: _read_points(rows, name) for _, columns in PANELS for name, _, _ in columns}
    panels = [panel for panel in PANELS if any(lines[name] for name, _, _ in panel[1])]
    figure = make_figure(8, 0.4 + 2.6 * max(1, len(panels)))
    all_axes = figure.subplots(max(1, len(panels)), sharex=True, squeeze=False)[:, 0]
    for axes, (title, columns) in zip(all_axes, panels, strict=False):
        for name, label, colour in columns:
            points = lines[name]
            if points:
                marker = "o" if len(points) <= _MOST_MARKERS else ""
                axes.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=3.5, label=label)
        axes.set_ylabel(title)
        axes.grid(alpha=0.3)
        axes.legend()
    all_axes[-1].set_xlabel("epoch")
    all_axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    all_axes[-1].margins(x=0.02)
    save_figure(figure, Path(target_png))
    return True


def _read_points(rows: list[dict[str, str]], name: str) -> list[tuple[float, float]]:
    """(epoch, value) of every row whose cell holds a finite number."""
    points = [(float(row["epoch"]), float(row[name])) for row in rows if row.get(name)]
    return [point for point in points if math.isfinite(point[1])]
