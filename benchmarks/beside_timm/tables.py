"""From RESULTS.json to RESULTS.md, SUMMARY.md and losses.png: `python tables.py` writes them anew."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

from distances import CHAOS, compare_losses, distances  # noqa: E402
from kept_runs import common_seeds  # noqa: E402
from machine import name_machine  # noqa: E402
from markdown_table import make_table  # noqa: E402

from mindcv_halo.report.pictures import has_matplotlib, make_figure, save_figure  # noqa: E402

TRUTH = "timm, float64"
PICTURE = "![Losses of both, and their distance from timm's float64](losses.png)"
SHOWN = ("ours, float32", "ours, bfloat16", "timm, float32")  # in the summary


def write_report(results: dict, folder: Path) -> str:
    """Write RESULTS.md and SUMMARY.md into `folder`, with losses.png if matplotlib is there; return the former's text.

    A part is shown as soon as all its sides have run.
    """
    parts = [
        "# Beside timm\n\nWritten by `make beside-timm` (benchmarks/beside_timm): the same network, weights, images, "
        "order, optimizer and rates."
    ]
    losses = _read_losses(results)
    if TRUTH in losses:  # it is the last one
        parts.append(_losses(results["losses"], losses))
        if has_matplotlib():
            _plot(losses, folder / "losses.png")
            parts.append(PICTURE)
    if _count_seeds(results):
        parts.append(_accuracy(results["accuracy"]))
    if _read_cost(results):
        parts.append(_cost(results["cost"]))
    text = "\n\n".join(parts) + "\n"
    (folder / "RESULTS.md").write_text(text)
    summary = list(_summarise(results))
    if summary:
        about = (
            "The same network, weights, images and rates, trained here and by timm and PyTorch (`make beside-timm`):"
        )
        shown = [about, make_table(("", *SHOWN), summary), *([PICTURE] if TRUTH in losses else [])]
        (folder / "SUMMARY.md").write_text("\n\n".join(shown) + "\n")
    return text


def _read_losses(results: dict) -> dict[str, list[float]]:
    return {side: runs["0"]["losses"] for side, runs in results.get("losses", {"runs": {}})["runs"].items()}


def _count_seeds(results: dict) -> int:
    """Of accuracy: those that all sides have."""
    runs = results.get("accuracy", {"runs": {}})["runs"]
    return len(common_seeds(runs)) if runs.keys() >= set(SHOWN) else 0


def _read_cost(results: dict) -> dict:
    runs = results.get("cost", {"runs": {}})["runs"]
    return next(iter(runs.values()))["0"] if runs else {}


def _settings(settings: dict) -> str:
    size = f"{settings['image_size']} x {settings['image_size']}"
    return f"{settings['model']}, {size}, batch {settings['batch_size']}, AdamW with {settings['lr']} at most"


def _losses(part: dict, losses: dict[str, list[float]]) -> str:
    found = compare_losses(losses, TRUTH)
    rows = [
        (side, *(f"{value:.1e}" for value in of["largest"]), _name_chaos(of)) for side, of in found["sides"].items()
    ]
    spans = [str(last) if first == last else f"{first} to {last}" for first, last in found["spans"]]
    head = ("steps", *spans, f"above {CHAOS:.0%} from")
    return (
        f"## Losses of {part['settings']['steps']} steps\n\n{_settings(part['settings'])}. The largest distance from "
        f"the loss of timm's float64 in each span of steps, as a share of it. Where that passes {CHAOS:.0%}, rounding "
        "has grown into another training: two float32 that are both right part there, and only averages, such as the "
        f"accuracy, can be compared.\n\n{make_table(head, rows)}"
    )


def _name_chaos(of_side: dict) -> str:
    step = of_side["chaos_at_step"]
    return "never" if step is None else f"step {step}"


def _accuracy(part: dict) -> str:
    settings, runs = part["settings"], part["runs"]
    seeds = common_seeds(runs)
    top1 = {side: _read_top1(runs[side], seeds) for side in SHOWN}
    rows = [
        (side, *(f"{value:.2f}" for value in values), f"{mean(values):.2f}", _spread(values) or "-")
        for side, values in top1.items()
    ]
    head = ("side", *(f"seed {seed}" for seed in seeds), "mean", "standard deviation")
    return (
        f"## Top-1 after {settings['epochs']} epochs\n\n{_settings(settings)}; {settings['num_samples']:,} training "
        f"images, all 10,000 test images.\n\n{make_table(head, rows)}"
    )


def _read_top1(of_seeds: dict, seeds: list[str]) -> list[float]:
    """In percent."""
    return [100 * of_seeds[seed]["right"] / of_seeds[seed]["images"] for seed in seeds]


def _spread(values: list[float]) -> str:
    """Their standard deviation, which one alone does not have."""
    return f"{stdev(values):.2f}" if len(values) > 1 else ""


def _cost(part: dict) -> str:
    found = _read_cost({"cost": part})
    first = found["seconds"]["timm, float32"]
    rows = [
        (side, f"{1000 * seconds:.0f}", f"{first / seconds:.2f}", f"{found['peak_gb'][side]:.2f}")
        for side, seconds in found["seconds"].items()
    ]
    rows += [(side, "failed", "-", "-") for side in found["failed"]]
    head = ("side", "ms a step", "times timm's float32", "GB")
    return (
        f"## A training step\n\n{_settings(part['settings'])}; {part['settings']['pairs']} rounds in turns, medians. "
        "PyTorch has channels-last maps, and runs eagerly where it is not compiled; memory is the process's peak. "
        f"{name_machine(part['machine'])}.\n\n{make_table(head, rows)}"
    )


def _summarise(results: dict) -> Iterator[tuple[str, ...]]:
    """The rows of the table on README's first screen."""
    losses = _read_losses(results)
    if TRUTH in losses:
        found = compare_losses(losses, TRUTH)
        sides = [found["sides"][side] for side in SHOWN]
        steps = f"the first {found['calm_steps']} of {results['losses']['settings']['steps']} steps"
        yield f"loss, beside timm's float64, {steps}", *(f"within {of['largest_while_calm']:.2%}" for of in sides)
        yield f"above {CHAOS:.0%}, where rounding has grown into another training", *map(_name_chaos, sides)
    if _count_seeds(results):
        settings, runs = results["accuracy"]["settings"], results["accuracy"]["runs"]
        seeds = common_seeds(runs)
        task = f"{settings['epochs']} epochs of {settings['num_samples']:,} images of Fashion-MNIST"
        label = f"top-1 after {task}, {len(seeds)} seed{'s' * (len(seeds) > 1)}"
        found = [_read_top1(runs[side], seeds) for side in SHOWN]
        yield label, *(" ± ".join(filter(None, (f"{mean(values):.2f}", _spread(values)))) + " %" for values in found)
    cost = _read_cost(results)
    if cost:
        of_sides = [(cost["seconds"][side], cost["peak_gb"][side]) for side in SHOWN]
        size = results["cost"]["settings"]["batch_size"]
        yield f"a training step of {size} images", *(f"{1000 * time:.0f} ms, {peak:.2f} GB" for time, peak in of_sides)


def _plot(losses: dict[str, list[float]], path: Path) -> None:
    figure = make_figure(9.0, 3.4)
    left, right = figure.subplots(1, 2)
    steps = range(1, len(losses[TRUTH]) + 1)
    for side, values in losses.items():
        style = {"color": "black", "linestyle": ":"} if side == TRUTH else {}  # which lies on the others
        left.plot(steps, values, linewidth=1, label=side, **style)
        if side != TRUTH:
            right.semilogy(steps, distances(values, losses[TRUTH]), linewidth=1, label=side)
    right.axhline(CHAOS, color="#444444", linewidth=0.8, linestyle="--")
    left.set(xlabel="step", ylabel="loss")
    right.set(xlabel="step", ylabel="distance from timm's float64\n(share of the loss)")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


if __name__ == "__main__":
    print(write_report(json.loads((HERE / "RESULTS.json").read_text()), HERE))
