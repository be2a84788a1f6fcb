"""Who this process is among those that a launcher started: read from the environment, without touching anything."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import UserError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Topology:
    """One process of a job.

    rank, size: of all processes; local_rank, local_size: of those on this machine (local_size None: not known).
    masters: addresses where rank 0 may be reached, the best first; empty if nobody knows.
    port: of MindSpore's scheduler, where the launcher or the user fixed it; else rank 0 chooses one.
    job: a text that all processes of the job share and no other job on the machine has.
    has_cluster: the launcher starts MindSpore's scheduler; `is_scheduler`: this process is to be it.
    """

    launcher: str
    rank: int
    size: int
    local_rank: int
    local_size: int | None
    masters: tuple[str, ...] = ()
    port: int | None = None
    job: str = ""
    has_cluster: bool = False
    is_scheduler: bool = False


NO_LAUNCHER = Topology("no launcher", 0, 1, 0, 1)


def find_topology(environ: Mapping[str, str], parent_id: int = 0) -> Topology | None:
    """The place of this process, or None if no launcher started it. `parent_id` is the parent's process id.

    Known are msrun, Open MPI 4 and 5, MPICH and other launchers of the Hydra family, Slurm's srun, and the variables
    RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT. MASTER_ADDR and MASTER_PORT overrule what a launcher tells.
    Raises UserError for variables that contradict each other.
    """
    for marker, read in _READERS.items():
        if marker in environ:
            topology = read(environ, parent_id)
            return _check(topology)
    return None


def find_rank(environ: Mapping[str, str]) -> int | None:
    """The rank of this process where it is one of several, for what it says about itself."""
    try:
        topology = find_topology(environ, parent_id=1)
    except UserError:
        return None
    return topology.rank if topology is not None and topology.size > 1 else None


def _read_msrun(environ: Mapping[str, str], parent_id: int) -> Topology:
    size = _number(environ, "MS_WORKER_NUM")
    is_scheduler = environ["MS_ROLE"] == "MS_SCHED"
    rank = 0 if is_scheduler else _number(environ, "MS_NODE_ID", "RANK_ID")
    host = environ.get("MS_SCHED_HOST", LOOPBACK)
    return Topology(
        "msrun",
        rank,
        size,
        _number(environ, "DEVICE_ID", default=rank),
        size if host == LOOPBACK else None,
        masters=(host,),
        port=_number(environ, "MS_SCHED_PORT"),
        has_cluster=True,
        is_scheduler=is_scheduler,
    )


def _read_open_mpi(environ: Mapping[str, str], parent_id: int) -> Topology:
    size = _number(environ, "OMPI_COMM_WORLD_SIZE")
    local_size = _number(environ, "OMPI_COMM_WORLD_LOCAL_SIZE")
    # Version 4 has a random key for each job; the namespace of both holds the process id of mpirun.
    job = environ.get("OMPI_MCA_orte_precondition_transports") or environ.get("PMIX_NAMESPACE", "")
    return Topology(
        "mpirun",
        _number(environ, "OMPI_COMM_WORLD_RANK"),
        size,
        _number(environ, "OMPI_COMM_WORLD_LOCAL_RANK"),
        local_size,
        masters=_masters(environ, local_size == size, _find_mpirun_machine(environ)),
        port=_port(environ),
        job=job,
    )


def _find_mpirun_machine(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The machine on which mpirun runs, where rank 0 is unless a host list says otherwise.

    Open MPI 4 gives its addresses as `JOB;tcp://A,B:PORT;tcp6://...`, Open MPI 5 its name as `prterun-NAME-PID@1`.
    """
    contact = re.search(r"tcp://([0-9.,]+):\d+", environ.get("OMPI_MCA_orte_hnp_uri", ""))
    if contact:
        return tuple(contact[1].split(","))
    name = re.fullmatch(r"prterun-(.+)-\d+@\d+", environ.get("PMIX_NAMESPACE", ""))
    return (name[1],) if name else ()


def _read_hydra(environ: Mapping[str, str], parent_id: int) -> Topology:
    size = _number(environ, "PMI_SIZE")
    rank = _number(environ, "PMI_RANK")
    local_size = _number(environ, "MPI_LOCALNRANKS", default=size)
    return Topology(
        "mpiexec",
        rank,
        size,
        _number(environ, "MPI_LOCALRANKID", default=rank),
        local_size,
        masters=_masters(environ, local_size == size, ()),
        port=_port(environ),
        job=str(parent_id) if local_size == size else "",  # all local processes have one parent, Hydra's proxy
    )


def _read_slurm(environ: Mapping[str, str], parent_id: int) -> Topology:
    size = _number(environ, "SLURM_STEP_NUM_TASKS")
    counts = expand_counts(environ.get("SLURM_STEP_TASKS_PER_NODE", str(size)))
    local_size = counts[min(_number(environ, "SLURM_NODEID", default=0), len(counts) - 1)]
    nodes = expand_nodes(environ.get("SLURM_STEP_NODELIST", ""))
    return Topology(
        "srun",
        _number(environ, "SLURM_PROCID"),
        size,
        _number(environ, "SLURM_LOCALID"),
        local_size,
        masters=_masters(environ, local_size == size, nodes[:1]),
        port=_port(environ),
        job=f"{environ.get('SLURM_JOB_ID', '')}.{environ.get('SLURM_STEP_ID', '')}",
    )


def _read_explicit(environ: Mapping[str, str], parent_id: int) -> Topology:
    size = _number(environ, "WORLD_SIZE")
    rank = _number(environ, "RANK")
    port = _port(environ)
    if size > 1 and port is None:
        raise UserError("RANK and WORLD_SIZE are set, MASTER_PORT is not; set it to a free port of rank 0's machine")
    return Topology(
        "the environment",
        rank,
        size,
        _number(environ, "LOCAL_RANK", default=rank),
        _number(environ, "LOCAL_WORLD_SIZE", default=0) or None,
        masters=_masters(environ, False, ()),
        port=port,
    )


# The variable that only this launcher sets, in the order of trust: srun also starts what msrun and mpirun need. A
# Slurm batch script without srun has no step, so that its SLURM_PROCID is not taken for a rank.
_READERS = {
    "MS_ROLE": _read_msrun,
    "OMPI_COMM_WORLD_SIZE": _read_open_mpi,
    "PMI_SIZE": _read_hydra,
    "SLURM_STEP_NUM_TASKS": _read_slurm,
    "WORLD_SIZE": _read_explicit,
}


def expand_nodes(text: str) -> tuple[str, ...]:
    """Slurm's list of nodes: "gpu[01-02,7],login" -> ("gpu01", "gpu02", "gpu7", "login")."""
    nodes: list[str] = []
    for prefix, ranges, suffix in re.findall(r"([^,\[\]]+)(?:\[([^\]]*)\]([^,\[\]]*))?", text):
        if not ranges:
            nodes.append(prefix)
            continue
        for part in ranges.split(","):
            first, _, last = part.partition("-")
            for number in range(int(first), int(last or first) + 1):
                nodes.append(f"{prefix}{number:0{len(first)}}{suffix}")
    return tuple(nodes)


def expand_counts(text: str) -> tuple[int, ...]:
    """Slurm's tasks per node: "2(x3),1" -> (2, 2, 2, 1)."""
    counts: list[int] = []
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text):
        counts += [int(count)] * int(times or 1)
    return tuple(counts)


def _masters(environ: Mapping[str, str], is_one_machine: bool, found: tuple[str, ...]) -> tuple[str, ...]:
    if environ.get("MASTER_ADDR"):
        return (environ["MASTER_ADDR"],)
    return (LOOPBACK,) if is_one_machine else found


def _port(environ: Mapping[str, str]) -> int | None:
    return _number(environ, "MASTER_PORT") if environ.get("MASTER_PORT") else None


def _number(environ: Mapping[str, str], *names: str, default: int | None = None) -> int:
    """The first of the variables that is set."""
    name = next((name for name in names if name in environ), None)
    if name is None:
        if default is not None:
            return default
        raise UserError(f"the launcher left the environment variable {names[0]} out; set it, or use mpirun")
    if not environ[name].isdecimal():
        raise UserError(f"environment variable {name}={environ[name]!r} is not a whole number")
    return int(environ[name])


def _check(topology: Topology) -> Topology:
    if not 0 <= topology.rank < topology.size:
        raise UserError(f"{topology.launcher}: rank {topology.rank} is not below the {topology.size} processes")
    if topology.local_size is not None and not topology.local_rank < topology.local_size <= topology.size:
        raise UserError(
            f"{topology.launcher}: local rank {topology.local_rank} of {topology.local_size} processes on this machine "
            f"does not fit {topology.size} processes in all"
        )
    if topology.port is not None and not 1024 <= topology.port < 65536:
        way_out = "give msrun another --master_port" if topology.has_cluster else "set MASTER_PORT"
        raise UserError(f"port {topology.port} of rank 0's machine must be from 1024 to 65535; {way_out}")
    if topology.size > 1 and not topology.masters:
        raise UserError(
            f"{topology.launcher} started {topology.size} processes on several machines and does not tell where rank 0 "
            "is; set the environment variables MASTER_ADDR to its address and MASTER_PORT to a free port there"
        )
    if topology.size > 1 and not topology.job and topology.port is None:
        raise UserError(
            f"{topology.launcher} does not name its job; set the environment variable MASTER_PORT to a free port"
        )
    return topology
