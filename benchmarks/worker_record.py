"""For imagenet_scale.py: worker_record.py ZIP FOLDER writes the split train of a zip as a MindRecord into a new folder.

Its columns are ImageNetToMR's, and it has eight parts.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import mindcv_halo  # noqa: E402, F401  before MindSpore

# isort: split

from mindspore.mindrecord import FileWriter  # noqa: E402

PARTS = 8
ROWS = 10_000  # that are written at a time


def read_rows(archive: zipfile.ZipFile) -> Iterator[dict]:
    labels: dict[str, int] = {}
    for name in archive.namelist():
        folder = name.split("/")[1]
        yield {"image": archive.read(name), "label": labels.setdefault(folder, len(labels)), "file_name": f"/{name}"}


def main() -> None:
    source, target = sys.argv[1], Path(sys.argv[2])
    target.mkdir()
    writer = FileWriter(str(target / "train.mindrecord"), PARTS)
    writer.add_schema(
        {"image": {"type": "bytes"}, "label": {"type": "int32"}, "file_name": {"type": "string"}}, "images"
    )
    writer.add_index(["label", "file_name"])
    with zipfile.ZipFile(source) as archive:
        rows = read_rows(archive)
        while chunk := list(islice(rows, ROWS)):
            writer.write_raw_data(chunk)
    writer.commit()
    print("{}")


if __name__ == "__main__":
    main()
