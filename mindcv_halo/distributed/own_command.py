"""The command that started this process, as its user would type it again."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

_ENTRY_POINT = "mindcv-halo"


_TRAINING = (f"{_ENTRY_POINT} train", "python -m mindcv_halo.cli train")


def name_training_command(words: Sequence[str]) -> str:
    """How the user of this process, whose sys.orig_argv are `words`, starts a training run."""
    command = f"{describe_command(words) or ''} "
    return next((start for start in _TRAINING if command.startswith(f"{start} ")), "python train.py")


def describe_command(words: Sequence[str]) -> str | None:
    """The command of `words`, which are sys.orig_argv; None for one that is no file and no module, such as `-c`.

    An installed script is started by its name, everything else by `python`.
    """
    rest = list(words[1:])
    flags = []
    while rest and rest[0].startswith("-") and rest[0] not in ("-c", "-m", "-"):
        count = 2 if rest[0] in ("-W", "-X") else 1
        flags, rest = flags + rest[:count], rest[count:]
    if not rest or rest[0] in ("-c", "-"):
        return None
    if os.path.basename(rest[0]) in (_ENTRY_POINT, f"{_ENTRY_POINT}-script.py", f"{_ENTRY_POINT}.exe"):
        return shlex.join([_ENTRY_POINT, *rest[1:]])
    return shlex.join(["python", *flags, *rest])
