"""MindSpore's .ckpt. Read by hand, because MindSpore itself believes the sizes in it.

It is a protobuf message, written piece by piece:

    Checkpoint { repeated Value value = 1; }    Value { string tag = 1; TensorProto tensor = 2; }
    TensorProto { repeated int64 dims = 1; string tensor_type = 2; bytes tensor_content = 3; }

A large array is split among values of the same tag. With a checksum the file ends with `crc_num` and ten bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from .contents import MOST_DIMENSIONS, MOST_ENTRIES, Contents, Format, bfloat16_to_float32, check_shape, damaged

_DTYPES = {
    **{f"{sign}Int{bits}": np.dtype(f"{sign.lower()}int{bits}") for sign in ("", "U") for bits in (8, 16, 32, 64)},
    **{f"Float{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
    "Bool": np.dtype(np.bool_),
    "BFloat16": np.dtype(np.uint16),
}
_TEXT = "str"
_CHECKSUM_MARK, _CHECKSUM_BYTES = b"crc_num", 10
_VARINT, _BYTES = 0, 2  # the wire types of protobuf that this message uses
_FOREIGN = "it is no MindSpore checkpoint"


@dataclass(frozen=True)
class _Value:
    tag: str
    dims: tuple[int, ...]
    kind: str
    content: memoryview


def read_ckpt(path: Path) -> Contents:
    """Raises UserError for a file that is damaged or no MindSpore checkpoint."""
    data = memoryview(path.read_bytes())
    mark = len(data) - len(_CHECKSUM_MARK) - _CHECKSUM_BYTES
    if mark >= 0 and data[mark:-_CHECKSUM_BYTES] == _CHECKSUM_MARK:
        expected = int.from_bytes(data[-_CHECKSUM_BYTES:], "big")
        data = data[:mark]
        if zlib.crc32(data) != expected:
            raise damaged(path, "its checksum is wrong")
    try:
        values = [_parse_value(value) for _, value in _fields(data, {1: _BYTES}, most=MOST_ENTRIES)]
    except (ValueError, IndexError) as error:  # IndexError: the bytes end within a number
        raise damaged(path, error) from error
    if not values:
        raise damaged(path, "it is empty")
    arrays, notes = {}, {}
    for name, parts in groupby(values, lambda value: value.tag):
        if name in arrays or name in notes:
            raise damaged(path, f"{name!r} is in it twice")
        first, *others = parts
        content = b"".join([first.content, *(part.content for part in others)]) if others else first.content
        if first.kind == _TEXT:
            notes[name] = _text(path, name, content)
        else:
            arrays[name] = _array(path, name, first, content)
    return Contents(arrays, notes)


def _array(path: Path, name: str, value: _Value, content: bytes | memoryview) -> np.ndarray:
    if value.kind not in _DTYPES:
        raise damaged(path, f"{name!r} is of the unknown type {value.kind!r}")
    dtype = _DTYPES[value.kind]
    if len(content) % dtype.itemsize:
        raise damaged(path, f"{name!r} has {len(content)} bytes, which are no {value.kind} numbers")
    flat = np.frombuffer(content, dtype)
    shape = () if value.dims == (0,) and flat.size == 1 else value.dims  # so MindSpore writes a scalar
    check_shape(path, name, shape, flat.size)
    array = flat.reshape(shape)
    return bfloat16_to_float32(array) if value.kind == "BFloat16" else array


def _text(path: Path, name: str, content: bytes | memoryview) -> str:
    try:
        return bytes(content).decode("utf-32-le")
    except UnicodeDecodeError as error:
        raise damaged(path, f"{name!r} is no text") from error


def _parse_value(data: memoryview) -> _Value:
    fields = list(_fields(data, {1: _BYTES, 2: _BYTES}, most=2))
    if sorted(number for number, _ in fields) != [1, 2]:
        raise ValueError("an entry has no name, or no tensor")
    parts = dict(fields)
    tensor = list(_fields(parts[2], {1: _VARINT, 2: _BYTES, 3: _BYTES}, most=2 + MOST_DIMENSIONS))
    if [number for number, _ in tensor if number > 1] not in ([2, 3], [3, 2]):
        raise ValueError("a tensor has no type, or no content")
    dims = tuple(value for number, value in tensor if number == 1)
    details = dict(tensor)
    return _Value(bytes(parts[1]).decode(), dims, bytes(details[2]).decode(), details[3])


def _fields(data: memoryview, wire_types: dict[int, int], most: int) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of the fields of a message that has just those in `wire_types`, and at most so many.

    Raises ValueError for any other message, and ValueError or IndexError where the bytes end too early.
    """
    place, count = 0, 0
    while place < len(data):
        key, place = _varint(data, place)
        number, wire_type = key >> 3, key & 7
        count += 1
        if wire_types.get(number) != wire_type or count > most:
            raise ValueError(_FOREIGN)
        value, place = _varint(data, place)
        if wire_type == _BYTES:
            size = value
            if size > len(data) - place:
                raise ValueError(f"{size} bytes should follow, there are {len(data) - place}")
            value = data[place : place + size]
            place += size
        yield number, value


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """The number that starts at `place`, and the place behind it."""
    number = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
    raise ValueError("a number has more than ten bytes")


CKPT = Format((".ckpt",), read_ckpt)
