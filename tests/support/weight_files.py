"""Weight files of halonet_test, of every kind, for tests and drills."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mindspore import Tensor
from mindspore.nn.utils import no_init_parameters
from safetensors.numpy import save_file

from mindcv_halo import create_model
from mindcv_halo.models.weights import save_network, to_timm

NUM_CLASSES = 5

# Ours -> Keras's layer.
_KERAS_LAYERS = (
    (r"stem\.conv1\.conv", "stem_conv"),
    (r"stem\.conv1\.norm", "stem_bn"),
    (r"(stages\.\d\.\d)\.reduce\.conv", r"\1_deep_1_conv"),
    (r"(stages\.\d\.\d)\.reduce\.norm", r"\1_deep_1_bn"),
    (r"(stages\.\d\.\d)\.mix\.conv\.conv", r"\1_deep_2_conv"),
    (r"(stages\.\d\.\d)\.mix\.conv\.norm", r"\1_deep_2_bn"),
    (r"(stages\.\d\.\d)\.mix\.norm", r"\1_deep_2_bn"),
    (r"(stages\.\d\.\d)\.mix\.attention\.q", r"\1_deep_2_haloquery_conv"),
    (r"(stages\.\d\.\d)\.mix\.attention\.kv", r"\1_deep_2_halokey_value_conv"),
    (r"(stages\.\d\.\d)\.mix\.attention\.pos_embed", r"\1_deep_2_halopos_emb"),
    (r"(stages\.\d\.\d)\.expand\.conv", r"\1_deep_3_conv"),
    (r"(stages\.\d\.\d)\.expand\.norm", r"\1_3_bn"),
    (r"(stages\.\d\.\d)\.shortcut\.conv", r"\1_shortcut_conv"),
    (r"(stages\.\d\.\d)\.shortcut\.norm", r"\1_shortcut_bn"),
    (r"classifier", "predictions"),
)
_KERAS_LEAVES = {"weight": "kernel", "height_rel": "r_height", "width_rel": "r_width"}
_TO_KERAS = {2: (1, 0), 4: (2, 3, 1, 0)}  # from torch's layout


def make_network(**options: Any):
    """halonet_test with random numbers for all parameters, those that start at zero or one too."""
    with no_init_parameters():
        network = create_model("halonet_test", num_classes=NUM_CLASSES, **options)
    random = np.random.default_rng(0)
    for parameter in network.get_parameters():
        spread = 0.1 * random.standard_normal(parameter.shape).astype(np.float32)
        parameter.set_data(Tensor(np.abs(spread) + 0.5 if "variance" in parameter.name else spread))
    return network


def arrays_of(network) -> dict[str, np.ndarray]:
    return {name: parameter.asnumpy().copy() for name, parameter in network.parameters_dict().items()}


def as_keras(ours: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Entries of a Keras .h5, by their paths in it."""
    theirs = {}
    for name, value in ours.items():
        module, _, leaf = name.rpartition(".")
        layer = next(re.sub(old, new, module) for old, new in _KERAS_LAYERS if re.fullmatch(old, module))
        layer = re.sub(r"stages\.(\d)\.(\d)", lambda match: f"stack{int(match[1]) + 1}_block{int(match[2]) + 1}", layer)
        if leaf in ("height_rel", "width_rel"):
            value = value.T
        elif leaf == "weight":
            value = value.transpose(_TO_KERAS[value.ndim])
        theirs[f"{layer}/{layer}/{_KERAS_LEAVES.get(leaf, leaf)}:0"] = value
    return theirs


def write_keras(path: Path, ours: Mapping[str, np.ndarray]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, value in as_keras(ours).items():
            file.create_dataset(f"model_weights/{name}", data=value)


def write_torch(path: Path, ours: Mapping[str, np.ndarray], *, legacy: bool = False) -> None:
    import torch

    state = {name: torch.from_numpy(np.array(value)) for name, value in to_timm(ours).items()}
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)


def write_all(folder: Path, *, torch: bool, h5py: bool) -> dict[str, Path]:
    """One good file of each kind."""
    network = make_network()
    ours = arrays_of(network)
    files = {name: folder / name for name in ("own.ckpt", "plain.ckpt", "own.safetensors", "timm.safetensors")}
    save_network(network, files["own.ckpt"])
    files["plain.ckpt"].write_bytes(encode_ckpt(ours))  # without a checksum
    save_network(network, files["own.safetensors"])
    save_file(to_timm(ours), files["timm.safetensors"], {"format": "pt"})  # as timm does, without a checksum
    if torch:
        files |= {name: folder / name for name in ("timm.pth", "legacy.pth")}
        write_torch(files["timm.pth"], ours)
        write_torch(files["legacy.pth"], ours, legacy=True)
    if h5py:
        files["keras.h5"] = folder / "keras.h5"
        write_keras(files["keras.h5"], ours)
    return files


def varint(number: int) -> bytes:
    out = bytearray()
    while True:
        number, low = number >> 7, number & 127
        out.append(low | (128 if number else 0))
        if not number:
            return bytes(out)


def field(number: int, content: bytes | int) -> bytes:
    """A field of a protobuf message."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def encode_entry(name: str | bytes, dims: list[int], kind: str, content: bytes) -> bytes:
    """An entry of a .ckpt, true or not."""
    tensor = b"".join(field(1, side) for side in dims) + field(2, kind.encode()) + field(3, content)
    return field(1, field(1, name if isinstance(name, bytes) else name.encode()) + field(2, tensor))


def encode_ckpt(arrays: Mapping[str, np.ndarray]) -> bytes:
    kinds = {"float32": "Float32", "float16": "Float16", "float64": "Float64", "int32": "Int32", "bool": "Bool"}
    return b"".join(
        encode_entry(name, list(value.shape), kinds[value.dtype.name], value.tobytes())
        for name, value in arrays.items()
    )


def encode_safetensors(header: Any, body: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with any header; `length` is what it claims the header's length to be."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body
