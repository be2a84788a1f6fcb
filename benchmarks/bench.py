"""Everything about speed in one run, beside timm, OpenVINO, ONNX Runtime, Keras and lucidrains' layer.

`make bench` sets the peers up. OpenVINO and ONNX Runtime run our exported files.

Writes RESULTS.json, RESULTS.md and speed.png into --output. Sides of a comparison take turns (workers.py); images/s are
medians, a ratio is the median over the rounds of the best peer's seconds by ours.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median

from export_model import export, save_random
from machine import describe_machine
from pipeline import write_images
from report import write_report
from workers import HERE, Worker, WorkerError, take_rounds, warm_up

TIMM = {
    "halonet_26t": "halonet26t",
    "halonet_50t": "halonet50ts",
    "halonet_se33t": "sehalonet33ts",
    "halonet_eca26t": "eca_halonext26ts",
    "halonet_h1": "halonet_h1",
    "haloregnetz_b": "haloregnetz_b",
    "halobotnet_50t": "halo2botnet50ts_256",
    "lamhalobotnet_50t": "lamhalobotnet50ts_256",
}
KERAS = {
    "halonet_26t": "HaloNet26T",
    "halonet_50t": "HaloNet50T",
    "halonet_se33t": "HaloNetSE33T",
    "halonet_eca26t": "HaloNextECA26T",
    "halonet_h0": "HaloNetH0",
    "halonet_h1": "HaloNetH1",
    "halonet_h2": "HaloNetH2",
}
T_MODELS = ("halonet_26t", "halonet_50t", "halonet_se33t", "halonet_eca26t")
H_MODELS = ("halonet_h0", "halonet_h1", "halonet_h2")
HYBRIDS = ("haloregnetz_b", "halobotnet_50t", "lamhalobotnet_50t")
ALL_MODELS = (*T_MODELS, *H_MODELS, *HYBRIDS)
TORCH_VARIANTS = ("eager", "channels_last", "compiled")
MEMORY_GOALS = {"inference": 1.2, "training": 0.8, "attention": 0.8}
MAP_SIZE = 32  # of the bare layer
SIZES = (256, 384, 512, 768, 1024)
OWN_GOAL = 2.2 if "amx_tile" in Path("/proc/cpuinfo").read_text() else 1.5  # of inference in bfloat16
START_GOALS = {"inference": (10, 3), "training": (25, 5)}  # seconds: first start, with the compile cache


@dataclass(frozen=True)
class Row:
    """One comparison: our side against every peer that has the model."""

    work: str
    model: str
    batch_size: int
    goal: float
    portable: bool = False  # measure the path without native kernels too
    precision: str = "float32"
    own_goal: float = 0.0  # of bfloat16, beside our float32


# The one training step that torch.compile is tried on: it takes minutes for each, and with torch 2.13 ends by damaging
# its heap on the processor of RESULTS.md.
COMPILED_TRAINING = Row("training", "halonet_50t", 8, 1.15, portable=True)


@dataclass
class Side:
    """What one side took. `seconds` has a number for each round."""

    seconds: list[float] = field(default_factory=list)
    images_per_s: float = 0.0
    peak_gb: float = 0.0
    error: str = ""


def rows() -> Iterator[Row]:
    for batch_size in (8, 1):  # a run that is cut has what depends least on chance
        for model in ALL_MODELS:
            portable = model in ("halonet_50t", "halonet_h1")
            yield Row("inference", model, batch_size, 1.15, portable=portable)
            goal, own_goal = (2.0, 1.0) if model in H_MODELS else (1.15, OWN_GOAL)
            yield Row("inference", model, batch_size, goal, precision="bfloat16", own_goal=own_goal)
        for model in T_MODELS:
            yield Row("training", model, batch_size, 1.15, portable=model == "halonet_50t")
        yield Row("training", "halonet_h1", batch_size, 2.5, portable=True)
        if batch_size > 1:
            for model in (*T_MODELS, "halonet_h1"):
                yield Row("training", model, batch_size, 1.3, precision="bfloat16", own_goal=1.6)
        yield Row("attention", "HaloAttention", batch_size, 3.0, portable=True)


class Bench:
    def __init__(self, args: argparse.Namespace, files: Path):
        self.args = args
        self.files = files  # where exported files go

    def sides(self, row: Row) -> Iterator[tuple[str, str, list[str]]]:
        """Name, Python and command of everybody who takes part; we come first."""
        size = str(MAP_SIZE if row.work == "attention" else self.args.image_size)
        sizes = [str(row.batch_size), size]
        is_short = row.precision == "bfloat16"
        for kernels in ("bfloat16", "native") if is_short else ("native", "portable") if row.portable else ("native",):
            yield f"ours, {kernels}", sys.executable, ["worker_ours.py", row.work, row.model, *sizes, kernels]
        if row.work == "attention" or row.model in TIMM:
            for variant in TORCH_VARIANTS:
                if variant == "compiled" and row.work == "training" and row != COMPILED_TRAINING:
                    continue
                if variant == "compiled" and row.model in HYBRIDS:
                    variant = "compiled_plain"
                command = ["worker_torch.py", row.work, TIMM.get(row.model, row.model), *sizes, variant, row.precision]
                yield f"timm, {variant.removesuffix('_plain')}", self.args.torch_python, command
        if row.work == "inference":
            file = self.export(row)
            runtimes = {"OpenVINO": "openvino_bf16"} if is_short else {"OpenVINO": "openvino", "ORT": "onnxruntime"}
            for name, runtime in runtimes.items():
                yield name, self.args.onnx_python, ["worker_onnx.py", runtime, str(file), *sizes]
        if row.work == "attention":
            command = ["worker_torch.py", row.work, row.model, *sizes, "lucidrains", row.precision]
            yield "lucidrains", self.args.torch_python, command
        is_keras = row.model in KERAS and (row.work == "inference" or row.model in H_MODELS)
        if is_keras and self.args.keras_python and not is_short:
            yield "keras", self.args.keras_python, ["worker_keras.py", row.work, KERAS[row.model], *sizes]

    def export(self, row: Row) -> Path:
        """Our ONNX file of a model with random weights, for the row's batch."""
        file = self.files / f"{row.model}.{row.batch_size}.onnx"
        if not file.is_file():
            checkpoint = file.with_suffix(".ckpt")
            save_random(row.model, checkpoint)
            export(row.model, checkpoint, file, row.batch_size, self.args.image_size)
        return file

    def compare(self, row: Row) -> dict:
        """The row with all sides. A peer that fails is left out with its error; our own failure is one."""
        workers = {name: Worker(python, *command) for name, python, command in self.sides(row)}  # imports beside others
        names = list(workers)
        failed = warm_up(workers)
        for name, error in failed.items():
            if name.startswith("ours"):
                raise error
        sides = {name: Side(error=str(failed.get(name, ""))) for name in names}
        for _ in range(self.args.pairs):
            for name, worker in list(workers.items()):
                try:
                    sides[name].seconds.append(worker.seconds())
                except WorkerError as error:
                    if name.startswith("ours"):
                        raise
                    sides[name] = Side(error=str(error))
                    del workers[name]
        for name, worker in workers.items():
            sides[name].peak_gb = worker.close()
            sides[name].images_per_s = row.batch_size / median(sides[name].seconds)
        peers = [side for name, side in sides.items() if side.seconds and not name.startswith("ours")]
        best = max(peers, key=lambda side: side.images_per_s)
        ours = next(iter(sides.values()))
        return {
            **asdict(row),
            "sides": {name: asdict(side) for name, side in sides.items()},
            "best": next(name for name, side in sides.items() if side is best),
            "ratio": _compare(ours, best),
            "own_ratio": _compare(ours, sides["ours, native"]),
            "memory_ratio": self.compare_memory(row, ours, best, sides),
            "memory_goal": MEMORY_GOALS[row.work],
        }

    def compare_memory(self, row: Row, ours: Side, best: Side, sides: dict[str, Side]) -> float:
        """Of inference what is held beyond an import of MindSpore, beside all that OpenVINO holds; else the peaks."""
        if row.work != "inference" or not sides["OpenVINO"].seconds:
            return ours.peak_gb / best.peak_gb
        return (ours.peak_gb - self.import_gb) / sides["OpenVINO"].peak_gb

    @cached_property
    def import_gb(self) -> float:
        """What `import mindspore` holds by itself."""
        code = "import mindspore, resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return float(done.stdout.splitlines()[-1])

    def ceiling(self) -> dict[str, dict[str, float]]:
        """GFLOP/s of a large matrix product: the highest of several rounds, by precision and by library at hand."""
        ours, torch = (sys.executable, "worker_gemm.py"), (self.args.torch_python, "worker_gemm.py")
        found: dict[str, dict[str, float]] = {}
        for precision in ("float32", "bfloat16"):
            workers = {"our kernels": Worker(*ours, "native", precision), "PyTorch": Worker(*torch, "torch", precision)}
            if precision == "float32":
                workers["MindSpore"] = Worker(*ours, "mindspore", precision)
            rounds = take_rounds(list(workers.values()), 3 * self.args.pairs)
            for worker in workers.values():
                worker.close()
            columns = zip(*rounds, strict=True)
            found[precision] = {name: 2 * 2.048**3 / min(column) for name, column in zip(workers, columns, strict=True)}
        return found

    def macs(self) -> dict[str, int]:
        """Multiply-accumulates of one image."""
        return _last_line([sys.executable, HERE / "macs.py", str(self.args.image_size), *ALL_MODELS])

    def start(self) -> list[dict]:
        """Seconds from a built network to the end of its first step, in new processes, without and with the cache."""
        found = []
        for work, goals in START_GOALS.items():
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, HERE / "worker_start.py", work, "halonet_50t"]
                plain, _, cached = (_last_line(command + extra) for extra in ([], [folder], [folder]))
            found.append({"work": work, "cached": False, "goal": goals[0], **plain})
            found.append({"work": work, "cached": True, "goal": goals[1], **cached})
        return found

    def growth(self) -> list[dict]:
        """Seconds and memory of one image at several sizes, as multiples of those at the smallest."""
        found = []
        for work, model in (("inference", "halonet_50t"), ("inference", "halonet_h1"), ("training", "halonet_50t")):
            for size in SIZES:
                worker = Worker(sys.executable, "worker_ours.py", work, model, "1", str(size), "native")
                seconds = median(round_[0] for round_ in take_rounds([worker], self.args.pairs))
                found.append(
                    {"work": work, "model": model, "size": size, "seconds": seconds, "peak_gb": worker.close()}
                )
        return found

    def operators(self) -> list[dict]:
        found = []
        for work, model in (("inference", "halonet_50t"), ("training", "halonet_50t"), ("training", "halonet_h1")):
            spent = _last_line([sys.executable, HERE / "worker_operators.py", work, model, "8"])
            found.append({"work": work, "model": model, "milliseconds": spent})
        return found

    def pipeline(self) -> float:
        """Images/s of the training pipeline, with MindCV's augmentations for HaloNet, on two workers."""
        with tempfile.TemporaryDirectory() as folder:
            count = 8 * 64
            write_images(Path(folder), count)
            worker = Worker(sys.executable, "worker_pipeline.py", "mindcv_halo", folder, "64", "2")
            seconds = median(round_[0] for round_ in take_rounds([worker], self.args.pairs))
            worker.close()
        return count / seconds


def _compare(ours: Side, other: Side) -> float:
    """How many times as fast."""
    return median(theirs / own for own, theirs in zip(ours.seconds, other.seconds, strict=True))


def _last_line(command: list) -> dict:
    """What a script printed as JSON at its end."""
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch_python", required=True, help="Python of an environment with torch, timm, lucidrains")
    parser.add_argument("--keras_python", help="Python of one with keras_cv_attention_models; without it, no such side")
    parser.add_argument("--onnx_python", required=True, help="Python of one with openvino and onnxruntime")
    parser.add_argument("--output", type=Path, default=HERE)
    parser.add_argument("--pairs", type=int, default=5, help="turns of each side, after one to warm up")
    parser.add_argument("--image_size", type=int, default=256)
    parser.add_argument(
        "--rows",
        nargs="*",
        default=[],
        help='rows to measure, by words of their names: "inference halonet_50t" "training bfloat16"; default: all',
    )
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        measure(Bench(args, Path(folder)))


def measure(bench: Bench) -> None:
    args = bench.args
    peers = (args.torch_python, args.keras_python, args.onnx_python)
    results = {
        "machine": describe_machine([sys.executable, *filter(None, peers)]),
        "image_size": args.image_size,
        "pairs": args.pairs,
    }
    results["import_gb"] = bench.import_gb
    results["ceiling"] = bench.ceiling()
    results["rows"] = []
    for row in rows():
        words = {row.work, row.model, str(row.batch_size), row.precision}
        if not args.rows or any(words.issuperset(wanted.split()) for wanted in args.rows):
            results["rows"].append(bench.compare(row))
            _say(results["rows"][-1])
            _write(results, args.output)
    if not args.rows:
        results["macs"] = bench.macs()
        results["start"] = bench.start()
        results["growth"] = bench.growth()
        results["operators"] = bench.operators()
        results["pipeline"] = bench.pipeline()
        _write(results, args.output)
    print(write_report(results, args.output))


def _write(results: dict, folder: Path) -> None:
    """After every row: a run takes the better part of an hour."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "RESULTS.json").write_text(json.dumps(results, indent=1) + "\n")


def _say(row: dict) -> None:
    speeds = ", ".join(
        f"{name} {side['images_per_s']:.2f} ({side['peak_gb']:.2f} GB)" if side["seconds"] else f"{name} failed"
        for name, side in row["sides"].items()
    )
    print(
        f"{row['work']} {row['model']} batch {row['batch_size']} {row['precision']}: {speeds}; {row['ratio']:.2f} x "
        f"{row['best']}, {row['own_ratio']:.2f} x our float32, "
        f"memory {row['memory_ratio']:.2f}",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    main()
