"""A picture of where a query looked: its block and window on the image, and the weights of each head over it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..files.text import printable, shorten
from ..models.attention_maps import AttentionMap, Box
from ..report.pictures import make_figure, save_figure
from .infer import Explanation, Prediction

_QUERY, _BLOCK, _WINDOW = "#ff2d6f", "#ffd21f", "#22c7ff"
_OUTSIDE = "#d9dde2"  # what lies beyond the image
_LONGEST_NAME = 40  # letters
_MARGIN = 0.15  # of a window's side, that a head's picture shows around it


def draw_explanation(explanation: Explanation, path: Path) -> None:
    """Write a PNG: what the network saw of the image with query, block and window outlined, and each head's weights.

    Needs matplotlib.
    """
    from matplotlib.patches import Patch

    attention, view = explanation.attention, explanation.view
    num_heads = len(attention.weights)
    rows = 2 if 4 <= num_heads <= 8 else math.ceil(math.sqrt(num_heads))
    columns = math.ceil(num_heads / rows)
    height = max(6.8, 2.75 * rows + 0.9)
    figure = make_figure(5.6 + 2.5 * columns, height)
    left, right = figure.subfigures(1, 2, width_ratios=(5.6, 2.5 * columns))
    axes, below = left.subplots(2, 1, height_ratios=(6, 1))
    _draw_image(axes, view, attention)
    axes.set_anchor("N")
    left.suptitle(_describe(explanation.prediction), x=0.03, ha="left", linespacing=1.4, fontsize=11, parse_math=False)
    frames = [Patch(fc="none", ec=colour, lw=2.5, label=label) for colour, label in _label_frames(attention)]
    below.legend(handles=frames, loc="center", frameon=False)
    below.set_axis_off()
    cells = right.subplots(rows, columns, squeeze=False).ravel()
    for head, weights in enumerate(attention.weights):
        shown = _draw_head(cells[head], view, attention, head, weights)
    for empty in cells[num_heads:]:
        empty.set_axis_off()
    bar = right.colorbar(shown, ax=cells.tolist(), location="bottom", shrink=0.6, aspect=40, pad=0.03, format="{x:.0%}")
    bar.set_label("weight of a key, as a share of the head's largest")
    right.suptitle(
        f"{attention.layer}: {num_heads} heads; a key is a square of {attention.stride} x {attention.stride} pixels",
        fontsize=11,
    )
    save_figure(figure, path)


def _describe(prediction: Prediction) -> str:
    names = [shorten(printable(name), _LONGEST_NAME) for name in prediction.class_names]
    lines = [f"{share:.1%}  {name}" for name, share in zip(names, prediction.probabilities, strict=True)]
    return "\n".join(lines[:3])


def _draw_image(axes, view: np.ndarray, attention: AttentionMap) -> None:
    _show_pixels(axes, view)
    _outline(axes, attention.image_window, _WINDOW, width=2.5)
    _outline(axes, attention.image_block, _BLOCK, width=2.5)
    _outline(axes, attention.image_query, _QUERY, width=2.5)
    _limit(axes, _around(attention.image_window, view.shape, whole_image=True))
    axes.set_facecolor(_OUTSIDE)
    axes.set_xlabel("x, in pixels of what the network saw")
    axes.set_ylabel("y")


def _label_frames(attention: AttentionMap) -> list[tuple[str, str]]:
    (top, left, bottom, right), block, window = attention.image_query, attention.block, attention.window
    sides = [box.bottom - box.top for box in (block, window)]
    return [
        (_QUERY, f"the query: y {top} to {bottom - 1}, x {left} to {right - 1}"),
        (_BLOCK, f"its block of {sides[0]} x {sides[0]} pixels of the map"),
        (_WINDOW, f"its window of {sides[1]} x {sides[1]} keys"),
    ]


def _draw_head(axes, view: np.ndarray, attention: AttentionMap, head: int, weights: np.ndarray):
    """One head's weights over the part of the image around the window; the picture of the weights is returned."""
    # Pale and without colour, the image tells the place and leaves the colours to the weights.
    grey = 110 + 0.5 * view.mean(2, keepdims=True)
    _show_pixels(axes, grey.astype(np.uint8))
    axes.set_facecolor(_OUTSIDE)
    window = attention.image_window
    peak = float(weights.max())
    extent = (window.left - 0.5, window.right - 0.5, window.bottom - 0.5, window.top - 0.5)
    shown = axes.imshow(
        weights / peak, cmap="inferno", vmin=0, vmax=1, alpha=0.78, extent=extent, interpolation="nearest"
    )
    _outline(axes, window, _WINDOW, width=1.2)
    _outline(axes, attention.image_block, _BLOCK, width=1.2)
    _outline(axes, attention.image_query, _QUERY, width=1.2)
    _limit(axes, _around(window, view.shape, whole_image=False))
    axes.set_xticks([])
    axes.set_yticks([])
    outside = float(weights[~attention.inside].sum())
    beyond = f", {outside:.0%} outside" if outside >= 0.005 else ""
    axes.set_title(f"head {head}: largest {peak:.1%}{beyond}", fontsize=9)
    return shown


def _show_pixels(axes, pixels: np.ndarray) -> None:
    colours = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    axes.imshow(colours, interpolation="nearest")


def _outline(axes, box: Box, colour: str, *, width: float) -> None:
    """A frame that shows on any ground, because it lies on a darker one."""
    from matplotlib.patches import Rectangle

    place = (box.left - 0.5, box.top - 0.5), box.right - box.left, box.bottom - box.top
    axes.add_patch(Rectangle(*place, fill=False, edgecolor="black", linewidth=width + 1.5, clip_on=False))
    axes.add_patch(Rectangle(*place, fill=False, edgecolor=colour, linewidth=width, clip_on=False))


def _around(window: Box, shape: Sequence[int], *, whole_image: bool) -> Box:
    """What a picture shows: the window, all of it, and the whole image or the part of it around the window."""
    height, width = shape[:2]
    if whole_image:
        return Box(min(0, window.top), min(0, window.left), max(height, window.bottom), max(width, window.right))
    margin = round(_MARGIN * (window.bottom - window.top))
    return Box(
        min(window.top, max(0, window.top - margin)),
        min(window.left, max(0, window.left - margin)),
        max(window.bottom, min(height, window.bottom + margin)),
        max(window.right, min(width, window.right + margin)),
    )


def _limit(axes, box: Box) -> None:
    axes.set_xlim(box.left - 0.5, box.right - 0.5)
    axes.set_ylim(box.bottom - 0.5, box.top - 0.5)
