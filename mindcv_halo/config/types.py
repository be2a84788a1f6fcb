"""An option's value from what YAML or a flag says, by the type in its annotation.

Texts are read here and nowhere else, so that `1_0` is no number in a recipe, and none on the command line.
"""

from __future__ import annotations

import math
import re
import reprlib
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from ..errors import UserError
from .options import Option

_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "y", "t", "on", "1"), True),
    **dict.fromkeys(("false", "no", "n", "f", "off", "0"), False),
}
NO_VALUE = ("", "none", "null", "~")  # in any case
_NUMBER = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_TIME = re.compile(r"[+-]?\d+(:\d+)+(\.\d*)?")  # YAML 1.1 counts in sixties


class PlainText(str):
    """What somebody wrote without quotes, in a recipe or as a flag: `null` is then no value, not a text."""


def convert_value(where: str, value: Any, option: Option) -> Any:
    """`value`, from YAML or as the text of a flag, as the option's type. Raises UserError that says `where`."""
    members = _members(option.annotation)
    if str in members and NoneType not in members and _is_none(value):
        return _empty_text(where, value, option)
    result = _as_type(value, option.annotation)
    if result is _Mismatch:
        advice = _advise(value, option.annotation)
        raise UserError(f"{where}: {_shown(value)} is not {type_name(option.annotation)}{advice}")
    if option.choices and not isinstance(result, bool | None) and result not in option.choices:
        booleans = [word for word in (True, False) if bool in members and word not in option.choices]
        raise UserError(f"{where}: {_shown(value)} is none of {', '.join(map(str, [*booleans, *option.choices]))}")
    return result


def read_boolean(where: str, text: str) -> bool:
    """True or False from any of their spellings. Raises UserError that says `where`."""
    result = _as_scalar(text, bool)
    if result is _Mismatch:
        raise UserError(f"{where}: {text!r} is not True or False")
    return result


class _Mismatch:
    """What _as_type returns for a value of another type; None is a value."""


def _empty_text(where: str, value: Any, option: Option) -> str:
    """No value for a text: the empty one, if somebody wrote just that or it is what the key stands for without it."""
    if value == "" or option.default == "":
        return ""
    name = "" if option.choices or option.annotation is not str else f"; a file or folder of that name is ./{value}"
    raise UserError(f"{where}: {value} stands for no value, and this key needs one: leave it out{name}")


def _as_type(value: Any, annotation: Any) -> Any:
    members = _members(annotation)
    if isinstance(value, list) and len(value) == 1 and not isinstance(value[0], list | dict):
        (single,) = value  # a flag that may have several values gives a list
    else:
        single = value
    if NoneType in members and (_is_none(single) or (isinstance(single, str) and single.lower() in NO_VALUE)):
        return None
    for member in members:
        if member is str and _advise(single, annotation):
            continue  # where numbers are expected, one in another notation is no text
        result = _as_tuple(value, get_args(member)) if get_origin(member) is tuple else _as_scalar(single, member)
        if result is not _Mismatch:
            return result
    return _Mismatch


def _is_none(value: Any) -> bool:
    return value is None or (isinstance(value, PlainText) and value.lower() in NO_VALUE)


def _as_scalar(value: Any, kind: Any) -> Any:
    if kind is bool:
        return value if isinstance(value, bool) else _BOOLEANS.get(str(value).lower(), _Mismatch)
    if get_origin(kind) is Literal:
        return next((word for word in get_args(kind) if str(value).lower() == word.lower()), _Mismatch)
    if kind is str:
        return str(value) if isinstance(value, str) else _Mismatch
    if kind not in (int, float) or isinstance(value, bool) or not isinstance(value, str | int | float):
        return _Mismatch
    if kind is int and isinstance(value, float):
        return _Mismatch
    if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
        return _Mismatch
    try:
        number = kind(value)
    except (ValueError, OverflowError):  # such as a whole number that is written 1e3, or has thousands of digits
        return _Mismatch
    return _Mismatch if isinstance(number, float) and not math.isfinite(number) else number


def _as_tuple(value: Any, items: tuple[Any, ...]) -> Any:
    if isinstance(value, str) or (isinstance(value, list) and len(value) == 1 and isinstance(value[0], str)):
        value = _split(value if isinstance(value, str) else value[0])
    if not isinstance(value, list | tuple):
        return _Mismatch
    kinds = items[:1] * len(value) if items[-1] is Ellipsis else items
    if len(kinds) != len(value):
        return _Mismatch
    result = tuple(_as_type(item, kind) for item, kind in zip(value, kinds, strict=True))
    return _Mismatch if _Mismatch in result else result


def _split(text: str) -> list[str]:
    """The items of a list that is written as one text, as in `(0.08, 1.0)`."""
    return text.strip("()[] ").replace(",", " ").split()


def _advise(value: Any, annotation: Any) -> str:
    """For a type with numbers: what to write for one in a notation that people, Python and YAML 1.1 read differently.

    These are digits with a leading 0 (YAML's octal) or colons (its base 60), 0x, 0o, 0b, underscores, digits of other
    scripts, and, for a whole number, a point or an exponent. Nothing for any other value.
    """
    kinds = {item for member in _members(annotation) for item in get_args(member) or (member,) if item in (int, float)}
    if not kinds:
        return ""
    if isinstance(value, list | tuple):
        return next(filter(None, (_advise(item, annotation) for item in value if isinstance(item, str))), "")
    texts = () if not isinstance(value, str) else _split(value) if takes_many(annotation) else (value.strip(),)
    for text in texts:
        if _TIME.fullmatch(text):
            return f"; write {text} in plain decimal digits, without colons"
        number = _read_leniently(text)
        is_plain = _NUMBER.fullmatch(text) and (float in kinds or not number or not number.lstrip("-").isdecimal())
        if number is not None and number != text and not is_plain:
            return f"; write {number} for {text}"
    return ""


def _read_leniently(text: str) -> str | None:
    """The number that a person sees in `text`, in plain digits; None if there is none."""
    for read in (int, lambda digits: int(digits, 0), float):
        try:
            number = read(text)
        except (ValueError, OverflowError):
            continue
        if isinstance(number, float) and not math.isfinite(number):
            return None
        return str(int(number)) if number == int(number) else repr(number)
    return None


def _shown(value: Any) -> str:
    """For an error: as repr has it, cut short if it is long."""
    return repr(value) if isinstance(value, str) and len(value) < 200 else _REPR.repr(value)


_REPR = reprlib.Repr()
_REPR.maxlist = _REPR.maxtuple = 10
_REPR.maxstring = _REPR.maxother = 200


def _members(annotation: Any) -> tuple[Any, ...]:
    """`float | None` -> (float, NoneType); `int` -> (int,)."""
    return get_args(annotation) if get_origin(annotation) in (UnionType, Union) else (annotation,)


def takes_many(annotation: Any) -> bool:
    """Whether a flag of this type is followed by several values."""
    return any(get_origin(member) is tuple for member in _members(annotation))


def may_stand_alone(annotation: Any) -> bool:
    """Whether a flag of this type may stand alone, which then means True."""
    return bool in _members(annotation)


def type_name(annotation: Any) -> str:
    """An option's type in words, such as `a number or None`."""
    return " or ".join(_member_name(member) for member in _members(annotation))


def _member_name(member: Any) -> str:
    if get_origin(member) is tuple:
        items = get_args(member)
        count = "a list of" if items[-1] is Ellipsis else f"{len(items)}"
        return f"{count} { {int: 'whole numbers', float: 'numbers', str: 'names'}[items[0]] }"
    if get_origin(member) is Literal:
        return " or ".join(get_args(member))
    return {bool: "True or False", int: "a whole number", float: "a number", str: "text", NoneType: "None"}[member]
