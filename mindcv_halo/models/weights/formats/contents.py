"""What all readers of weight files share: the limits, and what they give back.

A weight file may come from anywhere. A reader runs no code out of it, uses no name in it as a path, believes no size in
it, and raises UserError for everything that it does not like.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ....errors import UserError

# The largest model, with averages and an optimizer's state, stays well below both.
LARGEST_FILE = 2 << 30  # bytes
MOST_ENTRIES = 20_000
MOST_DIMENSIONS = 8
LONGEST_NAME = 300
CHECKSUM = "crc_num"  # its name in the metadata
CLASS_NAMES = "class_names"  # the note that holds a list of them in JSON


@dataclass(frozen=True)
class Contents:
    """What a file holds: arrays under the file's own names, and notes of whoever wrote it."""

    arrays: dict[str, np.ndarray]
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Format:
    """A kind of container."""

    suffixes: tuple[str, ...]
    read: Callable[[Path], Contents]
    # Whether a file of so many bytes is of this kind beyond doubt, by its first nine, whatever it is called.
    begins: Callable[[bytes, int], bool] = lambda beginning, size: False


def damaged(path: Path, why: object) -> UserError:
    """The error for a file that is not what its name says."""
    text = readable(" ".join(str(why).split()), 300) or type(why).__name__
    return UserError(f"checkpoint {path}: cannot be read, it may be truncated or of another kind ({text}); get it anew")


def readable(text: str, longest: int = 120) -> str:
    """Text out of a file, for a message: short, and without characters that do something to a terminal."""
    text = text if len(text) <= longest else text[: longest - 3] + "..."
    return text if text.isprintable() else ascii(text)[1:-1]


def check_shape(path: Path, name: str, shape: Sequence[int], num_items: int) -> None:
    """Raises UserError unless an array of `shape` has just as many items as the file has for it."""
    if any(side < 1 for side in shape) or math.prod(shape) != num_items:
        raise damaged(path, f"{name!r} says it is {tuple(shape)}, but has {num_items} numbers")


def checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """What MindSpore writes as `crc_num` into the metadata of a safetensors file."""
    crc = 0
    for name in sorted(arrays):
        crc = zlib.crc32(np.asarray(arrays[name], order="C").tobytes(), zlib.crc32(name.encode(), crc))
    return str(crc)


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """The numbers whose upper halves are these 16 bits each."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
