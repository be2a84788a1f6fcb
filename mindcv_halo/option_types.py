"""An option's value from what YAML or a flag says, by the type in its annotation."""

from __future__ import annotations

import math
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from .errors import UserError
from .options import Option

_NONE = ("None", "null", "")


def convert_value(where: str, value: Any, option: Option) -> Any:
    """`value`, from YAML or as the text of a flag, as the option's type. Raises UserError that says `where`."""
    result = _as_type(value, option.annotation)
    if result is _Mismatch:
        raise UserError(f"{where}: {value!r} is not {type_name(option.annotation)}")
    if option.choices and result is not None and result not in option.choices:
        raise UserError(f"{where}: {value!r} is none of {', '.join(map(str, option.choices))}")
    return result


class _Mismatch:
    """What _as_type returns for a value of another type; None is a value."""


def _as_type(value: Any, annotation: Any) -> Any:
    members = _members(annotation)
    if NoneType in members and (value is None or value in _NONE or value in [[text] for text in _NONE]):
        return None  # a flag that may have several values gives a list
    for member in members:
        result = _as_tuple(value, get_args(member)) if get_origin(member) is tuple else _as_scalar(value, member)
        if result is not _Mismatch:
            return result
    return _Mismatch


def _as_scalar(value: Any, kind: type) -> Any:
    if isinstance(value, list) and len(value) == 1:  # a flag that may have several values
        value = value[0]
    if kind is bool:
        named = {"true": True, "false": False}
        return value if isinstance(value, bool) else named.get(str(value).lower(), _Mismatch)
    if kind is str:
        return value if isinstance(value, str) else _Mismatch
    if kind not in (int, float) or isinstance(value, bool) or not isinstance(value, str | int | float):
        return _Mismatch
    if kind is int and isinstance(value, float):
        return _Mismatch
    try:
        number = kind(value)  # YAML 1.1 takes 1e-3 for text
    except (ValueError, OverflowError):
        return _Mismatch
    return number if math.isfinite(number) else _Mismatch


def _as_tuple(value: Any, items: tuple[Any, ...]) -> Any:
    if isinstance(value, str) or (isinstance(value, list) and len(value) == 1 and isinstance(value[0], str)):
        text = value if isinstance(value, str) else value[0]
        value = text.strip("()[] ").replace(",", " ").split()
    if not isinstance(value, list | tuple):
        return _Mismatch
    kinds = items[:1] * len(value) if items[-1] is Ellipsis else items
    if len(kinds) != len(value):
        return _Mismatch
    result = tuple(_as_type(item, kind) for item, kind in zip(value, kinds, strict=True))
    return _Mismatch if _Mismatch in result else result


def _members(annotation: Any) -> tuple[Any, ...]:
    """`float | None` -> (float, NoneType); `int` -> (int,)."""
    return get_args(annotation) if get_origin(annotation) in (UnionType, Union) else (annotation,)


def takes_many(annotation: Any) -> bool:
    """Whether a flag of this type is followed by several values."""
    return any(get_origin(member) is tuple for member in _members(annotation))


def type_name(annotation: Any) -> str:
    """An option's type in words, such as `a number or None`."""
    return " or ".join(_member_name(member) for member in _members(annotation))


def _member_name(member: Any) -> str:
    if get_origin(member) is tuple:
        items = get_args(member)
        count = "a list of" if items[-1] is Ellipsis else f"{len(items)}"
        return f"{count} { {int: 'whole numbers', float: 'numbers', str: 'names'}[items[0]] }"
    return {bool: "True or False", int: "a whole number", float: "a number", str: "text", NoneType: "None"}[member]
