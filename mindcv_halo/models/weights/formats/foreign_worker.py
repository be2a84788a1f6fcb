"""Reads a file of torch or Keras in a process of its own, and writes what is in it as .safetensors.

Run as `python foreign_worker.py (torch | keras) IN OUT`, never imported: it stands alone, because it must not take the
rest of the library along. The process has little memory and time to do harm with: torch's loader and HDF5 are large
programs, and a file that is made for it can let them take all memory, run for ever, or crash. Its exit status is 0, or
DAMAGED, UNREADABLE or REFUSED after a line that says why.
"""

from __future__ import annotations

import os
import re
import resource
import sys
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

DAMAGED, UNREADABLE, REFUSED = 3, 4, 5

MOST_ENTRIES = 20_000
_MEMORY = 512 << 20  # bytes, besides three times the file's size,
_SECONDS = 20  # and seconds, besides one for each
_BYTES_PER_SECOND = 50_000_000

# The weights-only loader of earlier versions could be made to run code (CVE-2025-32434).
_OLDEST_TORCH = (2, 6)
# Where a training checkpoint keeps them,
_WEIGHTS = ("state_dict", "model", "model_state_dict", "model_state", "network", "net", "weights", "params")
_AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema", "params_ema")  # and means

# What a training checkpoint holds beside weights: what was set, where, and how far it came. Each of these becomes an
# object that keeps nothing, so that no code of theirs runs either.
_HARMLESS = {
    "argparse": ("Namespace",),  # timm's `args`
    "types": ("SimpleNamespace",),
    "datetime": ("date", "datetime", "timedelta"),
    **dict.fromkeys(
        ("pathlib", "pathlib._local"),
        ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"),
    ),
    "numpy": ("dtype", "ndarray"),
    **dict.fromkeys(("numpy.core.multiarray", "numpy._core.multiarray"), ("scalar", "_reconstruct")),
}
_SAVE_ALONE = "in the program that wrote it save the weights alone, with torch.save(model.state_dict(), 'NEW.pth')"
_PROGRAM = (
    "it is a program of TorchScript, which could run code; save its weights alone, with "
    "torch.save(torch.jit.load(FILE).state_dict(), 'NEW.pth')"
)
_FRAME = 149  # an operation of pickles from protocol 4 on; torch writes protocol 2

# Keras calls an entry LAYER/LAYER/kernel:0; its torch backend, which writes .h5 files too, LAYER/LAYER/weight. Both
# keep channels last: kernels are (height, width, in, out), dense weights (in, out). Here they get the names and layouts
# of the torch backend's state dict.
_LEAVES = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "r_height": "pos_emb_h",
    "r_width": "pos_emb_w",
}
_LAYOUTS = {2: (1, 0), 3: (2, 1, 0), 4: (3, 2, 0, 1)}  # of a weight, by its dimensions
_WHOLE_MODEL = "model_weights"  # the group that a file with the model's architecture has them in
_DEEPEST = 4  # groups within groups
_MOST_COMPRESSION = 4  # real weights are noise


class UnreadableError(Exception):
    """What the file is not to blame for."""


class RefusedError(Exception):
    """What a file that may be whole holds, and is not taken."""


class Inert:
    """An object of a harmless class: whatever it is made from is forgotten."""

    def __new__(cls, *_: Any, **__: Any) -> Inert:
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def main(kind: str, source: str, target: str) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    import_module, read = {"torch": (import_torch, read_torch), "keras": (import_h5py, read_keras)}[kind]
    module = import_module()
    file_size = os.path.getsize(source)
    limit_process(file_size)
    arrays = read(module, source)
    if sum(value.nbytes for value in arrays.values()) > _MOST_COMPRESSION * file_size:
        raise ValueError("its entries have more numbers than the file")
    save_file({name: np.asarray(value, order="C") for name, value in arrays.items()}, target)


def limit_process(file_size: int) -> None:
    """From here on, no more than a file of this size takes."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    memory = used + _MEMORY + 3 * file_size
    spent = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    seconds = int(spent + _SECONDS + file_size / _BYTES_PER_SECOND)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


# ---- torch: .pth, .pt, .bin and .tar, which are pickles. torch's weights-only loader reads them, and nothing else.


def import_torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise UnreadableError(f"needs torch ({error}); pip install mindcv_halo[convert], or get .safetensors") from None
    version = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if version < _OLDEST_TORCH:
        oldest = ".".join(map(str, _OLDEST_TORCH))
        raise UnreadableError(
            f"needs torch {oldest} or later, as torch {torch.__version__} can be made to run code that is in such a "
            f"file; pip install 'torch>={oldest}'"
        )
    torch.set_num_threads(1)
    return torch


def read_torch(torch: Any, path: str) -> dict[str, Any]:
    """The tensors of a state dict, or of a training checkpoint that has one; averages are called `ema.*`."""
    if zipfile.is_zipfile(path):
        _check_archive(path)
    torch.serialization.add_safe_globals(
        [type(name, (Inert,), {"__module__": module}) for module, names in _HARMLESS.items() for name in names]
    )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what it raises for hostile bytes is anything
        _check_kind(str(error))
        raise ValueError(_explain(error)) from error
    if not isinstance(content, Mapping):
        raise RefusedError(f"it holds a {type(content).__name__}, not a state dict: {_SAVE_ALONE}")
    weights = next((content[key] for key in _WEIGHTS if isinstance(content.get(key), Mapping)), content)
    averages = next((content[key] for key in _AVERAGES if isinstance(content.get(key), Mapping)), {})
    return _tensors(torch, weights, "") | _tensors(torch, averages, "ema.")


def _check_kind(text: str) -> None:
    """Raises RefusedError where what the loader says is no sign of damage."""
    refused = re.search(r"GLOBAL (\S+)", text)
    if refused:
        raise RefusedError(
            f"it holds an object of {refused[1]}, which could run code, and torch's weights-only loader refuses it: "
            f"{_SAVE_ALONE}"
        )
    if "TorchScript" in text:
        raise RefusedError(_PROGRAM)
    if f"Unsupported operand {_FRAME}" in text:
        raise RefusedError(f"it is a pickle that torch did not write, which could run code: {_SAVE_ALONE}")
    if "legacy .tar format" in text:
        raise RefusedError(f"it has the format of torch before 0.1.10, which could run code: {_SAVE_ALONE}")


def _explain(error: Exception) -> str:
    """What the loader says, without its advice to load the file in spite of that."""
    refused = re.search(r"Unsupported (?:class|operand|type)[^\n]*?(?= was not|\n|$)", str(error))
    text = refused.group() if refused else str(error).partition("Weights only load failed")[0].partition("\n")[0]
    return f"torch's weights-only loader refuses it: {text.strip() or type(error).__name__}"


def _check_archive(path: str) -> None:
    """torch stores its records as they are, one after the other. Anything else may unpack to any size."""
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
    if any(record.filename.endswith("/constants.pkl") for record in records):
        raise RefusedError(_PROGRAM)
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise ValueError("its records are compressed, which those of torch's weights never are")
    if sum(record.file_size for record in records) > os.path.getsize(path):
        raise ValueError("its records overlap")
    if len({record.filename for record in records}) < len(records):
        raise ValueError("two of its records have the same name")


def _tensors(torch: Any, state: Mapping[Any, Any], prefix: str) -> dict[str, Any]:
    """The tensors of a state dict as arrays; whatever else is in it is left out."""
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    if len(tensors) > MOST_ENTRIES:
        raise ValueError(f"it has {len(tensors)} entries")
    arrays = {}
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            raise ValueError(f"{name!r} is no name of a tensor")
        if tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise ValueError(f"{name!r} is no plain tensor")
        # A view with a stride of 0 has any size that it likes.
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f"{name!r} says it is {tuple(tensor.shape)}, but has fewer numbers")
        tensor = tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
        try:
            arrays[prefix + name] = tensor.numpy()
        except (TypeError, RuntimeError) as error:  # a type that numpy lacks
            raise ValueError(f"{name!r} is of type {tensor.dtype}") from error
    return arrays


# ---- Keras: the .h5 of keras_cv_attention_models


def import_h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise UnreadableError(f"needs h5py ({error}); pip install mindcv_halo[convert]") from None
    return h5py


def read_keras(h5py: Any, path: str) -> dict[str, Any]:
    """The arrays of a Keras .h5 under the names, and in the layouts, of the torch backend."""
    arrays = {}
    with h5py.File(path, "r") as file:
        root = file[_WHOLE_MODEL] if isinstance(file.get(_WHOLE_MODEL, getlink=True), h5py.HardLink) else file
        for names, dataset in _datasets(h5py, root, set()):
            leaf = names[-1].partition(":")[0]
            name = f"{names[0]}.{_LEAVES.get(leaf, leaf)}"
            if name in arrays:
                raise ValueError(f"{name!r} is in it twice")
            _check_dataset(name, dataset)
            value = dataset[()]
            is_weight = name.endswith(".weight") and value.ndim in _LAYOUTS
            arrays[name] = value.transpose(_LAYOUTS[value.ndim]) if is_weight else value
    return arrays


def _datasets(h5py: Any, group: Any, seen: set[int], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple, Any]]:
    """The arrays below a group, with the names that lead to them; `seen` is what was met before.

    Links are not followed: they can leave the file, or run in circles.
    """
    if len(above) > _DEEPEST:
        raise ValueError("its groups are nested too deeply")
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name!r} is a link")
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen or len(seen) > MOST_ENTRIES:
            raise ValueError(f"{name!r} is in it twice, or it has too many entries")
        seen.add(address)
        if isinstance(item, h5py.Group):
            yield from _datasets(h5py, item, seen, (*above, name))
        elif isinstance(item, h5py.Dataset):
            yield (*above, name), item


def _check_dataset(name: str, dataset: Any) -> None:
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{name!r} lies in another file")
    if dataset.dtype.kind not in "fiub":
        raise ValueError(f"{name!r} is of type {dataset.dtype}")
    if dataset.size and dataset.nbytes > _MOST_COMPRESSION * dataset.id.get_storage_size():
        raise ValueError(f"{name!r} says it is {dataset.shape}, but has fewer numbers")


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this file, whose names are no modules here
    warnings.simplefilter("ignore")
    try:
        main(*sys.argv[1:])
    except UnreadableError as error:
        print(error)
        sys.exit(UNREADABLE)
    except RefusedError as error:
        print(error)
        sys.exit(REFUSED)
    except MemoryError:
        print("it asks for more memory than a file of its size needs")
        sys.exit(DAMAGED)
    except Exception as error:  # what h5py raises for hostile bytes is anything
        print(str(error) or type(error).__name__)
        sys.exit(DAMAGED)
