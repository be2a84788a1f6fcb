"""The place of a process, from the variables that each launcher really sets."""

from __future__ import annotations

import pytest

from mindcv_halo.distributed.launchers import Topology, expand_counts, expand_nodes, find_rank, find_topology
from mindcv_halo.errors import UserError

OPEN_MPI_4 = {
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "2",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
    "OMPI_MCA_orte_precondition_transports": "a15632d8847081f4-d77ddeaa85dac3b2",
    "OMPI_MCA_orte_hnp_uri": "125960192.0;tcp://192.0.2.2:34209;tcp6://[fd00::2]:47509",
    "PMIX_NAMESPACE": "125960193",
}
OPEN_MPI_5 = {
    **{name: value for name, value in OPEN_MPI_4.items() if "_MCA_" not in name},
    "PMIX_NAMESPACE": "prterun-vm-27602@1",
}
HYDRA = {
    "PMI_RANK": "2",
    "PMI_SIZE": "4",
    "MPI_LOCALNRANKS": "4",
    "MPI_LOCALRANKID": "2",
    "HYDI_CONTROL_FD": "9",
    "PMI_FD": "10",
}
MSRUN = {
    "MS_ROLE": "MS_WORKER",
    "MS_WORKER_NUM": "4",
    "MS_SCHED_HOST": "127.0.0.1",
    "MS_SCHED_PORT": "8118",
    "MS_NODE_ID": "2",
    "RANK_ID": "2",
    "DEVICE_ID": "2",
}
SLURM = {
    "SLURM_JOB_ID": "71",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "4",
    "SLURM_STEP_NODELIST": "gpu[07-09]",
    "SLURM_NODEID": "0",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "2",
}
EXPLICIT = {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "2", "MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "23456"}

LAUNCHERS = [OPEN_MPI_4, OPEN_MPI_5, HYDRA, MSRUN, SLURM, EXPLICIT]
SECOND_MACHINE_OF_TWO = {"OMPI_COMM_WORLD_LOCAL_RANK": "0", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}


@pytest.mark.parametrize(
    "environ, expected",
    [
        (
            OPEN_MPI_4,
            Topology("mpirun", 2, 4, 2, 4, masters=("127.0.0.1",), job="a15632d8847081f4-d77ddeaa85dac3b2"),
        ),
        (
            {**OPEN_MPI_4, **SECOND_MACHINE_OF_TWO},
            Topology("mpirun", 2, 4, 0, 2, masters=("192.0.2.2",), job="a15632d8847081f4-d77ddeaa85dac3b2"),
        ),
        (OPEN_MPI_5, Topology("mpirun", 2, 4, 2, 4, masters=("127.0.0.1",), job="prterun-vm-27602@1")),
        (
            {**OPEN_MPI_5, **SECOND_MACHINE_OF_TWO},
            Topology("mpirun", 2, 4, 0, 2, masters=("vm",), job="prterun-vm-27602@1"),
        ),
        (
            {**OPEN_MPI_5, **SECOND_MACHINE_OF_TWO, "PMIX_NAMESPACE": "prterun-gpu-rack-3-27602@1"},
            Topology("mpirun", 2, 4, 0, 2, masters=("gpu-rack-3",), job="prterun-gpu-rack-3-27602@1"),
        ),
        (HYDRA, Topology("mpiexec", 2, 4, 2, 4, masters=("127.0.0.1",), job="4711")),
        (MSRUN, Topology("msrun", 2, 4, 2, 4, masters=("127.0.0.1",), port=8118, has_cluster=True)),
        (
            {**MSRUN, "MS_SCHED_HOST": "10.0.0.7", "DEVICE_ID": "0"},
            Topology("msrun", 2, 4, 0, None, masters=("10.0.0.7",), port=8118, has_cluster=True),
        ),
        (SLURM, Topology("srun", 2, 4, 2, 4, masters=("127.0.0.1",), job="71.0")),
        (
            {**SLURM, "SLURM_STEP_TASKS_PER_NODE": "2,1(x2)", "SLURM_NODEID": "1", "SLURM_LOCALID": "0"},
            Topology("srun", 2, 4, 0, 1, masters=("gpu07",), job="71.0"),
        ),
        (EXPLICIT, Topology("the environment", 2, 4, 2, None, masters=("10.0.0.7",), port=23456)),
        (
            {**EXPLICIT, "LOCAL_WORLD_SIZE": "3"},
            Topology("the environment", 2, 4, 2, 3, masters=("10.0.0.7",), port=23456),
        ),
    ],
)
def test_each_launcher(environ, expected):
    assert find_topology(environ, parent_id=4711) == expected


def test_no_launcher():
    """A Slurm batch script has no step: what it starts by itself is one process."""
    batch_script = {"SLURM_JOB_ID": "71", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_NODELIST": "gpu07"}
    for environ in ({}, batch_script, {"MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "23456"}):
        assert find_topology(environ) is None


def test_the_scheduler_of_msrun_has_no_rank_of_its_own():
    environ = {name: value for name, value in MSRUN.items() if name not in ("MS_NODE_ID", "RANK_ID", "DEVICE_ID")}
    topology = find_topology({**environ, "MS_ROLE": "MS_SCHED"})
    assert topology.is_scheduler and topology.has_cluster
    assert (topology.rank, topology.size, topology.local_rank) == (0, 4, 0)


def test_several_addresses_of_one_machine():
    environ = {**OPEN_MPI_4, **SECOND_MACHINE_OF_TWO, "OMPI_MCA_orte_hnp_uri": "1.0;tcp://192.0.2.2,10.0.0.2:34209"}
    assert find_topology(environ).masters == ("192.0.2.2", "10.0.0.2")


@pytest.mark.parametrize("environ", [OPEN_MPI_4, OPEN_MPI_5, HYDRA, SLURM])
def test_the_users_address_and_port_win(environ):
    topology = find_topology({**environ, "MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "23456"}, parent_id=4711)
    assert (topology.masters, topology.port) == (("10.0.0.7",), 23456)


def test_msrun_wins_over_srun_that_started_it():
    assert find_topology({**SLURM, **MSRUN}).launcher == "msrun"
    assert find_topology({**SLURM, **OPEN_MPI_5}).launcher == "mpirun"


@pytest.mark.parametrize("environ", LAUNCHERS)
def test_the_rank_for_messages(environ):
    assert find_rank(environ) == 2


def test_no_rank_for_messages_where_there_is_one_process_or_contradiction():
    alone = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}
    alone |= {"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "1"}
    assert find_topology(alone).size == 1  # one process needs no name of a job
    for environ in ({}, alone, {**HYDRA, "PMI_RANK": "4"}):
        assert find_rank(environ) is None


@pytest.mark.parametrize(
    "environ, message",
    [
        ({**HYDRA, "PMI_RANK": "4"}, r"^mpiexec: rank 4 is not below the 4 processes$"),
        ({**HYDRA, "PMI_SIZE": "two"}, r"^environment variable PMI_SIZE='two' is not a whole number$"),
        ({**HYDRA, "PMI_RANK": "-1"}, r"^environment variable PMI_RANK='-1' is not a whole number$"),
        (
            {**HYDRA, "MPI_LOCALRANKID": "5"},
            r"^mpiexec: local rank 5 of 4 processes on this machine does not fit 4 processes in all$",
        ),
        ({**HYDRA, "MPI_LOCALNRANKS": "5"}, r"local rank 2 of 5 processes on this machine does not fit 4"),
        (
            {**HYDRA, "MPI_LOCALNRANKS": "3"},
            r"^mpiexec started 4 processes on several machines and does not tell where rank 0 is; set the environment "
            r"variables MASTER_ADDR to its address and MASTER_PORT",
        ),
        (
            {**HYDRA, "MPI_LOCALNRANKS": "3", "MASTER_ADDR": "10.0.0.7"},
            r"^mpiexec does not name its job; set the environment variable MASTER_PORT to a free port$",
        ),
        ({**HYDRA, "MASTER_PORT": "80"}, r"^port 80 of rank 0's machine must be from 1024 to 65535; set MASTER_PORT$"),
        ({**MSRUN, "MS_SCHED_PORT": "65536"}, r"^port 65536 of rank 0's machine must be from 1024 to 65535"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, r"^RANK and WORLD_SIZE are set, MASTER_PORT is not; set it to a free port"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": "23456"}, r"does not tell where rank 0 is"),
        ({"WORLD_SIZE": "2", "MASTER_PORT": "23456"}, r"^the launcher left the environment variable RANK out; set it"),
        ({"MS_ROLE": "MS_WORKER"}, r"^the launcher left the environment variable MS_WORKER_NUM out"),
    ],
)
def test_contradictions_are_named(environ, message):
    with pytest.raises(UserError, match=message):
        find_topology(environ, parent_id=4711)


@pytest.mark.parametrize(
    "text, nodes",
    [
        ("gpu07", ("gpu07",)),
        ("gpu[01-02,7],login", ("gpu01", "gpu02", "gpu7", "login")),
        ("gpu[098-101]", ("gpu098", "gpu099", "gpu100", "gpu101")),
        ("rack-1-gpu[2,4].site", ("rack-1-gpu2.site", "rack-1-gpu4.site")),
        ("", ()),
    ],
)
def test_lists_of_nodes(text, nodes):
    assert expand_nodes(text) == nodes


def test_counts_of_tasks():
    assert expand_counts("2(x3),1") == (2, 2, 2, 1)
    assert expand_counts("16") == (16,)
