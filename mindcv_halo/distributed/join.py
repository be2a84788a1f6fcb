"""From the place that a launcher gave this process to a group of processes that MindSpore has joined."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Mapping

import mindspore
from mindspore.communication import get_group_size, get_rank, init

from ..errors import UserError
from . import scheduler_process
from .launchers import LOOPBACK, Topology
from .own_command import describe_command
from .process_group import ProcessGroup
from .rendezvous import answer, ask, find_free_port, find_own_address, wait_for_port

MEETING_TIMEOUT = 300.0  # seconds in which all processes must have started
# Seconds that a collective on a CPU waits for the slowest rank: compiling, or writing a checkpoint. MindSpore's 30 are
# too few for that; who hangs in its data ends much earlier by itself (distributed/watchdog.py).
DEFAULTS = {"MS_CPU_COMM_OP_TIMEOUT": "1200", "MS_TOPO_TIMEOUT": "600"}
_LAST_WORDS = 1.0  # seconds
_OWN_SCHEDULER = "MINDCV_HALO_SCHEDULER"  # set where the scheduler is a process of rank 0's
_LAUNCHER_VARIABLES = ("OMPI_", "PMIX_", "PMI_", "PRTE_")
_logger = logging.getLogger("mindcv_halo")


def check_launch(topology: Topology | None, distribute: bool, needs_launcher: bool = True) -> None:
    """Raises UserError when the flag `distribute` and the launcher disagree.

    A job that does not need a launcher goes on without one, and a line in the log says so.
    """
    if distribute and topology is None:
        if not needs_launcher:
            _logger.warning("distribute True: there is no launcher, so that this one process does all of the work")
            return
        command = describe_command(sys.orig_argv) or "python train.py ... --distribute True"
        raise UserError(
            f"distribute True needs a launcher: mpirun -n 2 {command}; for one process set --distribute False"
        )
    if topology is not None and topology.size > 1 and not distribute:
        raise UserError(
            f"{topology.launcher} started {topology.size} processes and distribute is False, so that each would do all "
            f"of the work; set --distribute True, or start one process without {topology.launcher}"
        )


def check_devices(topology: Topology, device: str, num_devices: int) -> None:
    """Raises UserError when this machine has fewer devices than processes; CPUs are shared."""
    if device == "CPU" or topology.local_size is None or topology.local_size <= num_devices:
        return
    raise UserError(
        f"{topology.launcher} started {topology.local_size} processes on {socket.gethostname()}, which has "
        f"{num_devices} {device} device(s); start at most {num_devices} on this machine (mpirun: --map-by "
        f"ppr:{num_devices}:node)"
    )


def join_group(topology: Topology, device: str) -> ProcessGroup:
    """Make this process one of its job's group; all ranks call it, before they make any tensor.

    MindSpore's scheduler, where the launcher starts one, stays in here until the job is over, and exits.
    Raises UserError where rank 0 cannot be found, and RuntimeError where MindSpore and the launcher count differently.
    """
    if topology.size == 1 and not topology.has_cluster:
        return ProcessGroup()
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    if not topology.has_cluster:  # msrun may leave its ranks alone on purpose
        scheduler_process.die_with_parent()  # a launcher that is killed itself cannot end its ranks
    # On Ascend and GPU MindSpore has a bridge of its own to Open MPI; everything else needs its scheduler.
    if not topology.has_cluster and (device == "CPU" or topology.launcher != "mpirun"):
        _form_cluster(topology)
    init()
    if topology.is_scheduler:
        sys.exit(0)
    rank, size = get_rank(), get_group_size()
    if (rank, size) != (topology.rank, topology.size):
        raise RuntimeError(
            f"{topology.launcher} says rank {topology.rank} of {topology.size}, MindSpore rank {rank} of {size}"
        )
    return ProcessGroup(rank, size)


def leave_group() -> None:
    """End this process with status 0 if it is one of several on CPUs and rank 0 started their scheduler.

    MindSpore 2.10's own clean-up, when Python ends, has a race with that of the other ranks: `TCPClient::Finalize`
    crashed in 10 of 14 jobs of 4 ranks on 2 busy cores. The scheduler of msrun waits for that clean-up; none of its
    jobs crashed.
    """
    if _OWN_SCHEDULER not in os.environ or mindspore.get_context("device_target") != "CPU":
        return
    time.sleep(_LAST_WORDS)  # another thread of MindSpore's may still be sending what the other ranks wait for
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _form_cluster(topology: Topology) -> None:
    """Start the scheduler on rank 0, and set the variables by which MindSpore finds it."""
    os.environ[_OWN_SCHEDULER] = "1"
    for name in [name for name in os.environ if name.startswith(_LAUNCHER_VARIABLES)]:
        del os.environ[name]  # else MindSpore takes the launcher's way, for which it has no CPU code
    try:
        if topology.rank == 0:
            host, port = _choose_scheduler(topology)
            os.environ.update(plan_variables(topology, host, port))
            scheduler_process.start(dict(os.environ))
            wait_for_port(host, port, MEETING_TIMEOUT)
            if topology.port is None:  # all at once: MindSpore's init keeps other threads from running
                answer(topology.job, host, port, topology.size - 1, MEETING_TIMEOUT)
        else:
            host, port = topology.masters[0], topology.port
            if port is None:
                host, port = ask(topology.job, topology.masters, MEETING_TIMEOUT)
            host = socket.gethostbyname(host)
            wait_for_port(host, port, MEETING_TIMEOUT)
            os.environ.update(plan_variables(topology, host, port))
    except OSError as error:
        raise UserError(
            f"the {topology.size} processes of {topology.launcher} do not find each other: {error}"
        ) from error


def _choose_scheduler(topology: Topology) -> tuple[str, int]:
    host = find_own_address(topology.masters)
    if host is None:
        raise UserError(
            f"rank 0 runs on {socket.gethostname()}, which is not {' or '.join(topology.masters)}; set the environment "
            "variable MASTER_ADDR to an address of it (mpirun -x MASTER_ADDR=...)"
        )
    return host, topology.port or find_free_port(host)


def plan_variables(topology: Topology, host: str, port: int) -> Mapping[str, str]:
    """What MindSpore reads to join the cluster whose scheduler listens at host:port."""
    variables = {
        "MS_ROLE": "MS_WORKER",
        "MS_WORKER_NUM": str(topology.size),
        "MS_SCHED_HOST": host,
        "MS_SCHED_PORT": str(port),
        "MS_NODE_ID": str(topology.rank),
    }
    if host != LOOPBACK:
        variables["MS_WORKER_IP"] = _find_address_towards(host, port)
    return variables


def _find_address_towards(host: str, port: int) -> str:
    """The address of this machine on its way to the other; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, port))
        return probe.getsockname()[0]
