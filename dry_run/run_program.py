"""Run train.py or another script of the project under DryRun: python -m dry_run.run_program SCRIPT ARGUMENTS.

DryRun counts no devices, and its collectives return zeros. So this machine has as many devices as a job asks for here,
and what a rank says outside its training step all others say too. Collectives inside graphs stay DryRun's.
"""

from __future__ import annotations

import runpy
import sys
from unittest import mock

import mindcv_halo  # noqa: F401  first: it sets the environment that MindSpore reads while it loads

# isort: split

import numpy as np

from mindcv_halo.distributed.launchers import Topology
from mindcv_halo.distributed.process_group import ProcessGroup
from mindcv_halo.engine import setup

from .devices import ROOT

NUM_DEVICES = 8  # of a machine


class SimulatedGroup(ProcessGroup):
    """One rank of a group whose other ranks are not there: all say what this one says."""

    def sum(self, values: np.ndarray) -> np.ndarray:
        return values

    def exchange(self, content: bytes) -> list[bytes]:
        return [content] * self.size

    def broadcast(self, content: bytes) -> bytes:
        return content


def join_group(topology: Topology, device: str) -> ProcessGroup:
    """The real joining, with a group that needs no partners."""
    group = real_join_group(topology, device)
    return SimulatedGroup(group.rank, group.size)


real_join_group = setup.join_group

if __name__ == "__main__":
    del sys.argv[0]
    with (
        mock.patch.object(setup, "join_group", join_group),
        mock.patch.object(setup, "count_devices", lambda device: NUM_DEVICES),
    ):
        runpy.run_path(str(ROOT / sys.argv[0]), run_name="__main__")
