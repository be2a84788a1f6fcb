"""Small image folders for the tests of the data package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.array_files import ARRAY_FILES


def draw_picture(seed: int, height: int = 40, width: int = 48) -> np.ndarray:
    """A smooth random picture, so that JPEG and resizing change it little: (height, width, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture
def picture() -> Callable[..., np.ndarray]:
    return draw_picture


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """make_folder({"train/cat": 3}) writes three JPEG files into root/train/cat, and returns root."""

    def make(counts: dict[str, int], root: str = "images") -> Path:
        seed = 0
        for folder, count in counts.items():
            target = tmp_path / root / folder
            target.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                Image.fromarray(draw_picture(seed)).save(target / f"{number}.jpg", quality=95)
                seed += 1
        return tmp_path / root

    return make


@pytest.fixture
def make_arrays(tmp_path: Path) -> Callable[[str], Path]:
    """make_arrays("mnist") writes the files of a small MNIST, and returns their folder."""

    def make(name: str) -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        for file, content in ARRAY_FILES[name]().items():
            (root / file).write_bytes(content)
        return root

    return make
