"""From topologies to what MindSpore is told. Stand-ins take MindSpore's place, so that Ascend and GPU are here too."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from mindcv_halo.distributed import join as distributed
from mindcv_halo.distributed.join import (
    DEFAULTS,
    MEETING_TIMEOUT,
    check_devices,
    check_launch,
    join_group,
    leave_group,
    plan_variables,
)
from mindcv_halo.distributed.launchers import NO_LAUNCHER, Topology, find_rank
from mindcv_halo.distributed.process_group import ProcessGroup
from mindcv_halo.errors import UserError

HERE = "127.0.0.1"
ELSEWHERE = "198.51.100.7"  # reserved for documentation: no machine has it
MPIRUN = Topology("mpirun", 1, 4, 1, 4, masters=(HERE,), job="job")
SRUN = Topology("srun", 1, 4, 1, 4, masters=(HERE,), job="71.0")
MSRUN = Topology("msrun", 1, 4, 1, 4, masters=(HERE,), port=8118, has_cluster=True)
LAUNCHER_VARIABLES = {
    "OMPI_COMM_WORLD_SIZE": "4",
    "PMIX_NAMESPACE": "125960193",
    "PMI_RANK": "1",
    "PRTE_MCA_prte_x": "1",
}


def change(topology: Topology, **changes) -> Topology:
    return Topology(**{**vars(topology), **changes})


class Machine:
    """Stands in for MindSpore and for the network; `calls` is what it was asked for, in that order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.calls: list[str] = []
        self.rank, self.size = 1, 4  # as MindSpore counts
        self.environ_of_scheduler: dict[str, str] = {}
        self.environ_of_init: dict[str, str] = {}
        self.environ = {**LAUNCHER_VARIABLES, "HOME": "/root"}
        monkeypatch.setattr(distributed, "os", SimpleNamespace(environ=self.environ))
        monkeypatch.setattr(distributed, "init", self.init)
        monkeypatch.setattr(distributed, "get_rank", lambda: self.rank)
        monkeypatch.setattr(distributed, "get_group_size", lambda: self.size)
        monkeypatch.setattr(distributed, "ask", self.record("ask", (HERE, 4711)))
        monkeypatch.setattr(distributed, "answer", self.record("answer"))
        monkeypatch.setattr(distributed, "wait_for_port", self.record("wait_for_port"))
        monkeypatch.setattr(distributed, "find_free_port", self.record("find_free_port", 4711))
        process = SimpleNamespace(start=self.start, die_with_parent=self.record("die_with_parent"))
        monkeypatch.setattr(distributed, "scheduler_process", process)

    def record(self, name: str, result: object = None) -> Callable:
        def function(*arguments) -> object:
            self.calls.append(name if not arguments else f"{name} {arguments}")
            return result

        return function

    def start(self, environ: dict[str, str]) -> None:
        self.calls.append("start")
        self.environ_of_scheduler = environ

    def init(self) -> None:
        self.calls.append("init")
        self.environ_of_init = dict(self.environ)

    @property
    def names(self) -> list[str]:
        return [call.split()[0] for call in self.calls]


@pytest.fixture
def machine(monkeypatch) -> Machine:
    return Machine(monkeypatch)


@pytest.mark.parametrize(
    "words, command",
    [
        (["python3", "train.py", "-c", "a b.yaml"], "python train.py -c 'a b.yaml'"),
        (["/bin/python", "-m", "mindcv_halo.cli", "train", "--lr", "1"], "python -m mindcv_halo.cli train --lr 1"),
        (["/bin/python", "/bin/mindcv-halo", "train", "--lr", "1"], "mindcv-halo train --lr 1"),
        (["python", "-c", "engine.train(recipe)"], "python train.py ... --distribute True"),
    ],
)
def test_distribute_without_a_launcher_says_which(monkeypatch, words, command):
    monkeypatch.setattr("sys.orig_argv", words)
    with pytest.raises(UserError) as refused:
        check_launch(None, distribute=True)
    assert str(refused.value) == (
        f"distribute True needs a launcher: mpirun -n 2 {command}; for one process set --distribute False"
    )


def test_a_job_that_needs_no_launcher_says_that_it_is_alone(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("mindcv_halo"), "propagate", True)
    check_launch(None, distribute=True, needs_launcher=False)
    assert set(caplog.messages) == {
        "distribute True: there is no launcher, so that this one process does all of the work"
    }
    with pytest.raises(UserError, match="mpirun started 4 processes and distribute is False"):
        check_launch(MPIRUN, distribute=False, needs_launcher=False)


def test_a_launcher_without_distribute_is_refused():
    with pytest.raises(
        UserError,
        match=r"^mpirun started 4 processes and distribute is False, so that each would do all of the work; set "
        r"--distribute True, or start one process without mpirun$",
    ):
        check_launch(MPIRUN, distribute=False)


def test_launches_that_fit():
    check_launch(None, distribute=False)
    check_launch(MPIRUN, distribute=True)
    for distribute in (True, False):  # one process is one process
        check_launch(change(MPIRUN, rank=0, size=1, local_rank=0, local_size=1), distribute)


@pytest.mark.parametrize("device", ["Ascend", "GPU"])
def test_more_processes_than_devices_are_named(device):
    with pytest.raises(
        UserError,
        match=rf"^mpirun started 4 processes on {socket.gethostname()}, which has 2 {device} device\(s\); start at "
        r"most 2 on this machine \(mpirun: --map-by ppr:2:node\)$",
    ):
        check_devices(MPIRUN, device, num_devices=2)


def test_devices_that_suffice():
    check_devices(MPIRUN, "Ascend", num_devices=4)
    check_devices(change(MPIRUN, size=16), "Ascend", num_devices=8)  # four here, the others elsewhere
    check_devices(MPIRUN, "CPU", num_devices=1)
    check_devices(change(MPIRUN, local_size=None), "GPU", num_devices=1)  # nobody knows


def test_one_process_needs_nobody(machine):
    assert join_group(NO_LAUNCHER, "CPU") == ProcessGroup(0, 1)
    assert machine.calls == [] and "MS_ROLE" not in machine.environ


@pytest.mark.parametrize(
    "topology, device",
    [(MPIRUN, "CPU"), (SRUN, "CPU"), (SRUN, "Ascend"), (SRUN, "GPU"), (change(MPIRUN, launcher="mpiexec"), "GPU")],
)
def test_a_rank_asks_and_joins(machine, topology, device):
    assert join_group(topology, device) == ProcessGroup(1, 4)
    assert machine.names == ["die_with_parent", "ask", "wait_for_port", "init"]
    assert machine.calls[1:3] == [
        f"ask {(topology.job, (HERE,), MEETING_TIMEOUT)}",
        f"wait_for_port {(HERE, 4711, MEETING_TIMEOUT)}",
    ]
    assert machine.environ_of_init == {
        "HOME": "/root",
        "MS_ROLE": "MS_WORKER",
        "MS_WORKER_NUM": "4",
        "MS_SCHED_HOST": HERE,
        "MS_SCHED_PORT": "4711",
        "MS_NODE_ID": "1",
        "MINDCV_HALO_SCHEDULER": "1",
        **DEFAULTS,
    }  # nothing of the launcher's is left
    assert find_rank(machine.environ) == 1  # for what the process says from now on


def test_rank_0_starts_the_scheduler_and_answers(machine):
    machine.rank = 0
    assert join_group(change(MPIRUN, rank=0, local_rank=0), "CPU") == ProcessGroup(0, 4)
    assert machine.names == ["die_with_parent", "find_free_port", "start", "wait_for_port", "answer", "init"]
    assert machine.calls[4] == f"answer {('job', HERE, 4711, 3, MEETING_TIMEOUT)}"
    assert machine.environ_of_scheduler == machine.environ_of_init
    assert machine.environ_of_init["MS_NODE_ID"] == "0"


@pytest.mark.parametrize("rank, steps", [(0, ["start", "wait_for_port", "init"]), (1, ["wait_for_port", "init"])])
def test_with_a_port_of_the_users_nobody_asks(machine, rank, steps):
    machine.rank = rank
    join_group(change(MPIRUN, rank=rank, port=23456), "CPU")
    assert machine.names[1:] == steps
    assert f"wait_for_port {(HERE, 23456, MEETING_TIMEOUT)}" in machine.calls
    assert machine.environ_of_init["MS_SCHED_PORT"] == "23456"


@pytest.mark.parametrize("device", ["Ascend", "GPU"])
def test_devices_join_through_mindspores_own_bridge_to_open_mpi(machine, device):
    assert join_group(MPIRUN, device) == ProcessGroup(1, 4)
    assert machine.names == ["die_with_parent", "init"]
    assert machine.environ_of_init == {**LAUNCHER_VARIABLES, "HOME": "/root", **DEFAULTS}


@pytest.mark.parametrize("device", ["Ascend", "GPU", "CPU"])
def test_msrun_has_a_cluster(machine, device):
    """It may leave its ranks alone on purpose, so that they do not die with it."""
    assert join_group(MSRUN, device) == ProcessGroup(1, 4)
    assert machine.names == ["init"]


def test_one_process_of_msrun_joins_too(machine):
    machine.rank, machine.size = 0, 1
    join_group(change(MSRUN, rank=0, size=1, local_rank=0, local_size=1), "CPU")
    assert machine.names == ["init"]


def test_the_scheduler_of_msrun_ends_when_the_job_does(machine):
    with pytest.raises(SystemExit) as ended:
        join_group(change(MSRUN, rank=0, is_scheduler=True), "CPU")
    assert ended.value.code == 0 and machine.names == ["init"]


def test_the_users_time_outs_win(machine):
    machine.environ["MS_TOPO_TIMEOUT"] = "9"
    join_group(MPIRUN, "CPU")
    assert machine.environ_of_init["MS_TOPO_TIMEOUT"] == "9"
    assert machine.environ_of_init["MS_CPU_COMM_OP_TIMEOUT"] == DEFAULTS["MS_CPU_COMM_OP_TIMEOUT"]


@pytest.mark.parametrize("topology, device", [(MPIRUN, "CPU"), (MPIRUN, "Ascend"), (MSRUN, "GPU")])
def test_mindspore_counts_as_the_launcher_does(machine, topology, device):
    machine.rank, machine.size = 0, 1
    with pytest.raises(RuntimeError, match=rf"^{topology.launcher} says rank 1 of 4, MindSpore rank 0 of 1$"):
        join_group(topology, device)


def test_rank_0_is_not_where_the_launcher_says(machine):
    with pytest.raises(
        UserError,
        match=rf"^rank 0 runs on {socket.gethostname()}, which is not {ELSEWHERE}; set the environment variable "
        r"MASTER_ADDR to an address of it \(mpirun -x MASTER_ADDR=...\)$",
    ):
        join_group(change(MPIRUN, rank=0, masters=(ELSEWHERE,)), "CPU")
    assert "start" not in machine.names


@pytest.mark.parametrize("rank, function", [(0, "answer"), (1, "ask")])
def test_ranks_that_do_not_meet(machine, monkeypatch, rank, function):
    def fail(*arguments):
        raise OSError("why")

    monkeypatch.setattr(distributed, function, fail)
    with pytest.raises(UserError, match=r"^the 4 processes of mpirun do not find each other: why$"):
        join_group(change(MPIRUN, rank=rank), "CPU")
    assert "init" not in machine.names


def test_a_rank_on_another_machine_says_where_it_is(monkeypatch):
    """Of several addresses the one on the way to rank 0."""
    monkeypatch.setattr(distributed, "_find_address_towards", lambda host, port: f"towards {host}:{port}")
    assert plan_variables(SRUN, "10.0.0.7", 4711)["MS_WORKER_IP"] == "towards 10.0.0.7:4711"
    assert "MS_WORKER_IP" not in plan_variables(SRUN, HERE, 4711)


def test_the_address_towards_a_host():
    assert distributed._find_address_towards(HERE, 4711) == HERE


def test_only_ranks_with_a_scheduler_of_their_own_skip_the_clean_up(monkeypatch):
    ended = []
    environ: dict[str, str] = {}
    monkeypatch.setattr(distributed, "os", SimpleNamespace(environ=environ, _exit=ended.append))
    monkeypatch.setattr(distributed, "_LAST_WORDS", 0.0)
    leave_group()  # alone, or under msrun, whose scheduler waits for the clean-up
    assert ended == []
    environ["MINDCV_HALO_SCHEDULER"] = "1"
    leave_group()
    assert ended == [0]
