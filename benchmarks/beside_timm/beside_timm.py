"""The same network trained by us and by timm and PyTorch: losses step by step, top-1, seconds and memory.

Both sides start from the same weights, through our own conversion, and get the same Fashion-MNIST images in the same
order, AdamW's settings and rates. `make beside-timm` runs it and writes RESULTS.json, RESULTS.md and losses.png.

losses: of the first steps; how far our float32 and timm's are from timm's float64, which is the truth for both.
accuracy: top-1 of the test images after some epochs on a part of the training images, from several seeds; several runs
at once, a processor for each. With all images, which takes hours, these are in all_images/.
cost: seconds and peak memory of a training step, taking turns: only ratios mean something elsewhere.

What RESULTS.json has is not run again, whatever part, side and seed it is of: cut it when you like, and start it again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from threading import Lock
from time import perf_counter
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import mindcv_halo  # noqa: E402, F401  before MindSpore

# isort: split

import numpy as np  # noqa: E402
from batches import fit  # noqa: E402
from kept_runs import KeptRuns  # noqa: E402
from machine import describe_machine  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402
from tables import write_report  # noqa: E402
from workers import Worker, take_rounds, warm_up  # noqa: E402

from mindcv_halo import create_model, create_scheduler  # noqa: E402
from mindcv_halo.data.image_arrays import read_arrays  # noqa: E402
from mindcv_halo.models.weights import to_timm  # noqa: E402
from mindcv_halo.optim.param_groups import group_names  # noqa: E402
from mindcv_halo.runtime import set_seed  # noqa: E402

PARTS = ("losses", "accuracy", "cost")
SIDES = {
    "losses": ("ours, float32", "ours, bfloat16", "timm, float32", "timm, float64"),
    "accuracy": ("timm, float32", "ours, float32", "ours, bfloat16"),
    "cost": ("ours, float32", "ours, bfloat16", "timm, float32", "timm, float32 compiled", "timm, bfloat16 compiled"),
}

Runs = Iterator[tuple[str, int, Callable[[], dict[str, Any]]]]  # of a part: side, seed, and what makes the run
Calls = dict[tuple[str, int], Callable[[], dict[str, Any]]]
Results = Iterator[tuple[tuple[str, int], dict[str, Any]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch_python", required=True, help="Python of an environment with PyTorch and timm")
    parser.add_argument("--data_dir", help="folder with the files of Fashion-MNIST; default: Debian's package's")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--model", default="halonet_mini")
    parser.add_argument("--image_size", type=int, default=32, help="at least 28; images get a black rim")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=200, help="of losses")
    parser.add_argument("--epochs", type=int, default=5, help="of accuracy")
    parser.add_argument("--seeds", type=int, default=3, help="of accuracy")
    parser.add_argument("--num_samples", type=int, default=6_000, help="of accuracy: the first so many train")
    parser.add_argument("--pairs", type=int, default=5, help="turns of each side, of cost")
    parser.add_argument("--lr", type=float, default=0.002)
    parser.add_argument("--weight_decay", type=float, default=0.05)
    parser.add_argument("--label_smoothing", type=float, default=0.1)
    parser.add_argument("--anew", action="store_true", help="run again what RESULTS.json has of these parts")
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the results")
    args = parser.parse_args()

    args.output.mkdir(parents=True, exist_ok=True)
    comparison = Comparison(args)
    machine = describe_machine([sys.executable, args.torch_python])
    for part in args.parts:
        kept = KeptRuns(args.output / "RESULTS.json", part, comparison.settings(part), machine, anew=args.anew)
        missing = {(side, seed): run for side, seed, run in getattr(comparison, part)() if not kept.has(side, seed)}
        for run, result in (share_processors if part == "accuracy" else one_by_one)(missing):
            kept.measure(*run, lambda result=result: result)
            write_report(kept.results, args.output)
    print(write_report(kept.results, args.output))


def one_by_one(calls: Calls) -> Results:
    return ((name, call()) for name, call in calls.items())


def share_processors(calls: Calls) -> Results:
    """What `calls` return, as they end: one at a time on each processor, where the processes that they start stay.

    Small networks gain little from a second processor: runs with one each end sooner than one after the other. After a
    call that fails none begins; its error comes when those that have begun have ended.
    """
    processors = sorted(os.sched_getaffinity(0))
    with ThreadPoolExecutor(len(processors), initializer=lambda: os.sched_setaffinity(0, {processors.pop()})) as pool:
        names = {pool.submit(call): name for name, call in calls.items()}
        failed: list[Future] = []
        pending = set(names)
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                failed += [each for each in done if each.exception()]
                if failed:
                    pending = {each for each in pending if not each.cancel()}
                yield from ((names[each], each.result()) for each in done if not each.exception())
        finally:
            pool.shutdown(cancel_futures=True)
    for each in failed:
        each.result()


class Comparison:
    """Each run prepares the folder of a job, which the workers of both sides read."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        train, test = (read_arrays("fashion_mnist", args.data_dir or "data", split) for split in ("train", "test"))
        self.data = {
            "train_images": fit(train.images[..., 0], args.image_size),
            "train_labels": train.labels,
            "test_images": fit(test.images[..., 0], args.image_size),
            "test_labels": test.labels,
        }
        self.num_classes = len(train.class_names)
        self.preparing = Lock()  # MindSpore's seed, from which weights are drawn, is the process's

    def settings(self, part: str) -> dict:
        """What its runs share: more seeds are more runs, and no other settings."""
        names = {"losses": ("steps",), "accuracy": ("epochs", "num_samples"), "cost": ("pairs",)}[part]
        common = ("model", "image_size", "batch_size", "lr", "weight_decay", "label_smoothing")
        return {name: getattr(self.args, name) for name in (*names, *common)}

    def losses(self) -> Runs:
        # A tenth of the steps warms up, and the rest decays.
        rates = self.plan(-(-self.args.steps // 10), 10)[: self.args.steps]
        for side in SIDES["losses"]:
            yield side, 0, partial(self.train, "losses", side, self.data, rates, seed=0)

    def accuracy(self) -> Runs:
        chosen = slice(self.args.num_samples)
        data = {name: array[chosen] if name.startswith("train") else array for name, array in self.data.items()}
        if self.args.num_samples > len(data["train_images"]):
            raise SystemExit(
                f"num_samples {self.args.num_samples}: there are {len(data['train_images'])} images; give less"
            )
        num_steps = len(data["train_images"]) // self.args.batch_size
        if num_steps < 1:
            raise SystemExit(
                f"num_samples {self.args.num_samples} fill no batch of {self.args.batch_size}; give more, or a smaller "
                "--batch_size"
            )
        rates = self.plan(num_steps, self.args.epochs)
        for seed in range(self.args.seeds):
            for side in SIDES["accuracy"]:
                yield side, seed, partial(self.train, "accuracy", side, data, rates, seed)

    def cost(self) -> Runs:
        yield "all sides, in turns", 0, self.take_turns

    def take_turns(self) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            self.prepare(Path(folder), self.data, [self.args.lr], seed=0)
            workers = {side: Worker(*self.command("cost", side, folder)) for side in SIDES["cost"]}
            failed = warm_up(workers)  # torch.compile's training step ends some networks' processes
            for error in failed.values():
                print(error, flush=True)
            rounds = take_rounds(list(workers.values()), self.args.pairs)
            memory = {side: worker.close() for side, worker in workers.items()}
        seconds = dict(zip(workers, map(median, zip(*rounds, strict=True)), strict=True))
        return {"seconds": seconds, "lowest": dict(zip(workers, map(min, zip(*rounds, strict=True)), strict=True)),
                "peak_gb": memory, "failed": list(failed)}  # fmt: skip

    def plan(self, steps_per_epoch: int, epochs: int) -> list[float]:
        """A rate for each step: a warm-up of an epoch, and cosine decay."""
        warmup = min(1, epochs - 1)
        return create_scheduler(
            steps_per_epoch, "cosine_decay", self.args.lr, 1e-6, warmup_epochs=warmup, num_epochs=epochs
        )

    def prepare(self, folder: Path, data: dict[str, np.ndarray], rates: list[float], seed: int) -> None:
        set_seed(seed)
        network = create_model(self.args.model, num_classes=self.num_classes, in_channels=1)
        weights = {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}
        save_file(to_timm(weights), folder / "timm.safetensors")
        trained = {parameter.name: parameter.ndim for parameter in network.trainable_params()}
        groups = group_names(trained, 1.0, "auto")
        decayed = {name for group in groups if group.weight_decay for name in group.names}
        # The conversion knows their names there.
        marked = to_timm({name: np.full(value.shape, name in decayed, np.float32) for name, value in weights.items()})
        job = {
            "model": self.args.model,
            "spec": asdict(network.spec),
            "num_classes": self.num_classes,
            "in_channels": 1,
            "batch_size": self.args.batch_size,
            "seed": seed,
            "rates": rates,
            "weight_decay": self.args.weight_decay,
            "label_smoothing": self.args.label_smoothing,
            "decayed": sorted(name for name, value in marked.items() if value.all() and value.size and value.ndim),
        }
        (folder / "job.json").write_text(json.dumps(job))
        np.savez(folder / "data.npz", **data)

    def train(self, part: str, side: str, data: dict[str, np.ndarray], rates: list[float], seed: int) -> dict[str, Any]:
        """What the side's worker says."""
        start = perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            with self.preparing:
                self.prepare(Path(folder), data, rates, seed)
            done = subprocess.run(self.command(part, side, folder), stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        last = found["losses"]
        if part == "accuracy":
            found = {"right": found["right"], "images": len(data["test_labels"])}
        minutes = (perf_counter() - start) / 60
        print(f"{part}, seed {seed}, {side}: last loss {last[-1]:.4f}, {minutes:.1f} min", flush=True)
        return found

    def command(self, part: str, side: str, folder: str) -> list[str]:
        peer, _, precision = side.partition(", ")
        python, script = (sys.executable, "ours") if peer == "ours" else (self.args.torch_python, "timm")
        return [python, str(HERE / f"worker_{script}.py"), part, folder, precision]


if __name__ == "__main__":
    main()
