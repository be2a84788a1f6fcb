"""The .safetensors of timm, of the Hugging Face hub, and our own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ....files.safetensors_file import require_safetensors
from .contents import CHECKSUM, MOST_ENTRIES, Contents, Format, bfloat16_to_float32, checksum, damaged

_LARGEST_HEADER = 10 << 20  # bytes


def read_safetensors(path: Path) -> Contents:
    """Raises UserError for a file that is damaged or no safetensors file."""
    require_safetensors(f"checkpoint {path}: reading it")
    from safetensors import SafetensorError, deserialize, safe_open

    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
    if header_size > _LARGEST_HEADER:
        raise damaged(path, f"its header claims {header_size} bytes")
    arrays = {}
    try:
        with safe_open(path, "numpy") as file:
            names = file.keys()
            if len(names) > MOST_ENTRIES:
                raise ValueError(f"it has {len(names)} entries")
            halves = [name for name in names if file.get_slice(name).get_dtype() == "BF16"]  # numpy has no such type
            for name in names:
                if name not in halves:
                    arrays[name] = file.get_tensor(name)
            notes = dict(file.metadata() or {})
        if halves:
            entries = dict(deserialize(path.read_bytes()))
            for name in halves:
                bits = np.frombuffer(entries[name]["data"], np.uint16).reshape(entries[name]["shape"])
                arrays[name] = bfloat16_to_float32(bits)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        # AttributeError: a type that numpy lacks
        raise damaged(path, error) from error
    if CHECKSUM in notes and not halves and notes[CHECKSUM] != checksum(arrays):
        raise damaged(path, "its checksum is wrong")
    return Contents(arrays, notes)


SAFETENSORS = Format(
    (".safetensors",),
    read_safetensors,
    lambda beginning, size: beginning[8:] == b"{" and int.from_bytes(beginning[:8], "little") < size,
)
