"""The blocks of a model, from its specification."""

from __future__ import annotations

from pathlib import Path

from mindcv_halo.models.specs import Spec
from mindcv_halo.report.pictures import make_figure, save_figure

COLOURS = {"C": "#c9ced6", "A": "#f2a65a", "L": "#8cc6a5", "T": "#8fb4e3"}
NAMES = {"C": "3x3 convolution", "A": "halo attention", "L": "lambda layer", "T": "bottleneck attention"}
ENDS = "#ffffff"


def draw(spec: Spec, image_size: tuple[int, int], path: Path) -> None:
    """Boxes from left to right: the stem, each block of each stage, the head; heights go with the map's side."""
    from matplotlib.patches import Patch, Rectangle

    columns = list_columns(spec)
    figure = make_figure(max(8.0, 0.32 * len(columns) + 2), 2.6)
    axes = figure.subplots()
    full = image_size[0] / spec.stem.stride
    for x, (letter, _, stride) in enumerate(columns):
        height = image_size[0] / stride / full
        axes.add_patch(
            Rectangle((x + 0.08, -height / 2), 0.84, height, facecolor=COLOURS.get(letter, ENDS), edgecolor="#444444")
        )
    first = 0
    for index, (_, label, stride) in enumerate(columns):
        is_last = index + 1 == len(columns) or columns[index + 1][1] != label
        if is_last:
            side = -(-image_size[0] // stride)
            axes.text((first + index + 1) / 2, -0.62, f"{label}\n{side} x {side}", ha="center", va="top", fontsize=8)
            first = index + 1
    used = dict.fromkeys(letter for letter, _, _ in columns if letter in NAMES)
    axes.legend([Patch(facecolor=COLOURS[key], edgecolor="#444444") for key in used], [NAMES[key] for key in used],
                loc="upper right", fontsize=8, ncols=len(used), frameon=False)  # fmt: skip
    axes.set(xlim=(0, len(columns)), ylim=(-1.05, 0.85))
    axes.set_axis_off()
    save_figure(figure, path)


def list_columns(spec: Spec) -> list[tuple[str, str, int]]:
    """Letter ("" for stem and head), label and stride of everything that the picture shows, in order."""
    columns = [("", f"stem, {spec.stem.widths[-1]}", spec.strides[0])]
    for number, (stage, stride) in enumerate(zip(spec.stages, spec.strides[1:], strict=True), 1):
        columns += [(letter, f"stage {number}, {stage.width}", stride) for letter in stage.pattern]
    if spec.head_width:
        columns.append(("", f"1x1, {spec.head_width}", spec.strides[-1]))
    return columns
