"""Size and images/s of exported models, under MindSpore and onnxruntime: python benchmarks/exported.py

Needs the extra `onnx`. Weights are random. The runners are processes that take turns, as in benchmarks/bench.py.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from export_model import export, save_random
from workers import Worker, take_rounds

RUNNERS = ("network", "folded", "mindir", "onnxruntime")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["halonet_50t", "halonet_26t", "halonet_h1"])
    parser.add_argument("--batch_sizes", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--image_size", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=5, help="turns of each runner, after one to warm up")
    args = parser.parse_args()
    print(
        "| model | batch | MB, mindir | MB, onnx | MindSpore, img/s | MindSpore, folded | MindSpore, MINDIR "
        "| onnxruntime, ONNX |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for model in args.models:
        with TemporaryDirectory() as folder:
            checkpoint = Path(folder) / "model.ckpt"
            save_random(model, checkpoint)
            for batch_size in args.batch_sizes:
                files = {kind: _export(model, checkpoint, kind, batch_size, args) for kind in ("mindir", "onnx")}
                names = (model, model, str(files["mindir"]), str(files["onnx"]))
                sizes = (str(batch_size), str(args.image_size))
                workers = [
                    Worker(sys.executable, "worker_exported.py", runner, name, *sizes)
                    for runner, name in zip(RUNNERS, names, strict=True)
                ]
                rounds = take_rounds(workers, args.pairs)
                speeds = [f"{batch_size / median(column):.2f}" for column in zip(*rounds, strict=True)]
                for worker in workers:
                    worker.close()
                megabytes = [f"{file.stat().st_size / 1e6:.1f}" for file in files.values()]
                print(f"| {model} | {batch_size} | {' | '.join(megabytes + speeds)} |", flush=True)


def _export(model: str, checkpoint: Path, kind: str, batch_size: int, args: argparse.Namespace) -> Path:
    """Write and compare the file, and say on stderr how far it is from the network."""
    target = checkpoint.with_suffix(f".{batch_size}.{kind}")
    print(export(model, checkpoint, target, batch_size, args.image_size), file=sys.stderr, end="")
    return target


if __name__ == "__main__":
    main()
