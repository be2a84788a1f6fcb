"""Images/s of a model beside timm's, in one run: python benchmarks/speed.py --peer_python VENV/bin/python

Each side is a process of its own, with its own libraries, that waits while the other works; they take turns, because
the speed of a shared machine drifts, so that only ratios within one run mean something. `make bench` sets the peer up.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
WORKS = ("inference", "training")


class Worker:
    """A process that runs a benchmark step for every line that it is sent, and answers with the seconds it took."""

    def __init__(self, python: str, script: str, *arguments: str):
        self.process = subprocess.Popen(
            [python, str(HERE / script), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def seconds(self) -> float:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.process.args[1]} ended with status {self.process.wait()}")
        return float(answer)

    def close(self) -> float:
        """End the process and return the most memory that it held, in GB."""
        self.process.stdin.close()
        peak = json.loads(self.process.stdout.readline())["peak_gb"]
        self.process.wait()
        return peak


def take_rounds(workers: list[Worker], pairs: int) -> list[list[float]]:
    """Seconds of each worker in each round, after a round to warm up."""
    for worker in workers:
        worker.seconds()
    return [[worker.seconds() for worker in workers] for _ in range(pairs)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer_python", required=True, help="Python of an environment with torch and timm")
    parser.add_argument("--model", default="halonet_50t")
    parser.add_argument("--peer_model", default="halonet50ts")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--image_size", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=7, help="turns of each side, after one to warm up")
    args = parser.parse_args()

    print(f"{args.model}, {args.image_size} x {args.image_size}, batch {args.batch_size}, float32, {args.pairs} pairs")
    print("| work | ours, img/s | timm, img/s | timm channels-last | ratio to the better | ours, GB | timm, GB |")
    print("|---|---|---|---|---|---|---|")
    for work in WORKS:
        sizes = (str(args.batch_size), str(args.image_size), work)
        workers = [
            Worker(sys.executable, "worker_ours.py", args.model, *sizes),
            Worker(args.peer_python, "worker_timm.py", args.peer_model, *sizes, "contiguous"),
            Worker(args.peer_python, "worker_timm.py", args.peer_model, *sizes, "channels_last"),
        ]
        rounds = take_rounds(workers, args.pairs)
        ours, plain, channels_last = (args.batch_size / median(column) for column in zip(*rounds, strict=True))
        ratio = median(min(peers) / own for own, *peers in rounds)
        memory = [worker.close() for worker in workers]
        print(
            f"| {work} | {ours:.2f} | {plain:.2f} | {channels_last:.2f} | {ratio:.2f} | {memory[0]:.2f} | "
            f"{min(memory[1:]):.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
