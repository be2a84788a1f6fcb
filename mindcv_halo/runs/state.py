"""The state of a run on disk: everything that makes the next step what it would have been.

One file, whole or absent, with a checksum: tensors, and in its metadata a JSON text with the position of the run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mindspore import Parameter, Tensor

from ..errors import UserError
from ..files.safetensors_file import require_safetensors, write_safetensors

KEPT = 2  # the newest, and the one before it should the newest be damaged


class DamagedStateError(Exception):
    """A state file that cannot be trusted."""


def save_state(
    parameters: Mapping[str, Parameter],
    position: Mapping[str, Any],
    folder: Path,
    model_name: str,
    epoch: int,
    step: int,
) -> Path:
    """Write the parameters and `position` to folder/{model}_state-{epoch}_{step}.safetensors; drop old ones.

    Raises OSError when it cannot be written.
    """
    arrays = {name: value.asnumpy().copy() for name, value in parameters.items()}
    text = json.dumps(position)
    path = folder / f"{model_name}_state-{epoch}_{step}.safetensors"
    write_safetensors(arrays, path, {"position": text, "sha256": _checksum(arrays, text)})
    for old in _list_states(folder, model_name)[KEPT:]:
        old.unlink()
    return path


def load_newest_state(folder: Path, model_name: str, logger: logging.Logger) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays and position of the newest state that is whole; a damaged one is named in the log.

    Raises UserError when there is none.
    """
    states = _list_states(folder, model_name)
    for path in states:
        try:
            arrays, position = load_state(path)
        except DamagedStateError as error:
            logger.warning(f"{path} is damaged ({error}); trying the one before it")
            continue
        logger.info(f"resuming from {path}")
        return arrays, position
    found = "only damaged ones" if states else "none"
    raise UserError(
        f"resume: {folder} should hold a state of {model_name} (*_state-*.safetensors), there are {found}; "
        "set resume to False to start anew"
    )


def load_state(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Raises DamagedStateError unless every byte is as it was written."""
    require_safetensors(f"reading {path}")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedStateError(str(error)) from error
    if not {"position", "sha256"} <= metadata.keys():
        raise DamagedStateError("it has no checksum")
    if _checksum(arrays, metadata["position"]) != metadata["sha256"]:
        raise DamagedStateError("its checksum is wrong")
    return arrays, json.loads(metadata["position"])


def restore(parameters: Mapping[str, Parameter], arrays: Mapping[str, np.ndarray]) -> None:
    """Give the parameters the arrays of the same names. Raises UserError when these are another network's."""
    kinds = {
        "missing in it": parameters.keys() - arrays.keys(),
        "unknown to the run": arrays.keys() - parameters.keys(),
        "of another shape": {
            f"{name}: {arrays[name].shape}, not {parameters[name].shape}"
            for name in parameters.keys() & arrays.keys()
            if arrays[name].shape != parameters[name].shape
        },
    }
    different = [f"{len(names)} entries are {kind}, such as {min(names)}" for kind, names in kinds.items() if names]
    if different:
        raise UserError(
            f"resume: the state does not fit this run: {'; '.join(different)}; use the recipe.yaml of the run, or "
            "start anew in another ckpt_save_dir, with resume False"
        )
    for name, value in arrays.items():
        parameters[name].set_data(Tensor(value))


def has_state(folder: Path, model_name: str) -> bool:
    """Whether a run of the model left a state in the folder, whole or not."""
    return bool(_list_states(folder, model_name))


def _list_states(folder: Path, model_name: str) -> list[Path]:
    """Newest first."""
    pattern = re.compile(re.escape(model_name) + r"_state-(\d+)_(\d+)\.safetensors")
    found = [(match, path) for path in folder.glob("*.safetensors") if (match := pattern.fullmatch(path.name))]
    return [path for match, path in sorted(found, key=lambda item: tuple(map(int, item[0].groups())), reverse=True)]


def _checksum(arrays: Mapping[str, np.ndarray], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        value = arrays[name]
        digest.update(f"{name} {value.dtype} {value.shape}".encode())
        digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()
