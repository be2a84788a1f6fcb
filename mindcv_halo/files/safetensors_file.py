"""Arrays and texts in a .safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import UserError
from .whole_file import replacing


def require_safetensors(purpose: str) -> None:
    """Raise UserError, which says that `purpose` needs it, if safetensors is missing, which MindSpore brings."""
    try:
        import safetensors  # noqa: F401
    except ImportError as error:
        raise UserError(f"{purpose} needs safetensors; pip install mindcv_halo[files]") from error


def write_safetensors(arrays: Mapping[str, np.ndarray], path: Path, notes: Mapping[str, str]) -> None:
    """Replace `path` by a file of these arrays and notes. Raises OSError where it cannot be written."""
    require_safetensors(f"writing {path}")
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    with replacing(path) as unfinished:
        try:
            save_file({name: np.asarray(value, order="C") for name, value in arrays.items()}, unfinished, dict(notes))
        except SafetensorError as error:
            raise OSError(str(error)) from error
        unfinished.chmod(0o644)  # safetensors lets only the owner read it
