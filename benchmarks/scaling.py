"""Images/s of data parallel training on 1 and 2 processes, beside perfect scaling, and on paper on 8 and 64 Ascend 910.

python benchmarks/scaling.py --model halonet_26t --batch_size 2

Every process has one core and the same batch. One process leaves a core idle while two share caches and memory, so two
that do not talk to each other are measured as well: the loss from one to these is the machine's, the rest is
communication's. All take turns, because the speed of a shared machine drifts. `make bench-scaling` sets it up.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, NoReturn, TextIO

from scaling_model import (
    ASSUMPTIONS,
    BATCH_SIZE,
    EIGHT_MACHINES,
    NUMBER,
    ONE_MACHINE,
    PUBLISHED,
    RATES,
    RESNET50_BUCKETS,
    Level,
    exposed_seconds,
    predict,
    solve_link,
)

WORKER = Path(__file__).with_name("worker_scaling.py")
SIZES = (1_000, 250_000)  # numbers in the two collectives that tell latency and bandwidth; the step's are no larger
LARGE = 12_500_000  # in one that shows what MindSpore's all-reduce makes of a large message
COLLECTIVE_SECONDS = 1.0  # a turn of communication by itself
END_TIMEOUT = 60.0  # seconds in which processes must have ended


class Job:
    """Processes that one command started; each connects to this one, and works when it is asked to."""

    def __init__(self, folder: str, name: str, command: Sequence[str]):
        self.name = name
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(address(folder, name))
        self.server.listen()
        self.server.settimeout(1.0)
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        self.streams: list[TextIO] = []
        self.facts: list[dict[str, Any]] = []  # what the processes say of themselves, in no order
        self.peak_gb = 0.0  # most memory that one of them held

    def connect(self, count: int) -> None:
        """Wait until `count` processes are ready. Raises SystemExit if they end before."""
        while len(self.streams) < count:
            try:
                connection, _ = self.server.accept()
            except TimeoutError:
                if self.process.poll() is not None:
                    self._fail()
                continue
            with connection:
                self.streams.append(connection.makefile("rw"))
            self.facts.append(self.read(self.streams[-1]))

    def ask(self, work: str, times: int) -> None:
        for stream in self.streams:
            try:
                print(json.dumps({"work": work, "times": times}), file=stream, flush=True)
            except OSError:
                self._fail()

    def seconds(self) -> list[float]:
        """What each process took for all that it was asked."""
        answers = [self.read(stream) for stream in self.streams]
        self.peak_gb = max(answer["peak_gb"] for answer in answers)
        return [answer["seconds"] for answer in answers]

    def read(self, stream: TextIO) -> dict[str, Any]:
        line = stream.readline()
        if not line:
            self._fail()
        return json.loads(line)

    def _fail(self) -> NoReturn:
        """A process of the job is gone, and the launcher is about to say why and to end the others."""
        try:
            status = self.process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise SystemExit(f"{self.name} has lost a process, and goes on without it") from None
        raise SystemExit(f"{self.name} ended with status {status}; what it said is above")

    def __enter__(self) -> Job:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for stream in self.streams:
            stream.close()
        self.server.close()
        if kind is not None:
            self.process.terminate()
        try:
            self.process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()


def address(folder: str, name: str) -> str:
    return str(Path(folder) / name)


def measure(jobs: Sequence[Job], work: str, times: int) -> list[float]:
    """Seconds that each process of the jobs takes, all at once, for one of `times` times."""
    for job in jobs:
        job.ask(work, times)
    return [seconds / times for job in jobs for seconds in job.seconds()]


class Turns:
    """The jobs, and how often each work is done in a turn."""

    def __init__(self, alone: Job, beside: Job, group: Job, turn_seconds: float):
        self.alone, self.beside, self.group = alone, beside, group
        works = ("reduce", "reduce_each", *(collective(size) for size in (*SIZES, LARGE)))
        self.times = {"step": 0, **dict.fromkeys(works, 0)}
        for jobs in ([alone, beside], [group]):
            measure(jobs, "step", 1)
            self.times["step"] = count_times(turn_seconds, measure(jobs, "step", 1))
        for work in works:
            measure([group], work, 1)
            self.times[work] = count_times(COLLECTIVE_SECONDS, measure([group], work, 3))

    def take(self) -> dict[str, float]:
        """One turn of each: seconds of one step, or of one reduction; of the slower process where there are two."""
        seconds = {
            "one": max(measure([self.alone], "step", self.times["step"])),
            "apart": max(measure([self.alone, self.beside], "step", self.times["step"])),
            "together": max(measure([self.group], "step", self.times["step"])),
        }
        for work in self.times:
            if work != "step":
                seconds[work] = max(measure([self.group], work, self.times[work]))
        return seconds


def collective(size: int) -> str:
    return f"collective_{size}"


def count_times(seconds: float, each: Sequence[float]) -> int:
    return max(1, round(seconds / max(each)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="halonet_50t")
    parser.add_argument("--batch_size", type=int, default=4, help="images of each process")
    parser.add_argument("--image_size", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=5, help="turns of each side")
    parser.add_argument("--seconds", type=float, default=5.0, help="a turn of steps, at least one step")
    parser.add_argument("--mpirun", default="mpirun", help="of Open MPI or MPICH, where it is not on PATH")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    args = parser.parse_args()

    mpirun = shutil.which(args.mpirun)
    if mpirun is None:
        raise SystemExit(f"{args.mpirun}: no such program; install Open MPI or MPICH, or give --mpirun PATH")
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise SystemExit(f"two processes need a core each, and this one may use {len(cores)}; see taskset and nproc")

    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:

        def command(name: str, core: int, *counts: int) -> list[str]:
            sizes = (args.batch_size, args.image_size, *counts)
            return [sys.executable, str(WORKER), address(folder, name), str(core), args.model, *map(str, sizes)]

        # One job of 2 processes, each of which is told its core.
        ranks = [("-n", "1", *command("group", core, *SIZES, LARGE)) for core in cores]
        jobs = [
            stack.enter_context(Job(folder, "alone", command("alone", cores[0]))),
            stack.enter_context(Job(folder, "beside", command("beside", cores[1]))),
            stack.enter_context(Job(folder, "group", [mpirun, *ranks[0], ":", *ranks[1]])),
        ]
        for job, count in zip(jobs, (1, 1, 2), strict=True):
            job.connect(count)
        turns = Turns(*jobs, args.seconds)
        rounds = [turns.take() for _ in range(args.pairs)]
    facts = jobs[-1].facts[0]
    buckets, num_gradients = facts["bucket_bytes"], facts["num_gradients"]
    peak_gb = max(job.peak_gb for job in jobs)
    print(
        f"{args.model}, {args.image_size} x {args.image_size}, batch {args.batch_size} a process, float32, AdamW, "
        f"{args.pairs} pairs;\none core and at most {peak_gb:.1f} GB a process; load of the machine before: {load:.1f}"
    )
    report = {
        "settings": vars(args) | {"load_before": load},
        "bucket_bytes": buckets,
        "num_gradients": num_gradients,
        "peak_gb": peak_gb,
        "rounds": rounds,
        **print_scaling(rounds, args.batch_size),
        **print_communication(rounds, buckets, num_gradients),
        **print_check(rounds, buckets),
        **print_ascend(args.model, facts["device_bucket_bytes"]),
    }
    if args.json:
        Path(args.json).write_text(json.dumps(report, indent=1))


def print_scaling(rounds: Sequence[dict[str, float]], batch_size: int) -> dict[str, Any]:
    """Ratios are medians over rounds, so that the machine's drift does not count."""
    images = {
        "1 process": [batch_size / seconds["one"] for seconds in rounds],
        "2 processes, each by itself": [2 * batch_size / seconds["apart"] for seconds in rounds],
        "2 processes, data parallel": [2 * batch_size / seconds["together"] for seconds in rounds],
    }
    perfect = [2 * rate for rate in images["1 process"]]
    rows = []
    for name, rates in images.items():
        shares = [rate / best for rate, best in zip(rates, perfect, strict=True)]
        shares = [2 * share for share in shares] if name == "1 process" else shares
        rows.append((name, f"{median(rates):.2f}", f"{min(rates):.2f}", f"{max(rates):.2f}", *spread(shares)))
    print_table(("", "images/s", "lowest", "highest", "of perfect scaling", "lowest", "highest"), rows)
    losses = {
        "the machine, which the two share": median(1 - seconds["one"] / seconds["apart"] for seconds in rounds),
        "communication": median(1 - seconds["apart"] / seconds["together"] for seconds in rounds),
    }
    print("Lost to " + "; of the rest to ".join(f"{name}: {share:.1%}" for name, share in losses.items()))
    return {"images_per_second": images, "losses": losses}


def print_communication(
    rounds: Sequence[dict[str, float]], buckets: Sequence[int], num_gradients: int
) -> dict[str, Any]:
    print(
        "\nCommunication by itself, and its share of the step of 2 processes. The share is an upper bound of what the"
    )
    print("collectives cost, as in the step they may overlap; waiting for the slower process comes on top.")
    names = {
        "reduce": f"the step's: {len(buckets)} collective(s), {sum(buckets) / 1e6:.1f} MB",
        "reduce_each": f"nn.DistributedGradReducer: {num_gradients} collectives",
        **{collective(size): f"one of {size:,} numbers" for size in sorted((*SIZES, LARGE))},
    }
    rows, shares = [], {}
    for work, name in names.items():
        share = [seconds[work] / seconds["together"] for seconds in rounds]
        shares[work] = median(share)
        rows.append((name, f"{1e3 * median(seconds[work] for seconds in rounds):.2f}", *spread(share)))
    print_table(("all-reduce", "ms", "share of the step", "lowest", "highest"), rows)
    return {"share_of_step": shares}


def print_check(rounds: Sequence[dict[str, float]], buckets: Sequence[int]) -> dict[str, Any]:
    """The model's step of 2 processes, from a step of 1 and two collectives of the same round, beside the measured."""
    links = [solve_link(2, *((size * NUMBER, seconds[collective(size)]) for size in SIZES)) for seconds in rounds]
    bandwidth, latency = (median(getattr(link, name) for link in links) for name in ("bandwidth", "latency"))
    print(
        f"\nThe model on this machine, with {bandwidth / 1e6:.0f} MB/s and {latency * 1e3:.2f} ms for a message, from "
        f"collectives of {' and '.join(f'{size:,}' for size in SIZES)} numbers; nothing is fitted."
    )
    rows, figures = [], {}
    for name, sent, start, goal in (
        (f"an all-reduce of {LARGE:,} numbers", [LARGE * NUMBER], None, collective(LARGE)),
        ("the step's all-reduce", buckets, None, "reduce"),
        ("a step of 2, from 1 process", buckets, "one", "together"),
        ("a step of 2, from 2 each by itself", buckets, "apart", "together"),
    ):
        computes = [seconds[start] if start else 0.0 for seconds in rounds]
        model = [
            compute + exposed_seconds(compute, sent, [Level(2, link)], overlaps=False)
            for compute, link in zip(computes, links, strict=True)
        ]
        measured = [seconds[goal] for seconds in rounds]
        off = [paper / real - 1 for paper, real in zip(model, measured, strict=True)]
        rows.append(
            (
                name,
                *(f"{1e3 * median(values):.1f}" for values in (model, measured)),
                *(f"{value:+.1%}" for value in (median(off), min(off), max(off))),
            )
        )
        figures[name] = {"predicted": model, "measured": measured}
    print_table(("", "predicted, ms", "measured, ms", "off by", "lowest", "highest"), rows)
    return {"links": [asdict(link) for link in links], "check": figures}


def print_ascend(model: str, buckets: Sequence[int]) -> dict[str, Any]:
    print(f"\n{model} on Ascend 910, on paper; nobody measured it:")
    for line in ASSUMPTIONS:
        print(f"- {line}")
    print("\nThe assumptions beside what MindSpore's makers published for ResNet-50 (releases 0.2 and 0.5):")
    published = [(known, predict(known.system, known.rate, known.batch_size, RESNET50_BUCKETS)) for known in PUBLISHED]
    rows = [
        (known.system.name, str(known.batch_size), *shares(paper.efficiency), f"{known.efficiency:.3f}")
        for known, paper in published
    ]
    print_table(("ResNet-50 on", "batch of a card", "no overlap", "full overlap", "published"), rows)
    predictions = [
        predict(system, rate, BATCH_SIZE, buckets) for system in (ONE_MACHINE, EIGHT_MACHINES) for rate in RATES
    ]
    rows = [
        (
            paper.system,
            f"{paper.rate:.0f}",
            f"{paper.all_reduce_ms:.2f}",
            *(f"{rate:.0f}" for rate in paper.images_per_second),
            *shares(paper.efficiency),
        )
        for paper in predictions
    ]
    print()
    columns = ("img/s, no overlap", "img/s, full overlap", "of perfect, none", "of perfect, full")
    print_table((f"{model} on", "img/s of a card", "all-reduce, ms", *columns), rows)
    return {"ascend": [asdict(paper) for paper in predictions]}


def shares(values: Sequence[float]) -> tuple[str, ...]:
    return tuple(f"{value:.3f}" for value in values)


def spread(values: Sequence[float]) -> tuple[str, str, str]:
    """Median, lowest, highest."""
    low, middle, high = shares((min(values), median(values), max(values)))
    return middle, low, high


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """In Markdown, with the columns one below the other."""
    lines = [columns, *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for number, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |", flush=True)
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


if __name__ == "__main__":
    main()
