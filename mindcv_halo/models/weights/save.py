"""Weights into files of ours, which say what shapes do not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from mindspore import Parameter, Tensor, nn

from ...errors import UserError
from ...files.checkpoint_file import write_checkpoint
from ...files.safetensors_file import write_safetensors
from ..layers.random_drop import DRAWS
from ..network import HaloNet
from .formats.contents import CHECKSUM, CLASS_NAMES, checksum


def save_network(network: nn.Cell, path: str | Path, class_names: Sequence[str] | None = None) -> None:
    """Write a network's weights as .ckpt or .safetensors, with its dialect, so that create_model reads them right.

    class_names: in the order of the labels, so that validation, prediction and export know them.
    """
    arrays = {
        name: parameter.asnumpy()
        for name, parameter in network.parameters_dict().items()
        if not name.endswith(DRAWS)  # the state of a run, not a weight
    }
    write_weights(arrays, Path(path), {**describe_network(network), **describe_classes(class_names)})


def write_weights(arrays: Mapping[str, np.ndarray], path: Path, notes: Mapping[str, str]) -> None:
    """Write arrays and notes so that `path` is at any moment either the old file or the whole new one.

    Raises UserError for another suffix than .ckpt and .safetensors, and where the file cannot be written.
    """
    if path.suffix not in (".ckpt", ".safetensors"):
        raise UserError(f"{path}: weights are written as .ckpt or .safetensors; choose one of these")
    try:
        if path.suffix == ".ckpt":
            write_checkpoint([Parameter(Tensor(value), name=name) for name, value in arrays.items()], path, notes)
        else:
            write_safetensors(arrays, path, {**notes, CHECKSUM: checksum(arrays)})
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error


def describe_network(network: nn.Cell) -> dict[str, str]:
    """What a file of the network's weights has to say of them, because their shapes do not; of a HaloNet's."""
    if not isinstance(network, HaloNet):
        return {}
    halo = network.spec.halo
    return {
        "dialect": network.dialect.name,
        "block_size": str(halo.block_size),
        "halo_size": str(halo.halo_size),
        "mask_padding": str(network.mask_padding),
    }


def describe_classes(class_names: Sequence[str] | None) -> dict[str, str]:
    """What a file has to say of the classes that its classifier was trained on; nothing where nobody knows them."""
    return {} if class_names is None else {CLASS_NAMES: json.dumps(list(class_names))}
