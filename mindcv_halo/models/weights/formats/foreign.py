"""The files of torch (.pth, .pt, .bin, .tar) and Keras (.h5), read by another process: see foreign_worker.py."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from ....errors import UserError
from ....files.safetensors_file import require_safetensors
from .contents import Contents, Format, damaged, readable
from .safetensors import read_safetensors

_WORKER = Path(__file__).with_name("foreign_worker.py")
_DAMAGED, _UNREADABLE, _REFUSED = 3, 4, 5  # its exit statuses
_LONGEST = 400  # characters of what it says
_ZIP = b"PK\x03\x04"
_PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
_SECONDS = 600  # the worker limits its own time; this is for one that hangs


def read_torch(path: Path) -> Contents:
    """A state dict. Raises UserError for a file that is damaged or holds more than weights, and where torch lacks."""
    return _read(path, "torch", TORCH.suffixes)


def read_keras(path: Path) -> Contents:
    """Weights under the names of Keras's torch backend. Raises UserError for a damaged file, and where h5py lacks."""
    return _read(path, "keras", KERAS.suffixes)


def _read(path: Path, kind: str, suffixes: tuple[str, ...]) -> Contents:
    require_safetensors(f"checkpoint {path}: reading it")  # in which the process answers
    with tempfile.TemporaryDirectory(prefix="mindcv_halo-") as scratch:
        target = Path(scratch) / "weights.safetensors"
        command = [sys.executable, str(_WORKER), kind, str(path.resolve()), str(target)]
        try:
            worker = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, cwd=scratch, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise damaged(path, "it takes too long") from error
        if worker.returncode == 0:
            return Contents(read_safetensors(target).arrays)
        said = " ".join(worker.stdout.decode(errors="replace").split())
        if worker.returncode == _UNREADABLE:
            files = f"{path.suffix} files" if path.suffix.lower() in suffixes else f"files of {kind}"
            raise UserError(f"checkpoint {path}: reading {files} {readable(said, _LONGEST)}")
        if worker.returncode == _REFUSED:
            raise UserError(f"checkpoint {path}: {readable(said, _LONGEST)}")
        if worker.returncode == _DAMAGED:
            raise damaged(path, said)
        if worker.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            raise damaged(path, "it takes too long, or too much memory")
        raise damaged(path, f"its reader crashed ({worker.returncode})")


TORCH = Format(  # timm's are .pth.tar, Lightning's .ckpt
    (".pth", ".pt", ".bin", ".tar"), read_torch, lambda beginning, _: beginning.startswith((_ZIP, *_PICKLES))
)
KERAS = Format((".h5",), read_keras, lambda beginning, _: beginning.startswith(b"\x89HDF\r\n\x1a\n"))
