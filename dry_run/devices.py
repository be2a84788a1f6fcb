"""The devices that are compiled for, and the environment in which MindSpore does that without them."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEVICES = ("Ascend", "GPU")  # MindSpore's names; under DryRun it never asks CANN which Ascend it is
RANK_VARIABLES = ("RANK_SIZE", "RANK_ID")


def make_environment(device: str, libraries: Path) -> dict[str, str]:
    """The variables of a process that compiles for `device`; `libraries` is what make_libraries made."""
    environment = {
        **os.environ,
        "MS_SIMULATION_LEVEL": "1",  # types, passes, choice of kernels, plan of the memory; nothing is computed
        "MS_DISABLE_KERNEL_BACKOFF": "1",  # an operator without a kernel is refused, and not run on the host
        "MS_SUBMODULE_LOG_v": "{DEVICE:1}",  # names the kind of each kernel
        "LD_PRELOAD": str(libraries / "host.so"),
        "MPLBACKEND": "Agg",
        "PYTHONPATH": f"{ROOT}:{libraries / 'python'}",
    }
    for name in [name for name in environment if name in RANK_VARIABLES or name.startswith(("OMPI_", "MS_WORKER"))]:
        del environment[name]
    if device == "Ascend":
        environment["LD_LIBRARY_PATH"] = str(libraries / "ascend" / "latest" / "lib64")
    else:
        cuda = libraries / "cuda"
        environment["LD_LIBRARY_PATH"] = str(cuda / "lib64")
        environment["CUDA_HOME"] = str(cuda)
        environment["PATH"] = f"{cuda / 'bin'}:{environment['PATH']}"
    return environment
