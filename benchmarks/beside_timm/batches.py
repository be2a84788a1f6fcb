"""Images and labels of a job, the same in every process: numpy alone.

Every side of the comparison reads these batches, so that augmentation and order differ by nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

PADDING = 2  # black pixels around an image, which are cut off again at random
MEAN, STD = 0.2860 * 255, 0.3530 * 255


def read_job(folder: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """What beside_timm.py wrote for both sides: the job, and its images and labels."""
    with np.load(folder / "data.npz") as file:
        return json.loads((folder / "job.json").read_text()), dict(file)


def fit(images: np.ndarray, size: int) -> np.ndarray:
    """(N, H, W) bytes -> (N, size, size): centred on black, as garments are."""
    margins = [((size - side) // 2, size - side - (size - side) // 2) for side in images.shape[1:]]
    return np.pad(images, ((0, 0), *margins))


def normalise(images: np.ndarray) -> np.ndarray:
    """(N, H, W) bytes -> (N, 1, H, W) float32."""
    return ((images.astype(np.float32) - np.float32(MEAN)) / np.float32(STD))[:, None]


def epoch(
    images: np.ndarray, labels: np.ndarray, batch_size: int, seed: int, number: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The full batches of an epoch: shuffled, flipped by chance, moved by up to PADDING pixels, normalised."""
    rng = np.random.default_rng([seed, number])
    order = rng.permutation(len(images))
    side = images.shape[1]
    for start in range(0, len(order) - batch_size + 1, batch_size):
        chosen = order[start : start + batch_size]
        batch = np.pad(images[chosen], ((0, 0), (PADDING, PADDING), (PADDING, PADDING)))
        moves = rng.integers(0, 2 * PADDING + 1, (batch_size, 2))
        flips = rng.random(batch_size) < 0.5
        moved = np.stack(
            [image[y : y + side, x : x + side] for image, (y, x) in zip(batch, moves.tolist(), strict=True)]
        )
        moved[flips] = moved[flips, :, ::-1]
        yield normalise(moved), labels[chosen].astype(np.int32)


def steps(job: dict, data: dict[str, np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The batches of all steps of a job, as many as it has rates."""
    left = len(job["rates"])
    number = 0
    while left:
        for batch in epoch(data["train_images"], data["train_labels"], job["batch_size"], job["seed"], number):
            yield batch
            left -= 1
            if not left:
                return
        number += 1
