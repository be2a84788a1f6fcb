"""Pictures of a run: its curves, and its confusion matrix, for three classes as for a thousand.

matplotlib, which is optional, is used through figure objects alone: no global state, no display.
"""

from __future__ import annotations

import csv
import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from ..files.text import printable, shorten
from ..files.whole_file import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 120


def has_matplotlib() -> bool:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def require_matplotlib(purpose: str) -> None:
    """Raise UserError, which says that `purpose` needs it, if matplotlib is missing."""
    if not has_matplotlib():
        raise UserError(f"{purpose} needs matplotlib; pip install mindcv_halo[plot]")


def make_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, which arranges its parts so that none covers another."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure as PNG, whole or not at all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    content = io.BytesIO()
    with warnings.catch_warnings():
        # Names in scripts that matplotlib's font lacks become boxes; one warning for each letter would help nobody.
        warnings.filterwarnings("ignore", r"Glyph .* missing from")
        FigureCanvasAgg(figure).print_png(content)
    write_whole(path, content.getvalue())


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


_MOST_NUMBERS = 25  # classes, up to which a cell has room for its number
_MOST_NAMES = 60  # classes, up to which the axes have room for names
_MOST_CELLS = 250  # a side; more classes than that share cells, because a cell of a pixel or two is not seen
_LONGEST_NAME = 24  # letters
_LETTER_WIDTH = 0.1  # inches, of the larger names
_MARGINS = 1.5  # inches
_NAME_SHARE = 2.5  # of a side, in lengths of the longest name


def draw_confusion(confusions: np.ndarray, class_names: Sequence[str], path: Path) -> None:
    """Write a PNG of `confusions`: (classes, classes), images of the class of a row taken for that of a column.

    Colours are shares of a row, so that rare classes show as well as frequent ones. A cell without images is white, a
    row without images grey. From 26 classes on the colours follow the square root of the share: single mistakes show.
    """
    num_classes = len(class_names)
    names = [shorten(printable(name), _LONGEST_NAME) for name in class_names]
    per_cell = -(-num_classes // _MOST_CELLS)
    cells = _merge(confusions, per_cell)
    totals = cells.sum(1, keepdims=True)
    shares = np.ma.masked_equal(100 * cells / np.maximum(totals, 1), 0)
    room = _NAME_SHARE * _LETTER_WIDTH * max(map(len, names))
    side = min(max(4.0, room, _MARGINS + 0.42 * num_classes), 11.0)
    figure = make_figure(side + 1.0, side)
    axes = figure.subplots()
    norm, colours = _make_colours(num_classes)
    end = len(cells) * per_cell - 0.5
    image = axes.imshow(shares, norm=norm, cmap=colours, interpolation="nearest", extent=(-0.5, end, end, -0.5))
    for row in np.flatnonzero(totals == 0):
        axes.axhspan(row * per_cell - 0.5, (row + 1) * per_cell - 0.5, color="0.9")
    figure.colorbar(image, ax=axes, shrink=0.8, label="% of the true class")
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class" + (f" ({per_cell} neighbouring classes share a cell)" if per_cell > 1 else ""))
    if num_classes <= _MOST_NAMES:
        _name_axes(axes, names, cell_width=(side - _MARGINS) / num_classes)
    if num_classes <= _MOST_NUMBERS:
        _write_numbers(axes, cells, shares)
    save_figure(figure, path)


def _merge(confusions: np.ndarray, per_cell: int) -> np.ndarray:
    """Sums over squares of per_cell x per_cell; the last row and column may hold fewer classes."""
    starts = np.arange(0, len(confusions), per_cell)
    return np.add.reduceat(np.add.reduceat(confusions, starts, axis=0), starts, axis=1)


def _make_colours(num_classes: int):
    """Shares to colours: blues without the palest, so that a cell of one image differs from an empty one."""
    from matplotlib import colormaps, colors

    norm = colors.Normalize(0, 100) if num_classes <= _MOST_NUMBERS else colors.PowerNorm(0.5, 0, 100)
    return norm, colors.ListedColormap(colormaps["Blues"](np.linspace(0.12, 1, 256)))


def _name_axes(axes, names: Sequence[str], cell_width: float) -> None:
    size = 10 if len(names) <= _MOST_NUMBERS else 7
    is_narrow = max(map(len, names)) * _LETTER_WIDTH <= cell_width
    places = range(len(names))
    # A name may hold a dollar sign, with which matplotlib would begin a formula.
    axes.set_xticks(places, names, rotation=0 if is_narrow else 90, fontsize=size, parse_math=False)
    axes.set_yticks(places, names, fontsize=size, parse_math=False)


def _write_numbers(axes, cells: np.ndarray, shares: np.ndarray) -> None:
    size = 10 if len(cells) <= 12 else 7
    for row, column in zip(*np.nonzero(cells), strict=True):
        colour = "white" if shares[row, column] > 50 else "black"
        axes.text(column, row, str(cells[row, column]), ha="center", va="center", color=colour, fontsize=size)
