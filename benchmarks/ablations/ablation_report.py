"""From RESULTS.json to RESULTS.md and ablations.png: `python ablation_report.py` writes them anew."""

from __future__ import annotations

import json
import sys
from math import sqrt
from pathlib import Path
from statistics import mean, variance

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

from kept_runs import common_seeds  # noqa: E402
from machine import name_machine  # noqa: E402
from markdown_table import make_table  # noqa: E402

from mindcv_halo.report.pictures import has_matplotlib, make_figure, save_figure  # noqa: E402


def write_report(part: dict, folder: Path) -> str:
    """Write RESULTS.md into `folder`, with ablations.png if matplotlib is there, and return the text."""
    runs, settings = part["runs"], part["settings"]
    seeds = common_seeds(runs)
    top1 = {name: [of_seeds[seed]["top1"] for seed in seeds] for name, of_seeds in runs.items()}
    facts = {name: next(iter(of_seeds.values())) for name, of_seeds in runs.items()}
    text = (
        f"# Ablations\n\nWritten by `make ablations` (benchmarks/ablations): `{settings['recipe']}`, "
        f"{settings['epochs']} epochs of {settings['num_samples']:,} images, {len(seeds)} seeds; top-1 in percent of "
        "the 10,000 test images. Seconds are the least of all epochs "
        f"({name_machine(part['machine'])}).\n\n"
    )
    rows = [
        (
            ", ".join(map(str, facts[name]["attention"])) or "none",
            str(facts[name]["halo_size"]) if facts[name]["attention"] else "-",
            *(f"{value:.2f}" for value in top1[name]),
            f"**{mean(top1[name]):.2f}**" if seeds else "-",
            f"{facts[name]['parameters']:,}",
            f"{facts[name]['macs'] / 1e6:.1f}",
            f"{min(min(run['seconds']) for run in of_seeds.values()):.1f}",
        )
        for name, of_seeds in runs.items()
    ]
    head = (
        "attention in stages",
        "halo",
        *(f"seed {seed}" for seed in seeds),
        "mean",
        "parameters",
        "MMAC",
        "s an epoch",
    )
    text += make_table(head, rows)
    if len(seeds) > 1:
        noise = 2 * sqrt(2 * mean(variance(values) for values in top1.values()) / len(seeds))
        text += (
            f"\n\nSeeds differ, too: a difference of means below {noise:.2f} (twice its standard error, from the "
            "spread of the seeds of all variants) tells nothing."
        )
    if seeds and has_matplotlib():
        _plot(facts, top1, folder / "ablations.png")
        text += "\n\nIn the picture points are seeds, and lines join their means."
        text += "\n\n![Top-1 over the size of the halo, and over the stages with attention](ablations.png)"
    text += "\n"
    (folder / "RESULTS.md").write_text(text)
    return text


def _plot(facts: dict[str, dict], top1: dict[str, list[float]], path: Path) -> None:
    """Points are seeds, lines their means."""
    everywhere = max((fact["attention"] for fact in facts.values()), key=len)
    with_halo = [name for name in facts if facts[name]["attention"] == everywhere]
    own_halo = next((fact["halo_size"] for fact in facts.values() if fact["attention"] != everywhere), None)
    by_stage = [name for name in facts if facts[name]["halo_size"] == own_halo]
    by_stage.sort(key=lambda name: len(facts[name]["attention"]))
    figure = make_figure(9.0, 3.4)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, names, labels, title in (
        (left, with_halo, [str(facts[name]["halo_size"]) for name in with_halo], "halo, in pixels"),
        (
            right,
            by_stage,
            [_name_stages(facts[name]["attention"]) for name in by_stage],
            f"attention, with a halo of {own_halo}",
        ),
    ):
        places = range(len(names))
        axes.plot(places, [mean(top1[name]) for name in names], color="tab:blue", marker="_", markersize=14)
        for place, name in zip(places, names, strict=True):
            axes.plot([place] * len(top1[name]), top1[name], "o", color="tab:gray", markersize=4, alpha=0.7)
        axes.set_xticks(places, labels)
        axes.set_xlabel(title)
        axes.grid(axis="y", alpha=0.3)
        axes.margins(x=0.15)
    left.set_ylabel("top-1, %")
    save_figure(figure, path)


def _name_stages(stages: list[int]) -> str:
    if not stages:
        return "nowhere"
    return f"in stage{'s' if len(stages) > 1 else ''} {' and '.join(map(str, stages))}"


if __name__ == "__main__":
    print(write_report(json.loads((HERE / "RESULTS.json").read_text())["ablations"], HERE))
