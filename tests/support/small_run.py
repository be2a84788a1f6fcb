"""A small folder of images, the flags of a run on it that takes seconds, and its command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("blue", "green", "red")


def write_images(folder: Path, count: int, seed: int) -> None:
    """`count` noisy images of each colour, 40 x 36 pixels."""
    random = np.random.default_rng(seed)
    for channel, name in enumerate(reversed(CLASSES)):
        target = folder / name
        target.mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 128, (36, 40, 3), dtype=np.uint8)
            pixels[..., channel] += 96
            Image.fromarray(pixels).save(target / f"{number:02d}.png")


def make_flags(image_folder: Path, folder: Path) -> dict[str, str]:
    return {
        "model": "halonet_test",
        "data_dir": str(image_folder),
        "image_resize": "32",
        "batch_size": "8",
        "epoch_size": "2",
        "warmup_epochs": "1",
        "lr": "0.004",
        "val_while_train": "True",
        "device_target": "CPU",
        "ckpt_save_dir": str(folder),
    }


def command(name: str, flags: dict[str, str]) -> list[str]:
    """A command line for mindcv_halo.cli.main."""
    return [name, *(part for key, value in flags.items() for part in (f"--{key}", value))]
