"""The images of a split in MindRecord files, MindSpore's own, read in place and in any order.

MindSpore reads such files from one end to the other, or in a pipeline of its own. To go on in the middle of an epoch,
to name a damaged image, or to take another in its place needs single rows, which is what the index beside each file is
for: a database of SQLite with the place of every row, and its label. FileWriter and ImageNetToMR of
mindspore.mindrecord write both. Nothing of them is trusted: places are checked against the file's length before
anything is read.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import struct
import unicodedata
import weakref
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from ..errors import UserError
from ..files.path import find_kind
from ..files.text import list_some, show_path
from .class_names import is_text
from .storage import MOST_BYTES, damage, read_at

_MARK = ".mindrecord"  # in the name of a file, by MindSpore's habit; a number follows where there are several
_INDEX = ".db"  # behind the name of a file
_LENGTH = struct.Struct("<Q")  # of the header, and of all of a row's columns of bytes
_COLUMN_LENGTH = struct.Struct(">Q")  # of each of them, where a row has several
_LONGEST_HEADER = 1 << 28  # bytes; what MindSpore writes has half of it at most
_LARGEST_LABEL = (1 << 20) - 1
_WINDOW = 1 << 20  # bytes that are read at a time to look at many rows
# MindSpore's converters call the columns so.
_LABEL, _FILE_NAME, _IMAGES = "label", "file_name", ("image", "data")


class Records(NamedTuple):
    """The images of one split: `paths[i]` shows the class `class_names[labels[i]]`, and leads into `files`."""

    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    labels: np.ndarray  # int32, as long as paths
    files: MindRecord


def find_records(root: Path, split: str) -> Path | None:
    """The MindRecord file of a split, or the first of its parts; None if there is none.

    It is root/split itself, root/split.mindrecord, or the first of root/split.mindrecord0, root/split.mindrecord1, ...
    """
    own = root / split
    if is_record(own) or find_kind(Path(f"{own}{_INDEX}")) == find_kind(own) == "file":
        return own
    pattern = re.compile(re.escape(f"{split}{_MARK}") + r"\d*")
    return next((root / name for name in list_records(root) if pattern.fullmatch(name)), None)


def list_records(root: Path) -> list[str]:
    """The names of the MindRecord files in a folder, which may be none."""
    try:
        return sorted(name for name in os.listdir(root) if is_record(root / name))
    except OSError:
        return []


def is_record(path: Path) -> bool:
    """Whether a path is that of a MindRecord file, by its name."""
    name = path.name.lower()
    return _MARK in name and not name.endswith(_INDEX) and find_kind(path) == "file"


def read_records(path: Path) -> Records:
    """The images of a MindRecord, of which `path` is a part: all of its parts are read.

    Classes count in the order of their labels. They are called as the folders of their images were, by the column
    file_name, if each label has one folder and each folder one label; then images come in the order of classes and
    names, as those of a folder do. Without such names a class is called by the number of its label, and images come in
    the order of the files.

    Raises UserError for parts that are missing, for what is no sound MindRecord or has no column of images or labels,
    and for labels that cannot be.
    """
    files = _open(_find_parts(path))
    parts = files.parts.values()
    labels = np.concatenate([part.labels for part in parts])
    if not len(labels):
        raise UserError(f"{_name(path)}: it holds no row; write it anew")
    if labels.min() < 0 or labels.max() > _LARGEST_LABEL:
        raise UserError(
            f"{_name(path)}: its labels go from {labels.min()} to {labels.max()}, and may go from 0 to "
            f"{_LARGEST_LABEL}; write it anew with such"
        )
    names = [name for part in parts for name in part.names]
    rows = [f"{part.path}/{row}" for part in parts for row in range(len(part.labels))]
    found, positions = np.unique(labels, return_inverse=True)
    class_names = _name_classes(names, positions, len(found))
    if class_names is None:
        return Records(tuple(map(str, found.tolist())), tuple(rows), positions.astype(np.int32), files)
    order = sorted(range(len(rows)), key=lambda number: (positions[number], names[number]))
    paths = (f"{rows[number]}/{class_names[positions[number]]}/{_split(names[number])[1]}" for number in order)
    return Records(class_names, tuple(paths), positions[order].astype(np.int32), files)


class MindRecord:
    """The images of all parts of a MindRecord, as Files.

    An image is called PART/row, or PART/row/class/name where its earlier name is known.
    """

    def __init__(self, paths: Sequence[str]):
        self.parts = {path: _Part(path) for path in paths}
        numbers = sorted(part.header.number for part in self.parts.values())
        if numbers != list(range(len(numbers))):
            raise UserError(
                f"{_name(paths[0])}: its {len(numbers)} parts have the numbers {list_some(list(map(str, numbers)))}; "
                "copy them anew"
            )

    def __reduce__(self) -> tuple:
        """Copies, in this process and another, are opened anew."""
        return _open, (tuple(self.parts),)

    def size(self, path: str) -> int:
        part, row = self._find(path)
        return part.find_image(row)[1]

    def read(self, path: str) -> bytes:
        part, row = self._find(path)
        start, size = part.find_image(row)
        if size > MOST_BYTES:
            raise damage(f"it has {size:,} bytes, and images of {MOST_BYTES:,} at most are read")
        return part.read_at(start, size)

    def read_ends(self, path: str, count: int) -> tuple[bytes, bytes]:
        part, row = self._find(path)
        start, size = part.find_image(row)
        count = min(count, size)
        return part.read_at(start, count), part.read_at(start + size - count, count)

    def _find(self, path: str) -> tuple[_Part, int]:
        part = next(part for name, part in self.parts.items() if path.startswith(f"{name}/"))
        return part, int(path[len(part.path) + 1 :].partition("/")[0])


@dataclass(frozen=True)
class _Header:
    """What a MindRecord file says of itself at its beginning."""

    number: int  # of this part
    num_parts: int
    num_rows: int
    length: int  # bytes before the first page
    page_size: int  # bytes
    columns: dict[str, str]  # types by name, such as int32, string or bytes
    bytes_columns: tuple[str, ...]  # in the order in which a row has them


class _Part:
    """One file: what its index says of its rows, and where they lie."""

    def __init__(self, path: str):
        self.path = path
        self._descriptor = _open_file(path)
        weakref.finalize(self, os.close, self._descriptor)
        self.header = _read_header(path, self._descriptor)
        self._image = _find_image_column(path, self.header)
        _check_labels(path, self.header)
        self.labels, self.names, places = _read_index(path, self.header)
        self._starts, self._ends, *raw = places
        length = os.fstat(self._descriptor).st_size
        for starts, ends in ((self._starts, self._ends), raw):
            if len(self.labels) and (
                starts.min() < self.header.length or (ends - starts).min() < _LENGTH.size or ends.max() > length
            ):
                raise UserError(
                    f"{_name(path)}: its index names places that it does not have: it is cut off, or the index is "
                    "another's; copy both anew"
                )
        if not self._has_what_its_index_says(*raw):
            raise UserError(
                f"{_name(path)}: its index has other labels or names than its rows: it is another's, or damaged; copy "
                "both anew"
            )

    def find_image(self, row: int) -> tuple[int, int]:
        """Where the image of a row starts in the file, and how many bytes it has."""
        start, end = int(self._starts[row]), int(self._ends[row])
        (size,) = _LENGTH.unpack(self.read_at(start, _LENGTH.size))
        start += _LENGTH.size
        if size != end - start:
            raise _other_length()
        if len(self.header.bytes_columns) == 1:
            return start, size
        for column in range(self._image + 1):
            (size,) = _COLUMN_LENGTH.unpack(self.read_at(start, _COLUMN_LENGTH.size))
            start += _COLUMN_LENGTH.size
            if size > end - start:
                raise _other_length()
            if column < self._image:
                start += size
        return start, size

    def _has_what_its_index_says(self, starts: np.ndarray, ends: np.ndarray) -> bool:
        """Whether each row has the index's label and name: they stand in it as MessagePack, on pages without images."""
        marks = {label: b"\xa5label" + _pack_number(label) for label in np.unique(self.labels).tolist()}
        window, first = b"", 0
        for start, end, label, name in zip(
            starts.tolist(), ends.tolist(), self.labels.tolist(), self.names, strict=True
        ):
            if not first <= start <= end <= first + len(window):
                window, first = read_at(self._descriptor, start, max(_WINDOW, end - start)), start
            row = window[start - first : end - first]
            if marks[label] not in row or name.encode("utf-8", "surrogateescape") not in row:
                return False
        return True

    def read_at(self, start: int, count: int) -> bytes:
        data = read_at(self._descriptor, start, count)
        if len(data) < count:
            raise damage("the MindRecord ends within it: it is cut off")
        return data


_opened: weakref.WeakValueDictionary[tuple, MindRecord] = weakref.WeakValueDictionary()


def _open(paths: tuple[str, ...]) -> MindRecord:
    """A MindRecord; the same for all copies of it, as long as one of them is in use and no file of it changes."""
    states = [os.stat(f"{path}{end}") for path in paths for end in ("", _INDEX) if find_kind(Path(f"{path}{end}"))]
    key = (paths, *((state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns) for state in states))
    record = _opened.get(key)
    if record is None:
        record = _opened[key] = MindRecord(paths)
    return record


def _find_parts(path: Path) -> tuple[str, ...]:
    """The paths of all parts of a MindRecord, of which `path` is one."""
    descriptor = _open_file(str(path))
    try:
        count = _read_header(str(path), descriptor).num_parts
    finally:
        os.close(descriptor)
    if count == 1:
        return (str(path),)
    width = len(str(count - 1))  # as FileWriter writes the numbers
    stem = re.sub(rf"\d{{{width}}}$", "", path.name)
    parts = [path.with_name(f"{stem}{number:0{width}}") for number in range(count)]
    missing = [part.name for part in parts if find_kind(part) != "file"]
    if missing:
        raise UserError(
            f"{_name(path)}: it is one of {count} parts, and not beside it is {list_some(missing)}; copy what is "
            "missing there, under the names that it was written with"
        )
    return tuple(map(str, parts))


def _open_file(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise UserError(f"{_name(path)}: {error.strerror}; make it readable, or move it away") from None


def _read_header(path: str, descriptor: int) -> _Header:
    """Raises UserError for a file that does not begin with one."""
    try:
        (length,) = _LENGTH.unpack(read_at(descriptor, 0, _LENGTH.size))
        if length > _LONGEST_HEADER:
            raise ValueError
        content: dict[str, Any] = json.loads(read_at(descriptor, _LENGTH.size, length))
        pages = [page for page in content["page"] or [] if page["page_type"] == "BLOB_DATA"]
        (schema,) = content["schema"]
        header = _Header(
            number=int(content["shard_id"]),
            num_parts=len(content["shard_addresses"]),
            num_rows=max((int(page["end_row_id"]) for page in pages), default=0),
            length=int(content["header_size"]),
            page_size=int(content["page_size"]),
            columns={
                name: "array" if "shape" in column else str(column["type"]) for name, column in schema["schema"].items()
            },
            bytes_columns=tuple(map(str, schema["blob_fields"])),
        )
        if min(header.num_parts, header.length, header.page_size) < 1:
            raise ValueError
        return header
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise UserError(
            f"{_name(path)}: it does not begin as a MindRecord file does: it is damaged, or encrypted; write it anew "
            "without encryption"
        ) from None


def _find_image_column(path: str, header: _Header) -> int:
    """The place of the images among the columns of bytes."""
    candidates = [name for name in header.bytes_columns if header.columns.get(name) == "bytes"]
    named = [name for name in _IMAGES if name in candidates]
    if not named and len(candidates) != 1:
        raise UserError(
            f"{_name(path)}: its columns of bytes ({list_some(candidates) or 'none'}) do not tell which one holds the "
            f"images; write it anew, and call that {_IMAGES[0]}"
        )
    return header.bytes_columns.index((named or candidates)[0])


def _check_labels(path: str, header: _Header) -> None:
    kind = header.columns.get(_LABEL)
    if kind not in ("int32", "int64"):
        raise UserError(
            f"{_name(path)}: its column {_LABEL} is {f'of type {kind}' if kind else 'missing'}; write it anew with a "
            f"whole number in {_LABEL}, of type int32 or int64"
        )


def _read_index(path: str, header: _Header) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Of each row the label, the earlier name or "", and where it starts and ends: bytes, and the rest, (4, rows)."""
    index = Path(f"{path}{_INDEX}")
    if find_kind(index) != "file":
        raise UserError(f"{_name(path)}: its index {index.name} is not beside it; copy it there")
    os.close(_open_file(str(index)))  # SQLite would not say why it cannot
    try:
        place = quote(b"/" + os.fsencode(index.absolute()).lstrip(b"/"))
        with closing(sqlite3.connect(f"file://{place}?mode=ro&immutable=1", uri=True)) as database:
            database.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
            indexed = {name for _, name, *_ in database.execute("PRAGMA table_info(INDEXES)")}
            has_labels = f"{_LABEL}_0" in indexed
            name = f'"{_FILE_NAME}_0"' if f"{_FILE_NAME}_0" in indexed else "''"
            query = (
                f'SELECT "{_LABEL}_0", {name}, PAGE_ID_BLOB, PAGE_OFFSET_BLOB, PAGE_OFFSET_BLOB_END, PAGE_ID_RAW, '
                "PAGE_OFFSET_RAW, PAGE_OFFSET_RAW_END FROM INDEXES ORDER BY ROW_ID"
            )
            rows = list(database.execute(query)) if has_labels or not indexed else []
        labels, names, *places = zip(*rows, strict=True) if rows else ((),) * 8
        page, start, end, raw_page, raw_start, raw_end = (np.array(column, np.int64) for column in places)
        first, raw_first = (header.length + number * header.page_size for number in (page, raw_page))
        table = (
            np.array(labels, np.int64),
            list(map(str, names)),
            np.stack([first + start, first + end, raw_first + raw_start, raw_first + raw_end]),
        )
    except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:
        raise UserError(f"{_name(path)}: its index {index.name} is damaged ({error}); copy it anew") from None
    if not has_labels:
        raise UserError(
            f"{_name(path)}: its index has no {_LABEL}; write it anew after FileWriter.add_index([{_LABEL!r}])"
        )
    if len(rows) != header.num_rows:
        raise UserError(
            f"{_name(path)}: it has {header.num_rows} rows, and its index {index.name} has {len(rows)}; copy both anew"
        )
    return table


def _pack_number(number: int) -> bytes:
    """A whole number in MessagePack, as MindSpore writes it: in as few bytes as it takes; below 0 none that is read."""
    for mark, kind, largest in (
        (b"", ">B", 0x7F),
        (b"\xcc", ">B", 0xFF),
        (b"\xcd", ">H", 0xFFFF),
        (b"\xce", ">I", 2**32 - 1),
    ):
        if 0 <= number <= largest:
            return mark + struct.pack(kind, number)
    return b""


def _other_length() -> OSError:
    return damage("its length in the MindRecord is another: the file is damaged")


def _name_classes(names: Sequence[str], positions: np.ndarray, num_classes: int) -> tuple[str, ...] | None:
    """The folder that the images of each class lay in; None where folders and classes are not one for one."""
    folders = [""] * num_classes
    for name, position in zip(names, positions.tolist(), strict=True):
        folder = _split(name)[0]
        if not folder or folders[position] not in ("", folder):
            return None
        folders[position] = folder
    differ = len({unicodedata.normalize("NFC", folder) for folder in folders}) == num_classes
    return tuple(folders) if differ and all(map(is_text, folders)) else None


def _split(name: str) -> tuple[str, str]:
    """The folder that a file lay in, "" for none with a name, and what it was called there."""
    folder, _, last = name.replace("\\", "/").rpartition("/")
    folder = folder.rpartition("/")[2]
    return "" if folder in (".", "..") else folder, last


def _name(path: str | Path) -> str:
    return f"MindRecord {show_path(str(path))}"
