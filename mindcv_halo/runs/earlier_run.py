"""What an earlier run left in a folder makes room for a new one, and is kept."""

from __future__ import annotations

import os
import re
from itertools import count
from pathlib import Path

# What says that a run was here, of whatever version, and everything that it writes into its folder.
_MARKS = re.compile(r"metrics\.csv|rank0\.log|.+_state-\d+_\d+\.safetensors")
_RUN_FILES = re.compile(
    r"recipe\.yaml|metrics\.csv|curves\.png|class_names\.txt|rank\d+\.log|summary"
    r"|.+_state-\d+_\d+\.safetensors|.+-\d+_\d+\.ckpt|.+_(last|best)\.ckpt|optim_.+\.ckpt"
)


def set_aside(folder: Path) -> Path | None:
    """Move an earlier run's files into a new folder `earlier-N` beside them; None where there was none.

    Files of other names stay. Raises OSError where they cannot be moved.
    """
    found = sorted(path for path in folder.iterdir() if _RUN_FILES.fullmatch(path.name)) if folder.is_dir() else []
    if not any(_MARKS.fullmatch(path.name) for path in found):
        return None
    target = next(path for number in count(1) if not (path := folder / f"earlier-{number}").exists())
    target.mkdir()
    for path in found:
        os.replace(path, target / path.name)
    return target
