"""One seed for everything that is random."""

from __future__ import annotations

import random

import mindspore
import numpy as np


def set_seed(seed: int = 42, rank: int | None = 0) -> None:
    """Seed Python, numpy, MindSpore's initialisers and minddata; ranks differ so that their augmentation does."""
    rank = rank or 0  # MindCV's scripts call the only process None
    random.seed(seed + rank)
    mindspore.set_seed(seed + rank)
    np.random.seed(seed + rank)
