"""Compiles the kernels in src/ with the machine's own C++ compiler, once for each machine and version.

The result lies in the cache folder (MINDCV_HALO_HOME, or ~/.cache/mindcv_halo) under native/, in a folder named after
everything that decides on it: sources, compiler, processor, flags and oneDNN. Beside it lies a copy of MindSpore's
oneDNN, because one that is loaded from another file has settings of its own: the kernels may use AVX-512 while
MindSpore's convolutions keep to AVX2 (see runtime.py).
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from ..errors import UserError
from ..files.path import find_cache_folder
from ..runtime import count_devices, name_compilers

SOURCES = Path(__file__).parent / "src"
LIBRARY = "kernels.so"
ONEDNN = "onednn.so"
_FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-pthread")
_WIDE = "-mprefer-vector-width=512"  # some compilers prefer 256 bits where the processor has 512


class NativeUnavailableError(UserError):
    """The kernels cannot be had here; the portable path can."""


@cache
def build_kernels() -> Path:
    """The folder that holds LIBRARY and ONEDNN, compiled if need be. Raises NativeUnavailableError."""
    compiler = _find_compiler()
    onednn = _find_onednn()
    flags = (*_FLAGS, _WIDE) if platform.machine() == "x86_64" else _FLAGS
    folder = find_cache_folder() / "native" / _fingerprint(compiler, onednn, flags)
    if not _is_whole(folder):
        print(f"compiling native kernels, once for this machine, into {folder}", file=sys.stderr)
        _fill(folder, [compiler, *flags], onednn)
    return folder


def _is_whole(folder: Path) -> bool:
    return (folder / LIBRARY).is_file() and (folder / ONEDNN).is_file()


def _find_compiler() -> str:
    names = name_compilers()
    for name in names:
        if path := shutil.which(name):
            return path
    raise NativeUnavailableError(
        f"native kernels: no C++ compiler ({', '.join(names)}) on this machine; install one, or run without "
        "--native_kernels"
    )


def _find_onednn() -> Path:
    """MindSpore's oneDNN, version 3, found without loading MindSpore."""
    library = Path(find_spec("mindspore").origin).parent / "lib" / "libdnnl.so.3"
    if not library.is_file():
        raise NativeUnavailableError(
            f"native kernels: they need MindSpore's oneDNN 3, and there is no {library}; MindSpore 2.10 has it; "
            "install that, or run without --native_kernels"
        )
    return library


def _fingerprint(compiler: str, onednn: Path, flags: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.name.encode() + source.read_bytes())
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False).stdout
    size = str(onednn.stat().st_size)
    for part in (version, " ".join(flags), size, _describe_processor()):
        digest.update(part if isinstance(part, bytes) else part.encode())
    return digest.hexdigest()[:16]


def _describe_processor() -> str:
    """What -march=native depends on: a home folder may be shared by different machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))


def _fill(folder: Path, compile_: list[str], onednn: Path) -> None:
    """Make everything in a temporary folder and move it to its place at once: another process may do the same."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            done = Path(temporary) / "done"
            done.mkdir()
            shutil.copyfile(onednn, done / ONEDNN)
            sources = sorted(SOURCES.glob("*.cpp"), key=lambda source: -source.stat().st_size)  # the longest first
            objects = [str(Path(temporary) / f"{source.stem}.o") for source in sources]
            commands = [
                [*compile_, "-c", str(source), "-o", made] for source, made in zip(sources, objects, strict=True)
            ]
            with ThreadPoolExecutor(count_devices("CPU")) as pool:
                list(pool.map(_run, commands))
            _run([*compile_, "-shared", *objects, "-o", str(done / LIBRARY), "-ldl"])
            try:
                done.rename(folder)
            except OSError:
                if not folder.is_dir():
                    raise
                if not _is_whole(folder):  # somebody removed a part of it
                    shutil.rmtree(folder)
                    done.rename(folder)
    except OSError as error:
        raise NativeUnavailableError(
            f"native kernels: {folder}: {error.strerror}; set MINDCV_HALO_HOME to a folder that can be written"
        ) from error


def _run(command: list[str]) -> None:
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise NativeUnavailableError(
            f"native kernels: {command[0]} failed:\n{run.stderr[-2000:]}\n"
            "set CXX to another C++17 compiler, or run without --native_kernels"
        )
