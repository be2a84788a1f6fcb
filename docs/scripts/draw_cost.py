"""Time and memory against the number of pixels, from the benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mindcv_halo.report.pictures import make_figure, save_figure


def draw(results: dict[str, Any], path: Path) -> None:
    figure = make_figure(9, 3.4)
    left, right = figure.subplots(1, 2)
    growth = results["growth"]
    for work, model in dict.fromkeys((row["work"], row["model"]) for row in growth):
        rows = [row for row in growth if (row["work"], row["model"]) == (work, model)]
        pixels = [(row["size"] / rows[0]["size"]) ** 2 for row in rows]
        label = f"{model}, {work}"
        left.plot(pixels, [row["seconds"] / rows[0]["seconds"] for row in rows], marker="o", label=label)
        right.plot(pixels, [row["peak_gb"] for row in rows], marker="o", label=label)
    left.plot(pixels, pixels, color="#888888", linestyle="--", label="as many times as pixels")
    left.set(
        title="seconds, as multiples of the first",
        xlabel="pixels, as multiples of the first",
        xscale="log",
        yscale="log",
    )
    right.set(title="peak memory, GB", xlabel="pixels, as multiples of the first")
    left.legend(fontsize=8)
    right.legend(fontsize=8)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    save_figure(figure, path)
