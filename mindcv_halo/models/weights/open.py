"""What a weight file holds, whosever it is: read, check, recognise."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ...errors import UserError
from ...files.path import check_file
from ..specs import DIALECTS, Halo
from .formats import FORMATS
from .formats.contents import CLASS_NAMES, LARGEST_FILE, LONGEST_NAME, Contents, readable
from .rules import Source, translate
from .sources import SOURCES
from .sources.ours import SOURCE as OURS
from .training_state import select_weights

READERS = {suffix: kind.read for kind in FORMATS for suffix in kind.suffixes}
_LONGEST_BEGINNING = 9

_ANCHOR = re.compile("|".join(source.signature for source in SOURCES))
_EMA = "ema."
_LARGEST_WINDOW = 256  # pixels a side, that a file may say it has
_SHOWN = 3  # names that an error lists


@dataclass(frozen=True)
class WeightFile:
    """What a weight file holds: arrays under the file's own names, whose names these are, and what it says of itself.

    `dialect` is that of the source, unless it is a file of ours, which says which dialect its weights were trained in.
    `halo` are the windows that they were trained with, None if the file does not say; `mask_padding` is whether it says
    that pixels outside the map were kept out of their softmax. `class_names` are the classes, in the order of the
    labels, that they were trained on; None if the file does not say.
    """

    origin: str
    arrays: dict[str, np.ndarray]
    source: Source
    dialect: str
    halo: Halo | None
    mask_padding: bool
    class_names: tuple[str, ...] | None = None

    @cached_property
    def ours(self) -> dict[str, np.ndarray]:
        """The arrays under our names, as far as these can be told without a network."""
        return translate(self.source, self.arrays, ())[0]


def recognise_weights(weights: Mapping[str, np.ndarray], origin: str, halo: Halo | None = None) -> WeightFile:
    """What a file with these arrays would hold, whatever a training left among them; `halo` is what it would say."""
    weights = select_weights(weights, is_anchor, any_prefix=True, origin=origin)
    source = recognise(weights, origin)
    return WeightFile(origin, weights, source, source.dialect, halo, mask_padding=False)


def open_weights(path: str, *, ema: bool = False, strip_prefix: bool = False) -> WeightFile:
    """A weight file of any kind.

    `ema` takes the entries called `ema.*` in place of the live weights. Of a training checkpoint the weights alone are
    taken, without a wrapper's prefix such as `network.` or `module.`; `strip_prefix` leaves out what is outside of it.
    Raises UserError for a missing, damaged or unknown kind of file, and for weights of something else than a HaloNet.
    """
    arrays, notes = _read(path, is_anchor, ema, strip_prefix)
    origin = f"checkpoint {path}"
    source = recognise(arrays, origin)
    dialect, halo = source.dialect, None
    if source is OURS:
        dialect = notes.get("dialect", dialect)
        if dialect not in DIALECTS:
            raise UserError(
                f"{origin}: its dialect {readable(dialect)!r} is none of {', '.join(DIALECTS)}; save it anew, with "
                "save_network"
            )
        block_size, halo_size = notes.get("block_size", ""), notes.get("halo_size", "")
        if re.fullmatch(r"[1-9]\d{0,3}", block_size) and re.fullmatch(r"\d{1,4}", halo_size):
            halo = Halo(int(block_size), int(halo_size))
            if halo.block_size + 2 * halo.halo_size > _LARGEST_WINDOW:
                raise UserError(
                    f"{origin}: it says its windows have block_size {block_size} and halo_size {halo_size}; "
                    f"none has more than {_LARGEST_WINDOW} pixels a side; save it anew, with save_network"
                )
    mask_padding = source is OURS and notes.get("mask_padding") == "True"
    class_names = _read_class_names(origin, notes[CLASS_NAMES]) if source is OURS and CLASS_NAMES in notes else None
    return WeightFile(origin, arrays, source, dialect, halo, mask_padding, class_names)


def read_class_names(path: str) -> tuple[str, ...] | None:
    """The classes that the weights in a file were trained on, whatever network's they are; None if it does not say."""
    notes = _read(path, lambda name: True, ema=False, strip_prefix=False)[1]
    return _read_class_names(f"checkpoint {path}", notes[CLASS_NAMES]) if CLASS_NAMES in notes else None


def is_anchor(name: str) -> bool:
    """Whether this is the name by which a HaloNet's weights, of whatever source, are told."""
    return _ANCHOR.fullmatch(name) is not None


def read_weights(
    path: str, *, ema: bool = False, strip_prefix: bool = False, is_weight: Callable[[str], bool] = is_anchor
) -> dict[str, np.ndarray]:
    """The arrays of open_weights, whosever they are; `is_weight` as in select_weights, for another network's."""
    return _read(path, is_weight, ema, strip_prefix)[0]


def recognise(weights: Mapping[str, np.ndarray], origin: str = "weights") -> Source:
    """Whose names these are. Raises UserError when they are no HaloNet's that we know."""
    for source in SOURCES:
        if any(re.fullmatch(source.signature, name) for name in weights):
            return source
    examples = ", ".join(readable(name) for name in list(weights)[:_SHOWN])
    raise UserError(
        f"{origin}: no HaloNet of {', '.join(source.name for source in SOURCES)}: the names in it are like {examples}; "
        "give a file of a HaloNet's weights, or for a network of your own register its function (register_model)"
    )


def _read(
    path: str, is_weight: Callable[[str], bool], ema: bool, strip_prefix: bool
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    file = Path(path)
    check_file(f"checkpoint {path}", file)
    try:
        size = file.stat().st_size
        if size > LARGEST_FILE:
            raise UserError(f"checkpoint {path}: it has {size / 1e9:.1f} GB, which is more than any HaloNet; check it")
        contents = _find_reader(file)(file)
    except (OSError, MemoryError) as error:
        raise UserError(f"checkpoint {path} cannot be read: {error or 'not enough memory'}; check the file") from error
    weights = contents.arrays
    for name, value in weights.items():
        if len(name) > LONGEST_NAME or not value.size:  # a side of zero lets the other sides claim anything
            raise UserError(
                f"checkpoint {path}: {readable(name)!r} of shape {value.shape} is no weight; write the file without it"
            )
    averaged = {name.removeprefix(_EMA): value for name, value in weights.items() if name.startswith(_EMA)}
    if ema and not averaged:
        raise UserError(f"checkpoint {path}: ema=True, but the file holds no averaged weights; set ema to False")
    weights = averaged if ema else {name: value for name, value in weights.items() if not name.startswith(_EMA)}
    weights = select_weights(
        weights,
        is_weight,
        any_prefix=True,
        leave_out=strip_prefix,
        origin=f"checkpoint {path}",
    )
    if not weights:
        raise UserError(f"checkpoint {path}: it holds no weights; {_find_weights(averaged)}")
    return weights, contents.notes


def _find_weights(averaged: Mapping[str, np.ndarray]) -> str:
    """What to do with a file without live weights."""
    if not averaged:
        return "give another file"
    return "set ema to True, or for training write its averages with mindcv-halo convert FILE NEW.ckpt --ema"


def _find_reader(file: Path) -> Callable[[Path], Contents]:
    """By how the file begins, which for some kinds leaves no doubt, else by its name."""
    with file.open("rb") as stream:
        beginning = stream.read(_LONGEST_BEGINNING)
    size = file.stat().st_size
    for kind in FORMATS:
        if kind.begins(beginning, size):
            return kind.read
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        raise UserError(
            f"checkpoint {file}: it is no file of torch's, Keras's or safetensors, and for a MindSpore checkpoint the "
            "name must end in .ckpt"
        )
    return reader


def _read_class_names(origin: str, text: str) -> tuple[str, ...]:
    try:
        names = json.loads(text)
        if isinstance(names, list) and all(isinstance(name, str) and name for name in names):
            "".join(names).encode("utf-8")
            return tuple(names)
    except (ValueError, RecursionError):  # no JSON, or no Unicode text
        pass
    raise UserError(
        f"{origin}: its class names {readable(text)!r} are no list of names in JSON; save it anew, with save_network"
    )
