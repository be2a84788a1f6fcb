"""MindCV's training steps, compiled by the same backend; its code is installed for this comparison alone."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .cases import GRAPH_MODES
from .devices import ROOT, make_environment
from .kernels import count_front_end, count_kernels, count_types, name_variables
from .processes import run_to_end
from .result import Result

PEER = "training step of MindCV's"
PEERS = ("halonet_50t", "resnet50")
_WORKER = ROOT / "dry_run" / "worker_mindcv.py"


def compile_peers(python: str, libraries: Path) -> Iterator[Result]:
    """A step of each of PEERS on Ascend, at the batch, size and precision of MindCV's recipe for its HaloNet.

    python: an interpreter that has MindCV.
    """
    for mode in GRAPH_MODES:
        for name in PEERS:
            yield _compile(python, name, mode, libraries)


def _compile(python: str, name: str, mode: str, libraries: Path) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(python).absolute()), str(_WORKER), name, "--jit", mode]
        environment = {**make_environment("Ascend", libraries), **name_variables(Path(folder) / "graphs")}
        ended = run_to_end(command, Path(folder), environment)
        if ended.status:
            return Result(PEER, name, "Ascend", mode, error=ended.take_last_words(), seconds=ended.seconds)
        kernels = count_kernels(Path(folder))
        return Result(
            PEER,
            name,
            "Ascend",
            mode,
            peak_bytes=json.loads(ended.stdout.splitlines()[-1])["peak_bytes"],
            kernels=kernels,
            asked=count_front_end(Path(folder), kernels),
            types=count_types(ended.stderr),
            seconds=ended.seconds,
        )
