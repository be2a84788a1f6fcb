"""From the results of bench.py to RESULTS.md and speed.png: python benchmarks/report.py writes them anew."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from markdown_table import make_table

HERE = Path(__file__).parent
FINDINGS = HERE / "findings.md"  # what was tried, and the walls; it follows the tables
RATE_GOAL = 0.7


def write_report(results: dict, folder: Path) -> str:
    """Write RESULTS.md and speed.png into `folder`, and return the text."""
    parts = [
        "# Speed and memory\n\n"
        "Written by `make bench` (benchmarks/bench.py); all of it is from one run. Sides take turns; images/s are of "
        "median seconds, ratios are medians over the rounds, and only ratios mean something elsewhere. Memory is the "
        "most that a side's process held, its libraries and compiler included.",
        _machine(results),
        _comparisons(results["rows"]),
        "![Images/s of every side, as multiples of the best peer](speed.png)",
    ]
    if "start" in results:
        parts += [
            _start(results["start"]),
            _rate(results),
            _growth(results["growth"]),
            _operators(results["operators"]),
            "## Input pipeline\n\n"
            f"{results['pipeline']:.0f} images/s of 500 x 375 JPEG files on two workers, with the augmentations of "
            "MindCV's HaloNet recipe, on the cores that training uses too. `make bench-pipeline` compares it with "
            "MindCV's.",
        ]
    if folder.samefile(HERE):
        parts.append(FINDINGS.read_text().strip())
    text = "\n\n".join(parts) + "\n"
    (folder / "RESULTS.md").write_text(text)
    _plot(results["rows"], folder / "speed.png")
    return text


def _verdict(reached: bool) -> str:
    return "yes" if reached else "**no**"


def _machine(results: dict) -> str:
    machine = results["machine"]
    settings = f"{results['image_size']} x {results['image_size']}, {results['pairs']} rounds"
    return make_table(("", ""), [*machine.items(), ("settings", settings)])


def _comparisons(rows: list[dict]) -> str:
    parts = []
    for work, precision, title in (
        ("inference", "float32", "Inference in float32 (batch norms folded)"),
        ("inference", "bfloat16", "Inference in bfloat16 (batch norms folded)"),
        ("training", "float32", "Training step in float32 (forward, backward, AdamW)"),
        ("training", "bfloat16", "Training step in bfloat16 (float32 weights and optimizer)"),
        (
            *("attention", "float32"),
            "Bare halo attention, forward and backward (256 channels, 8 heads, 32 x 32, block 8, halo 3)",
        ),
    ):
        chosen = [row for row in rows if (row["work"], row["precision"]) == (work, precision)]
        chosen.sort(key=lambda row: row["batch_size"])
        if not chosen:
            continue
        names = list(dict.fromkeys(name for row in chosen for name in row["sides"]))
        own = ("of our float32", "goal", "reached") if precision == "bfloat16" else ()
        head = ("model", "batch", *names, "ratio", "goal", "reached", *own, "memory", "goal", "reached")
        parts.append(f"## {title}\n\nImages/s, and GB in brackets; ratios are to the fastest peer.")
        if work == "inference":
            parts[-1] += " Memory is what is held beyond `import mindspore`, as a multiple of all that OpenVINO holds."
        parts[-1] += "\n\n"
        parts[-1] += make_table(head, [_compare(row, names) for row in chosen])
    return "\n\n".join(parts)


def _compare(row: dict, names: Sequence[str]) -> list[str]:
    cells = [row["model"], str(row["batch_size"])]
    for name in names:
        side = row["sides"].get(name)
        if side is None:
            cells.append("-")
        elif not side["seconds"]:
            cells.append("failed")
        else:
            cells.append(f"{side['images_per_s']:.1f} ({side['peak_gb']:.2f})")
    ratio, memory, own = row["ratio"], row["memory_ratio"], []
    if row["own_goal"]:
        own = [f"{row['own_ratio']:.2f}", f"{row['own_goal']:.2f}", _verdict(row["own_ratio"] >= row["own_goal"])]
    return [
        *cells,
        f"{ratio:.2f}",
        f"{row['goal']:.2f}",
        _verdict(ratio >= row["goal"]),
        *own,
        f"{memory:.2f}",
        f"{row['memory_goal']:.2f}",
        _verdict(memory <= row["memory_goal"]),
    ]


def _start(rows: list[dict]) -> str:
    table = make_table(
        ("work", "graph cache", "first step, s", "goal", "reached", "from the import on, s"),
        [
            (
                row["work"],
                "yes" if row["cached"] else "no",
                f"{row['seconds']:.1f}",
                str(row["goal"]),
                _verdict(row["seconds"] < row["goal"]),
                f"{row['since_import']:.1f}",
            )
            for row in rows
        ],
    )
    return f"## First step of halonet_50t in graph mode, batch 8\n\n{table}"


def _rate(results: dict) -> str:
    """How near to a large product's rate each network comes, and what is the most that a network at that rate would be.

    A convolution that is computed as it is written has to do its products; no kernel is faster than that.
    """
    ceiling = results["ceiling"]
    rates = make_table(
        ("2048 x 2048 product", "precision", "GFLOP/s"),
        [(name, precision, f"{rate:.0f}") for precision, found in ceiling.items() for name, rate in found.items()],
    )
    lines = []
    for row in results["rows"]:
        macs = results["macs"].get(row["model"])
        if row["work"] != "inference" or macs is None:
            continue
        best = max(ceiling[row["precision"]].values())
        ours = next(iter(row["sides"].values()))
        rate, theirs = (2 * macs * side["images_per_s"] / 1e9 for side in (ours, row["sides"][row["best"]]))
        goal = (row["model"], row["precision"]) == ("halonet_50t", "float32")
        lines.append(
            (
                *(row["model"], str(row["batch_size"]), row["precision"], f"{macs / 1e9:.2f}", f"{rate:.0f}"),
                f"{100 * rate / best:.0f} %",
                f"{100 * RATE_GOAL:.0f} %" if goal else "-",
                _verdict(rate >= RATE_GOAL * best) if goal else "-",
                f"{best / theirs:.2f}",
            )
        )
    head = ("inference", "batch", "precision", "GMAC per image", "GFLOP/s", "of the highest", "goal", "reached")
    return (
        f"## Share of the machine's rate\n\n{rates}\n\nThe last column is what the ratio to the best peer would be at "
        f"the highest rate.\n\n{make_table((*head, 'at most'), lines)}"
    )


def _growth(rows: list[dict]) -> str:
    lines = []
    first: dict = {}
    for row in rows:
        first = row if first.get("model") != row["model"] or first.get("work") != row["work"] else first
        pixels = (row["size"] / first["size"]) ** 2
        seconds, memory = row["seconds"] / first["seconds"], row["peak_gb"] / first["peak_gb"]
        lines.append(
            (
                f"{row['model']}, {row['work']}",
                str(row["size"]),
                f"{1000 * row['seconds']:.0f}",
                f"{row['peak_gb']:.2f}",
                f"{pixels:.2f}",
                f"{seconds:.2f}",
                f"{memory:.2f}",
                _verdict(seconds <= pixels and memory <= pixels),
            )
        )
    head = ("one image", "size", "ms", "GB", "pixels", "time", "memory", "no faster than pixels")
    return (
        f"## Cost over image size\n\nThe last columns are multiples of the smallest size.\n\n{make_table(head, lines)}"
    )


def _operators(parts: list[dict]) -> str:
    texts = ["## Where time goes, batch 8\n\nMilliseconds of a step, by MindSpore's profiler."]
    for part in parts:
        total = sum(part["milliseconds"].values())
        lines = [
            (name, f"{spent:.1f}", f"{100 * spent / total:.1f} %")
            for name, spent in part["milliseconds"].items()
            if spent >= 0.005 * total
        ]
        texts.append(
            f"{part['model']}, {part['work']}: {total:.0f} ms\n\n" + make_table(("operator", "ms", "share"), lines)
        )
    return "\n\n".join(texts)


def _label(row: dict) -> str:
    short = ", bf16" if row["precision"] == "bfloat16" else ""
    return f"{row['work']} {row['model']}, batch {row['batch_size']}{short}"


def _plot(rows: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(name for row in rows for name, side in row["sides"].items() if side["seconds"]))
    colours = dict(zip(names, plt.get_cmap("tab10").colors, strict=False))
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.34 * len(rows)), layout="constrained")
    for place, row in enumerate(rows):
        best = row["sides"][row["best"]]["images_per_s"]
        for name, side in row["sides"].items():
            if side["seconds"]:
                axes.plot(side["images_per_s"] / best, place, "o", color=colours[name], markersize=7)
        axes.plot(row["goal"], place, "|", color="black", markersize=16)
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xticks([0.1, 0.2, 0.5, 1, 2, 5, 10], ["0.1", "0.2", "0.5", "1", "2", "5", "10"])
    axes.set_xlabel("images/s as a multiple of the best peer's; bars are the goals")
    axes.grid(axis="x", alpha=0.3)
    handles = [plt.Line2D([], [], marker="o", linestyle="", color=colours[name], label=name) for name in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    print(write_report(json.loads((HERE / "RESULTS.json").read_text()), HERE))
