"""Images/s of the input pipeline beside MindCV's: MindCV's HaloNet recipe at 256 pixels, on JPEG files made here.

The sides take turns, one epoch each, and the ratio is the median over the pairs of turns: on a shared machine only
ratios within one run mean something. `make bench-pipeline` sets MindCV up.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image
from workers import Worker, take_rounds

WIDTH, HEIGHT = 500, 375  # the size of most of ImageNet's images; its training files have about 110 KB
JPEG_QUALITY = 96
NUM_CLASSES = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer_python", required=True, help="Python of an environment with MindSpore and MindCV")
    parser.add_argument("--batches", type=int, default=16, help="batches in an epoch, which is a turn")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2, help="num_parallel_workers")
    parser.add_argument("--pairs", type=int, default=11, help="turns of each side, after one to warm up")
    args = parser.parse_args()

    num_images = args.batches * args.batch_size
    with tempfile.TemporaryDirectory() as folder:
        kilobytes = write_images(Path(folder), num_images) / num_images / 1000
        print(
            f"{num_images} JPEG files of {WIDTH} x {HEIGHT}, {kilobytes:.0f} KB each; batch {args.batch_size}, "
            f"{args.workers} workers, {args.pairs} pairs of turns"
        )
        sizes = (folder, str(args.batch_size), str(args.workers))
        workers = [
            Worker(sys.executable, "worker_pipeline.py", "mindcv_halo", *sizes),
            Worker(args.peer_python, "worker_pipeline.py", "mindcv", *sizes),
        ]
        rounds = take_rounds(workers, args.pairs)
        memory = [worker.close() for worker in workers]
    ours, peers = (num_images / median(column) for column in zip(*rounds, strict=True))
    ratios = [peer / own for own, peer in rounds]
    print("| ours, img/s | MindCV, img/s | ratio | lowest | highest | ours, GB | MindCV, GB |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {ours:.0f} | {peers:.0f} | {median(ratios):.2f} | {min(ratios):.2f} | {max(ratios):.2f} | "
        f"{memory[0]:.2f} | {memory[1]:.2f} |"
    )


def write_images(root: Path, count: int) -> int:
    """Write `count` images of clouds and grain to root/train/class, and return their bytes."""
    rng = np.random.default_rng(0)
    for number in range(NUM_CLASSES):
        (root / "train" / str(number)).mkdir(parents=True)
    return sum(
        (root / "train" / str(number % NUM_CLASSES) / f"{number}.jpg").write_bytes(encode_image(rng))
        for number in range(count)
    )


def encode_image(rng: np.random.Generator) -> bytes:
    """A JPEG whose contrast falls with the spatial frequency, as in photographs, plus the grain of a sensor."""
    pixels = np.full((HEIGHT, WIDTH, 3), 128.0) + rng.normal(0, 9, (HEIGHT, WIDTH, 3))
    for cell, contrast in ((128, 40), (48, 25), (16, 14), (6, 8)):  # pixels, grey levels
        small = rng.normal(0, contrast, (HEIGHT // cell + 2, WIDTH // cell + 2, 3))
        for channel in range(3):
            layer = Image.fromarray(small[..., channel].astype(np.float32))
            pixels[..., channel] += np.asarray(layer.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


if __name__ == "__main__":
    main()
