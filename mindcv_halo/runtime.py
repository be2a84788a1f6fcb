"""The machine, and what MindSpore reads of it: environment, device, processors, seeds, mode, arrays.

Nothing here loads MindSpore before the environment is set.
"""

from __future__ import annotations

import ctypes
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UserError
from .files.path import find_cache_folder

if TYPE_CHECKING:
    import numpy as np
    from mindspore import Tensor

# oneDNN inside MindSpore 2.7 to 2.10 runs 3x3 convolutions of plain NCHW tensors with a reference kernel when it may
# use AVX-512: about 150 times slower than its AVX2 kernel. The variable means nothing to other processors.
ENVIRONMENT = {"ONEDNN_MAX_CPU_ISA": "AVX2", "GLOG_v": "3"}
# Where MindSpore leaves rank_N/om and kernel_meta, which it would leave in the working directory.
FOLDERS = ("MS_OM_PATH", "MS_COMPILER_CACHE_PATH")
_M_ARENA_MAX = -8  # of glibc's malloc.h


def prepare_environment() -> None:
    """Set the variables that MindSpore reads while it loads; a value of the user's own wins."""
    if "mindspore" in sys.modules:
        return  # too late: `describe_environment` says so
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in FOLDERS:
        os.environ.setdefault(name, str(find_scratch_folder()))


def find_scratch_folder() -> Path:
    """Where MindSpore puts what it compiles, and what it says of what it cannot."""
    try:
        return find_cache_folder() / "mindspore"
    except UserError:  # of a setting that is refused where it matters
        return Path(tempfile.gettempdir()) / "mindcv_halo" / "mindspore"


def describe_environment() -> str:
    """One line for the log: the variables in force, and whose they are."""
    parts = []
    for name, value in ENVIRONMENT.items():
        actual = os.environ.get(name)
        if actual is None:
            parts.append(f"{name} unset (MindSpore was imported before mindcv_halo: convolutions may be slow)")
        else:
            parts.append(f"{name}={actual}" + ("" if actual == value else " (yours)"))
    return ", ".join(parts)


def asks_to_saturate() -> bool:
    """Whether the user wants an Ascend to compute the largest number in place of infinity."""
    return os.environ.get("MS_ASCEND_CHECK_OVERFLOW_MODE") == "SATURATION_MODE"


def name_compilers() -> tuple[str, ...]:
    """The C++ compilers to look for: the one that CXX names, or the usual ones."""
    wanted = os.environ.get("CXX")
    return (wanted,) if wanted else ("g++", "c++", "clang++")


def find_device(requested: str | None = None) -> str:
    """The device to run on: `requested`, or the first of Ascend, GPU and CPU that this machine has.

    Raises UserError when the machine or this MindSpore build lacks the requested device.
    """
    available = [name for name in ("Ascend", "GPU", "CPU") if _is_available(name)]
    if requested is None:
        return available[0]
    if requested not in available:
        raise UserError(
            f"device_target {requested!r} is not available here: this MindSpore has {', '.join(available)}; "
            "choose one of these, or leave the flag out"
        )
    return requested


def use_device(requested: str | None = None, local_rank: int = 0) -> str:
    """Run on find_device(requested) from now on, and return its name; with several devices, on that of `local_rank`.

    Raises UserError when MindSpore has already run something on another device: it cannot change.
    """
    import mindspore

    device = find_device(requested)
    current = mindspore.get_context("device_target")
    if current != device or device != "CPU":
        try:
            mindspore.set_device(device, None if device == "CPU" else local_rank)
        except RuntimeError as error:
            raise UserError(
                f"device_target {device}: MindSpore already runs on {current} in this process, and cannot change; "
                "start a new process"
            ) from error
    return device


def share_processors(local_rank: int, local_size: int) -> None:
    """Keep to this process's share of the machine's processors, unless the launcher or the user has bound it already.

    Call it before anything runs: MindSpore makes as many threads as there are processors to use.
    """
    processors = sorted(os.sched_getaffinity(0))
    if local_size == 1 or len(processors) < (os.cpu_count() or 1):
        return
    first = local_rank * len(processors) // local_size
    last = max(first + 1, (local_rank + 1) * len(processors) // local_size)
    os.sched_setaffinity(0, processors[first:last])


def share_heap() -> None:
    """Have threads that start from now on take their memory from the heaps there are; MALLOC_ARENA_MAX wins.

    glibc gives threads heaps of their own, each of which keeps what was freed in it, and every epoch has new threads.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back_memory() -> None:
    """Return to the system what was freed: glibc keeps it wherever something above it is still in use."""
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def count_devices(device: str) -> int:
    """How many of them this machine has; for a CPU the processors that this process may use."""
    import mindspore

    return len(os.sched_getaffinity(0)) if device == "CPU" else mindspore.hal.device_count(device)


def _is_available(device: str) -> bool:
    import mindspore

    return mindspore.hal.is_available(device)


def set_seed(seed: int = 42, rank: int | None = 0) -> None:
    """Seed Python, numpy, MindSpore's initialisers and minddata; ranks differ so that their augmentation does."""
    import mindspore
    import numpy as np

    rank = rank or 0  # MindCV's scripts call the only process None
    random.seed(seed + rank)
    mindspore.set_seed(seed + rank)
    np.random.seed(seed + rank)


@contextmanager
def pynative_mode() -> Iterator[None]:
    """MindSpore in PyNative mode; afterwards the mode is the caller's again."""
    import mindspore

    mode = mindspore.get_context("mode")
    mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
    try:
        yield
    finally:
        mindspore.set_context(mode=mode)


def to_array(tensor: Tensor) -> np.ndarray:
    """The tensor's values as float32. MindSpore gives bfloat16 only to the NumPy that it was compiled with, or near."""
    import mindspore
    import numpy as np

    if tensor.dtype == mindspore.bfloat16:
        tensor = tensor.astype(mindspore.float32)
    return tensor.asnumpy().astype(np.float32, copy=False)
