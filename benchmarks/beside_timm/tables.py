"""From RESULTS.json to RESULTS.md and losses.png: python benchmarks/beside_timm/tables.py writes them anew."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from distances import CHAOS, distances  # noqa: E402

from mindcv_halo.report.pictures import has_matplotlib, make_figure, save_figure  # noqa: E402


def write_report(results: dict, folder: Path) -> str:
    """Write RESULTS.md into `folder`, with losses.png if matplotlib is there, and return the text."""
    parts = [
        "# Beside timm\n\nWritten by `make beside-timm` (benchmarks/beside_timm): the same network, weights, images, "
        "order, optimizer and rates."
    ]
    if "losses" in results:
        parts.append(_losses(results["losses"]))
        if has_matplotlib():
            _plot(results["losses"], folder / "losses.png")
            parts.append("![Losses, and their distance from timm's float64](losses.png)")
    if "accuracy" in results:
        parts.append(_accuracy(results["accuracy"]))
    if "cost" in results:
        parts.append(_cost(results["cost"]))
    text = "\n\n".join(parts) + "\n"
    (folder / "RESULTS.md").write_text(text)
    return text


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _settings(settings: dict) -> str:
    size = f"{settings['image_size']} x {settings['image_size']}"
    images = f", {settings['num_samples']:,} training images" if settings["num_samples"] else ""
    return f"{settings['model']}, {size}, batch {settings['batch_size']}, AdamW with {settings['lr']} at most{images}"


def _losses(part: dict) -> str:
    found, num_steps = part["distances"], part["settings"]["steps"]
    rows = [
        (
            side,
            f"{values['largest_while_calm']:.1e}",
            f"{values['largest']:.1e} (step {values['at_step']})",
            "never" if values["chaos_at_step"] is None else f"step {values['chaos_at_step']}",
        )
        for side, values in found["sides"].items()
    ]
    head = ("side", f"largest in the first {found['calm_steps']} steps", f"in {num_steps}", f"above {CHAOS:.0%}")
    return (
        f"## Losses of {num_steps} steps\n\n{_settings(part['settings'])}. Distances from timm's float64, as a share "
        f"of the loss. The first {found['calm_steps']} steps are those before either float32 is {CHAOS:.0%} off: from "
        f"there on rounding has grown into another training.\n\n{_table(head, rows)}"
    )


def _accuracy(part: dict) -> str:
    settings = part["settings"]
    rows = [
        (side, *(f"{value:.2f}" for value in values), f"{part['mean'][side]:.2f}")
        for side, values in part["top1"].items()
    ]
    head = ("side", *(f"seed {seed}" for seed in range(settings["seeds"])), "mean")
    return f"## Top-1 after {settings['epochs']} epochs\n\n{_settings(settings)}.\n\n{_table(head, rows)}"


def _cost(part: dict) -> str:
    first = part["seconds"]["timm, float32"]
    rows = [
        (side, f"{1000 * seconds:.0f}", f"{first / seconds:.2f}", f"{part['peak_gb'][side]:.2f}")
        for side, seconds in part["seconds"].items()
    ]
    head = ("side", "ms a step", "times timm's float32", "GB")
    return (
        f"## A training step\n\n{_settings(part['settings'])}; {part['settings']['pairs']} rounds in turns, medians. "
        "PyTorch has channels-last maps, and runs eagerly where it is not compiled; memory is the process's peak."
        f"\n\n{_table(head, rows)}"
    )


def _plot(part: dict, path: Path) -> None:
    from matplotlib.ticker import PercentFormatter

    losses = part["losses"]
    truth = next(side for side in losses if side.endswith("float64"))
    figure = make_figure(9.0, 3.4)
    left, right = figure.subplots(1, 2)
    for side, values in losses.items():
        left.plot(values, linewidth=1, label=side)
        if side != truth:
            right.semilogy(distances(values, losses[truth]), linewidth=1, label=side)
    right.axhline(CHAOS, color="#444444", linewidth=0.8, linestyle="--")
    right.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    left.set(xlabel="step", ylabel="loss")
    right.set(xlabel="step", ylabel="distance from timm's float64")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


if __name__ == "__main__":
    print(write_report(json.loads((HERE / "RESULTS.json").read_text()), HERE))
