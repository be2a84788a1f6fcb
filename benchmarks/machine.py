"""The machine that a benchmark ran on."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

HERE = Path(__file__).parent
_LIBRARIES = (
    *("mindspore", "mindcv", "torch", "timm", "openvino", "onnxruntime", "tensorflow-cpu"),
    *("keras-cv-attention-models", "halonet-pytorch"),
)


def describe_machine(pythons: Iterable[str]) -> dict[str, str]:
    """What must be known to read the figures; `pythons` are those of the environments of all sides."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    features = next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split()
    wide = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if name in features]
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    installed = []
    for python in pythons:
        command = [python, "-m", "pip", "freeze"]
        installed += subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    versions = sorted({line for line in installed if line.partition("==")[0] in _LIBRARIES})
    commit = subprocess.run(
        ["git", "-C", str(HERE), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit.stdout.strip() or "unknown",
        "processor": f"{processor}, {' '.join(wide)}",
        "cores": str(sum(line.startswith("processor") for line in lines)),
        "memory": f"{int(memory.split()[1]) / 1e6:.0f} GB",
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": ", ".join(versions),
    }


def name_machine(machine: dict[str, str]) -> str:
    """The same in half a line."""
    return f"{machine['cores']} cores of {machine['processor']}; {machine['versions']}; {machine['date'][:10]}"
