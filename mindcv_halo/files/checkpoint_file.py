"""A checkpoint as MindSpore writes it, but whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import mindspore
from mindspore import Parameter

from .whole_file import replacing


def write_checkpoint(parameters: Iterable[Parameter], path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Replace `path` by a file of the parameters, with `notes`, texts, beside them.

    MindSpore's own save_checkpoint removes the old file before it writes the new. Raises OSError.
    """
    entries = [{"name": parameter.name, "data": parameter} for parameter in parameters]
    with replacing(path) as unfinished:
        mindspore.save_checkpoint(entries, str(unfinished), append_dict=dict(notes or {}), crc_check=True)
        unfinished.chmod(0o644)  # MindSpore makes it read-only, so that nobody could overwrite it
