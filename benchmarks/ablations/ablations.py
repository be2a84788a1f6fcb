"""What the halo and the place of attention are worth: train.py on Fashion-MNIST, with one thing changed at a time.

halonet_mini from its recipe, on few images and for few epochs: a demonstration of the library, and no measurement of
the paper's networks. Each variant is trained from several seeds. `make ablations` runs it and writes RESULTS.json,
RESULTS.md and ablations.png. A run that RESULTS.json has is not made again: cut it when you like, and start it again.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from ablation_report import write_report  # noqa: E402
from kept_runs import KeptRuns  # noqa: E402
from machine import describe_machine  # noqa: E402

from mindcv_halo import create_model  # noqa: E402  before MindSpore
from mindcv_halo.config import make_recipe, read_recipe  # noqa: E402
from mindcv_halo.models.macs import count_macs  # noqa: E402

RECIPE = "configs/halonet/halonet_mini_fashion.yaml"


@dataclass(frozen=True)
class Variant:
    """A network: create_model's options, which are also keys of a recipe."""

    name: str
    options: dict[str, int | tuple[int, ...]] = field(default_factory=dict)

    @property
    def flags(self) -> list[str]:
        words: list[str] = []
        for name, value in self.options.items():
            words += [f"--{name}", *map(str, value if isinstance(value, tuple) else (value,))]
        return words


VARIANTS = (
    *(Variant(f"halo {size}", {"halo_size": size}) for size in (0, 1, 2, 3)),
    Variant("attention in stage 4", {"conv_stages": (3,)}),
    Variant("convolutions", {"conv_stages": (3, 4)}),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", help="folder with the files of Fashion-MNIST; default: Debian's package's")
    parser.add_argument("--num_samples", type=int, default=8000, help="images of an epoch, drawn anew for each")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--anew", action="store_true", help="make runs again that RESULTS.json has")
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the results")
    args = parser.parse_args()

    args.output.mkdir(parents=True, exist_ok=True)
    settings = {"recipe": RECIPE, "num_samples": args.num_samples, "epochs": args.epochs, "values": read_values()}
    kept = KeptRuns(
        args.output / "RESULTS.json", "ablations", settings, describe_machine([sys.executable]), anew=args.anew
    )
    text = ""
    # Seed by seed, so that a run that is cut has as many of every variant, in the same hours of a shared machine.
    for seed in range(args.seeds):
        for variant in VARIANTS:
            kept.measure(variant.name, seed, lambda variant=variant, seed=seed: train(variant, seed, args))
            text = write_report(kept.results["ablations"], args.output)
    print(text)


def train(variant: Variant, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Top-1 in percent after the last epoch, the seconds of each epoch, and what the network costs."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "train.py", "--config", RECIPE, "--ckpt_save_dir", folder, "--seed", str(seed)]
        command += ["--num_samples", str(args.num_samples), "--epoch_size", str(args.epochs)]
        command += ["--warmup_epochs", str(min(1, args.epochs - 1)), "--val_interval", str(args.epochs)]
        command += ["--re_prob", "0"]  # erasing is for the recipe's many epochs
        command += ["--data_dir", args.data_dir] if args.data_dir else []
        print(f"{variant.name}, seed {seed}", flush=True)
        subprocess.run([*command, *variant.flags], cwd=ROOT, check=True)
        with open(Path(folder) / "metrics.csv", encoding="utf-8", newline="") as table:
            rows = list(csv.DictReader(table))
    if len(rows) < args.epochs:  # train.py was asked to stop, which is no failure to it
        raise SystemExit(f"{variant.name}, seed {seed}, ended after {len(rows)} epochs; start again to go on")
    return {
        "top1": float(rows[-1]["top1"]),
        "seconds": [round(args.num_samples / float(row["images_per_second"]), 2) for row in rows],
        **describe(variant),
    }


def read_values() -> dict[str, Any]:
    """What the recipe says of the training, but for what a run changes: runs of another one are no more seeds of it."""
    changed = ("epoch_size", "warmup_epochs", "val_interval", "re_prob", "ckpt_save_dir", "data_dir")
    return {name: value for name, value in read_recipe(ROOT / RECIPE).items() if name not in changed}


def describe(variant: Variant) -> dict[str, Any]:
    recipe = make_recipe(read_recipe(ROOT / RECIPE))
    size = recipe.transform.image_resize
    network = create_model(
        recipe.model.model_name, num_classes=10, in_channels=recipe.model.in_channels, **variant.options
    )
    return {
        "attention": [number for number, stage in enumerate(network.spec.stages, 1) if "A" in stage.pattern],
        "halo_size": network.spec.halo.halo_size,
        "parameters": sum(parameter.size for parameter in network.trainable_params()),
        "macs": count_macs(network, (size, size)),
    }


if __name__ == "__main__":
    main()
