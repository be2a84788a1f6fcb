"""Seconds to the first batch of a data set as large as ImageNet-1k: 1,281,167 images in 1000 folders.

The folders hold hard links to a few JPEG files, which take a minute to make and no space. The sides take turns, each
in a process of its own: ours, MindCV's and timm's with their loaders, and a walk as torchvision's ImageFolder does it.
`--archives` packs the folder too, and times ours on that: 10 GB of disk, at 4 KB an image.

    python benchmarks/imagenet_scale.py --torch_python .venv-torch/bin/python --mindcv_python .venv-mindcv/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

NUM_IMAGES, NUM_CLASSES = 1_281_167, 1000
_MOST_LINKS = 60_000  # to a file; ext4 allows 65,000
_PIXELS = 64  # a side: the files are small, so that archives of them are too


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch_python", help="Python of an environment with timm")
    parser.add_argument("--mindcv_python", help="Python of an environment with MindCV")
    parser.add_argument("--images", type=int, default=NUM_IMAGES)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side; the least counts")
    parser.add_argument("--archives", action="store_true", help="pack the folder, and read the archives")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "images"
        make_folder(folder, args.images)
        sides = {"ours": (sys.executable, "ours", folder), "os.walk": (sys.executable, "walk", folder)}
        if args.torch_python:
            sides["timm"] = (args.torch_python, "timm", folder)
        if args.mindcv_python:
            sides["MindCV"] = (args.mindcv_python, "mindcv", folder)
        if args.archives:
            pack(folder, Path(root))
            sides |= {
                f"ours, {kind}": (sys.executable, "ours", Path(root) / f"images.{kind}") for kind in ("zip", "tar")
            }
        rounds = [{name: measure(*side) for name, side in sides.items()} for _ in range(args.rounds)]
    print(f"{args.images:,} images in {NUM_CLASSES} folders; least of {args.rounds} turns")
    print("| side | listed, s | its processor time, s | first batch, s | memory, GB |")
    print("|---|---|---|---|---|")
    for name in sides:
        turns = [turn[name] for turn in rounds]
        cells = [
            "-" if turns[0][key] is None else f"{min(turn[key] for turn in turns):.1f}"
            for key in ("listed", "processor", "first", "memory")
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def make_folder(folder: Path, count: int) -> None:
    """`count` links to JPEG files, as train/n00000123/n00000123_45.JPEG."""
    folder.mkdir()
    for number, name in enumerate(list_names(count)):
        if number % _MOST_LINKS == 0:
            source = folder / f".{number}.jpg"
            pixels = np.random.default_rng(number).integers(0, 256, (_PIXELS, _PIXELS, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(source)
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


def pack(folder: Path, target: Path) -> None:
    with zipfile.ZipFile(target / "images.zip", "w") as zipped, tarfile.open(target / "images.tar", "w") as tar:
        for path in sorted(folder.glob("train/*/*")):
            content = path.read_bytes()
            name = str(path.relative_to(folder))
            zipped.writestr(name, content)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            with path.open("rb") as file:
                tar.addfile(member, file)


def measure(python: str, side: str, data: Path) -> dict[str, float | None]:
    """What worker_first_batch.py prints."""
    worker = Path(__file__).with_name("worker_first_batch.py")
    printed = subprocess.run([python, worker, side, data], check=True, capture_output=True, text=True).stdout
    return json.loads(printed.splitlines()[-1])


if __name__ == "__main__":
    main()
