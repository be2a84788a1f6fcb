"""What a data set as large as ImageNet-1k costs: 1,281,167 images in 1000 folders. Writes imagenet/RESULTS.md.

The folders hold hard links to a few JPEG files of a photograph's size, which take a minute to make and no space; the
archives hold small files. `make bench-imagenet` sets MindCV and timm up.

start: seconds to the first batch; the sides take turns, each in a process of its own. archives: the same for a zip, a
tar and a MindRecord of eight parts, 6 GB of disk. shared: eight processes that list the folder at the same time.
resume: seconds to the first batch in the middle of an epoch. memory: of the pipeline. epochs: of a training run, after
each.

    python benchmarks/imagenet_scale.py --torch_python .venv-torch/bin/python --mindcv_python .venv-mindcv/bin/python
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine
from markdown_table import make_table
from PIL import Image
from pipeline import HEIGHT, WIDTH, encode_image

NUM_IMAGES, NUM_CLASSES = 1_281_167, 1000
PARTS = ("start", "shared", "resume", "archives", "memory", "epochs")
PROCESSES = 8
RESUME_GOAL = 10  # seconds beyond the start
GROWTH_GOAL = 1.01  # of memory, from the second epoch on
HERE = Path(__file__).parent
_MOST_LINKS = 60_000  # to a file; ext4 allows 65,000
_SECONDS_AT_REST = 11  # a folder that changed less than ten seconds ago is listed by every process
_NO_CACHE = os.devnull  # a cache folder that cannot be made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch_python", help="Python of an environment with timm")
    parser.add_argument("--mindcv_python", help="Python of an environment with MindCV")
    parser.add_argument("--images", type=int, default=NUM_IMAGES)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side; the least counts")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--output", type=Path, default=HERE / "imagenet")
    args = parser.parse_args()

    pythons = [python for python in (args.torch_python, args.mindcv_python) if python]
    settings = f"{args.images:,} images, {args.rounds} rounds, parts {', '.join(args.parts)}"
    texts = [
        "# A data set of ImageNet's size\n\n"
        f"Written by `make bench-imagenet` (benchmarks/imagenet_scale.py): JPEG files of {WIDTH} x {HEIGHT} in "
        f"{NUM_CLASSES} folders, in the system's file cache. Images/s beside MindCV's: `make bench-pipeline`.",
        make_table(("", ""), [*describe_machine([sys.executable, *pythons]).items(), ("settings", settings)]),
    ]
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "images"
        make_folder(folder, args.images)
        time.sleep(_SECONDS_AT_REST)
        bench = Bench(folder, args)
        for part in args.parts:
            texts.append(getattr(bench, part)())
            print(texts[-1], flush=True)
    args.output.mkdir(exist_ok=True)
    (args.output / "RESULTS.md").write_text("\n\n".join(texts) + "\n")


class Bench:
    """Each part runs, and returns its chapter."""

    def __init__(self, folder: Path, args: argparse.Namespace):
        self.folder = folder
        self.root = folder.parent
        self.images = args.images
        self.rounds = args.rounds
        self.torch_python = args.torch_python
        self.mindcv_python = args.mindcv_python

    def start(self) -> str:
        kept = self.root / "kept"
        sides = {
            "ours, first start": (sys.executable, "ours", None),
            "ours, list kept": (sys.executable, "ours", kept),
            "os.walk, as torchvision's ImageFolder": (sys.executable, "walk", None),
        }
        if self.torch_python:
            sides["timm"] = (self.torch_python, "timm", None)
        if self.mindcv_python:
            sides["MindCV"] = (self.mindcv_python, "mindcv", None)
        self._first_batch(sys.executable, "ours", self.folder, kept)
        rounds = [
            {name: self._first_batch(python, side, self.folder, cache) for name, (python, side, cache) in sides.items()}
            for _ in range(self.rounds)
        ]
        text = "To the first batch of 64 images of 224 pixels, on two workers, without the imports; the least of all "
        return f"## Start\n\n{text}rounds.\n\n{self._tabulate(rounds)}"

    def archives(self) -> str:
        places = {"zip": self.root / "images.zip", "tar": self.root / "images.tar", "MindRecord": self.root / "records"}
        pack(places["zip"], places["tar"], self.images)
        run([sys.executable, HERE / "worker_record.py", places["zip"], places["MindRecord"]], _NO_CACHE)
        rounds = [
            {kind: self._first_batch(sys.executable, "ours", place, None) for kind, place in places.items()}
            for _ in range(self.rounds)
        ]
        for place in places.values():
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        text = "The same for stored archives, and a MindRecord of eight parts, of as many small files."
        return f"## Archives\n\n{text}\n\n{self._tabulate(rounds)}"

    def shared(self) -> str:
        kept = self.root / "shared"
        cases = {
            "each walks the folder": _NO_CACHE,
            "one walks, and keeps the list": str(kept),
            "all read the list that was kept": str(kept),
        }
        rows = []
        for name, cache in cases.items():
            done = self._list_together(cache)
            used = sum(result["processor"] for result in done)
            last = max(result["listed"] for result in done)
            rows.append((name, f"{last:.1f}", f"{used:.1f}"))
        head = (f"{PROCESSES} processes", "until the last has it, s", "processor time of all, s")
        return f"## Processes of one machine\n\nThey start at the same moment.\n\n{make_table(head, rows)}"

    def resume(self) -> str:
        seconds = self._ask("resume", self.folder)
        part = seconds.pop("part")
        start = seconds["0 %"]
        rows = [
            (place, f"{value:.1f}", f"{value - start:.1f}", "yes" if value - start < RESUME_GOAL else "**no**")
            for place, value in seconds.items()
        ]
        text = (
            f"To the first batch of 64 images of 256 pixels with the recipe's augmentation, where an epoch goes on. "
            f"Parts have {part} batches; the worst place is the last batch of one. Goal: {RESUME_GOAL} s beyond the "
            "start."
        )
        table = make_table(("gone on at", "first batch, s", "beyond the start, s", "reached"), rows)
        return f"## Going on in an epoch\n\n{text}\n\n{table}"

    def memory(self) -> str:
        return (
            "## Memory of the pipeline\n\n"
            f"{self._ask('memory', self.folder) / 1000:.2f} GB beyond the list of images: batches of 64 images of 256 "
            "pixels, two workers, mixup."
        )

    def epochs(self) -> str:
        write_small_images(self.root / "short" / "images")
        memory = self._ask("epochs", self.root / "short")
        growth = max(memory[2:]) / memory[1]
        verdict = "yes" if growth <= GROWTH_GOAL else "**no**"
        return (
            "## Memory over epochs\n\nhalonet_test trained on 2,000 images of 64 pixels, MB after each epoch: "
            f"{', '.join(f'{value:.0f}' for value in memory)}. The most after the second is {growth:.3f} times what it "
            f"is after that (goal: {GROWTH_GOAL}; reached: {verdict})."
        )

    def _first_batch(self, python: str, side: str, data: Path, cache: Path | None) -> dict[str, float | None]:
        """What worker_first_batch.py prints; without `cache` the folder is new to the process."""
        with tempfile.TemporaryDirectory(dir=self.root) as fresh:
            return run([python, HERE / "worker_first_batch.py", side, data], str(cache or fresh))

    def _list_together(self, cache: str) -> list[dict[str, float]]:
        command = [sys.executable, HERE / "worker_imagenet.py", "list", self.folder]
        environ = {**os.environ, "MINDCV_HALO_HOME": cache}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environ}
        workers = [subprocess.Popen(command, **pipes) for _ in range(PROCESSES)]
        for worker in workers:
            worker.stdout.readline()
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        return [json.loads(worker.communicate()[0]) for worker in workers]

    def _ask(self, work: str, folder: Path) -> Any:
        return run([sys.executable, HERE / "worker_imagenet.py", work, folder], str(self.root / "kept"))

    def _tabulate(self, rounds: Sequence[dict[str, dict[str, float | None]]]) -> str:
        rows = []
        for name in rounds[0]:
            turns = [turn[name] for turn in rounds]
            cells = [
                "-" if turns[0][key] is None else f"{min(turn[key] for turn in turns):.1f}"
                for key in ("listed", "processor", "first", "memory")
            ]
            rows.append((name, *cells))
        return make_table(("side", "listed, s", "its processor time, s", "first batch, s", "memory, GB"), rows)


def run(command: Sequence[object], cache: str) -> Any:
    """What the last line that a command prints says, as JSON."""
    environ = {**os.environ, "MINDCV_HALO_HOME": cache}
    done = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True, env=environ)
    return json.loads(done.stdout.splitlines()[-1])


def make_folder(folder: Path, count: int) -> None:
    """`count` links to JPEG files, as train/n00000123/n00000123_45.JPEG."""
    folder.mkdir()
    for number, name in enumerate(list_names(count)):
        if number % _MOST_LINKS == 0:
            source = folder / f".{number}.jpg"
            source.write_bytes(encode_image(np.random.default_rng(number)))
        path = os.path.join(folder, name)
        try:
            os.link(source, path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path))
            os.link(source, path)


def list_names(count: int) -> Iterator[str]:
    for label in range(NUM_CLASSES):
        for number in range(label, count, NUM_CLASSES):
            yield f"train/n{label:08d}/n{label:08d}_{number}.JPEG"


def pack(zip_file: Path, tar_file: Path, count: int) -> None:
    """Small files of the same names."""
    content = encode_noise(np.random.default_rng(0), 16)
    with zipfile.ZipFile(zip_file, "w") as zipped, tarfile.open(tar_file, "w") as tar:
        for name in list_names(count):
            zipped.writestr(name, content)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
            tar.members.clear()  # TarFile keeps them all


def write_small_images(root: Path) -> None:
    """2,000 images of 64 pixels in four classes to train on, and 200 to validate on."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 2000), ("val", 200)):
        for number in range(count):
            path = root / split / str(number % 4) / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_noise(rng, 64))


def encode_noise(rng: np.random.Generator, side: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue()


if __name__ == "__main__":
    main()
