"""What a setting may be. A check returns the value as Python's own kind of it, or raises UserError.

`thing` is what the setting belongs to, `name` what it is called there. Nothing here needs MindSpore.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from math import isfinite
from numbers import Integral, Real
from typing import Any, TypeVar

from ...errors import UserError

Kind = TypeVar("Kind")

ACTIVATIONS = ("relu", "silu")  # what has a layer, a native kernel and a writer for ONNX


def is_whole(value: object) -> bool:
    """Whether it is an integer, numpy's too. True is none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether it is a finite number, numpy's too. True is none."""
    return is_whole(value) or (isinstance(value, Real) and not isinstance(value, bool) and isfinite(value))


def check_whole(thing: str, name: str, value: Any, least: int = 1) -> int:
    if not is_whole(value) or value < least:
        raise UserError(f"{thing}: {name} {value!r} must be a whole number of at least {least}")
    return int(value)


def check_odd(thing: str, name: str, value: Any) -> int:
    """The side of a kernel, which has a middle only if it is odd."""
    if not is_whole(value) or value < 1 or value % 2 == 0:
        raise UserError(f"{thing}: {name} {value!r} must be an odd whole number of at least 1")
    return int(value)


def check_multiple(thing: str, name: str, value: int, of_name: str, of: int) -> None:
    """Both have been found to be whole."""
    if value % of:
        raise UserError(f"{thing}: {name} {value} must be a multiple of {of_name} {of}; change one of them")


def check_positive(thing: str, name: str, value: Any) -> float:
    if not is_number(value) or value <= 0:
        raise UserError(f"{thing}: {name} {value!r} must be a number above 0")
    return float(value)


def check_rate(thing: str, name: str, value: Any) -> float:
    if not is_number(value) or not 0 <= value < 1:
        raise UserError(f"{thing}: {name} {value!r} must be at least 0 and below 1")
    return float(value)


def check_flag(thing: str, name: str, value: Any) -> bool:
    """Text such as "False" would count as true."""
    if not isinstance(value, bool) and type(value).__name__ not in ("bool_", "bool"):  # numpy's, in either version
        raise UserError(f"{thing}: {name} {value!r} must be True or False")
    return bool(value)


def check_word(thing: str, name: str, value: Any, words: Collection[str], *, may_lack: bool = False) -> Any:
    """`may_lack` lets None stand for none of the words."""
    if may_lack and value is None:
        return None
    if not isinstance(value, str) or value not in words:
        known = ", ".join([*words, "None"] if may_lack else words)
        raise UserError(f"{thing}: {name} {value!r} must be one of {known}")
    return str(value)


def check_act(thing: str, name: str, value: Any, *, may_lack: bool = False) -> Any:
    return check_word(thing, name, value, ACTIVATIONS, may_lack=may_lack)


def check_name(thing: str, name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{thing}: {name} {value!r} must be a text that is not empty")
    return value


def check_kind(thing: str, name: str, value: Any, kind: type[Kind]) -> Kind:
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIO" else "a"
        raise UserError(f"{thing}: {name} {value!r} must be {article} {kind.__name__}")
    return value


def check_list(thing: str, name: str, value: Any) -> tuple[Any, ...]:
    """A list or a tuple, not empty."""
    if not isinstance(value, list | tuple) or not value:
        raise UserError(f"{thing}: {name} {value!r} must be a tuple that is not empty")
    return tuple(value)


def check_wholes(thing: str, name: str, value: Any, least: int = 1) -> tuple[int, ...]:
    """A tuple of whole numbers."""
    values = check_list(thing, name, value)
    if any(not is_whole(item) or item < least for item in values):
        raise UserError(f"{thing}: {name} {value!r} must be whole numbers of at least {least}")
    return tuple(int(item) for item in values)


def check_size(thing: str, name: str, value: Any) -> tuple[int, int]:
    """(height, width)."""
    size = tuple(value) if isinstance(value, list | tuple) else ()
    if len(size) != 2 or any(not is_whole(side) or side < 1 for side in size):
        raise UserError(f"{thing}: {name} {value!r} must be (height, width), whole numbers of at least 1")
    return int(size[0]), int(size[1])


def check_image_size(thing: str, value: Any) -> tuple[int, int]:
    """(height, width) of images, of which one number is the side of a square."""
    size = list_items(value) if not is_whole(value) else (value, value)
    if len(size) != 2 or any(not is_whole(side) or side < 1 for side in size):
        raise UserError(
            f"{thing}: image_resize (image_size) {value!r} must be a side or (height, width) in pixels, at least 1"
        )
    return int(size[0]), int(size[1])


def list_items(value: Any) -> tuple[Any, ...]:
    """The items of what has any, or else the value alone."""
    try:
        return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else (value,)
    except TypeError:  # numpy's arrays of no axes call themselves iterable
        return (value,)
