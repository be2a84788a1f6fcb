"""MindRecord files as MindSpore writes them, small ones."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from mindspore.mindrecord import FileWriter

COLUMNS = {"image": {"type": "bytes"}, "label": {"type": "int32"}, "file_name": {"type": "string"}}


def write_record(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    num_parts: int = 1,
    columns: Mapping[str, Mapping[str, Any]] = COLUMNS,
    index: Sequence[str] = ("label", "file_name"),
) -> Path:
    """The file, or files, at `path`, whose index has the columns `index`; `path`, or that of the first part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = FileWriter(str(path), num_parts, overwrite=True)
    writer.set_header_size(1 << 14)  # by default an empty file has 50 MB
    writer.set_page_size(1 << 15)
    writer.add_schema({name: dict(kind) for name, kind in columns.items()}, "images")
    if index:
        writer.add_index(list(index))
    writer.write_raw_data([dict(row) for row in rows])
    writer.commit()
    return path if num_parts == 1 else path.with_name(f"{path.name}0")


def read_folder(split: Path) -> list[dict[str, Any]]:
    """The rows that ImageNetToMR makes of split/class/file, of which the last comes first."""
    names = sorted(folder.name for folder in split.iterdir())
    files = sorted(split.glob("*/*"), reverse=True)
    return [
        {"image": file.read_bytes(), "label": names.index(file.parent.name), "file_name": str(file)} for file in files
    ]


def change_header(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Write a header as `change` makes it in place."""
    content = bytearray(path.read_bytes())
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    struct.pack_into("<Q", content, 0, len(text))
    content[8 : 8 + len(text)] = text
    path.write_bytes(content)


def change_index(path: Path, statement: str) -> None:
    """Do to the index of a file what a statement of SQL says."""
    with closing(sqlite3.connect(f"{path}.db")) as database, database:
        database.execute(statement)
