"""Who am I under each launcher, and under none, with what shells inherit from them."""

import os

import pytest

from hpc.cluster.process_info import ProcessInfo, discover, is_scheduler, is_worker
from hpc.errors import UserError

WORKER = {"MS_ROLE": "MS_WORKER"}
STEP = {
    "SLURM_JOB_ID": "7",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "4",
}
INTERACTIVE = {**STEP, "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_STEP_NUM_TASKS": "1"}
ALLOCATION = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NUM_NODES": "4",
    "SLURM_NNODES": "4",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}


def test_a_plain_process_is_rank_0_of_1():
    assert discover({}) == ProcessInfo()
    assert not discover({}).has_collectives


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({**WORKER, "RANK_ID": "3", "RANK_SIZE": "8"}, (3, 8, 3, "msrun")),
        (
            {**WORKER, "RANK_ID": "9", "MS_WORKER_NUM": "16", "DEVICE_ID": "1"},
            (9, 16, 1, "msrun"),
        ),
        ({**WORKER, **ALLOCATION, "RANK_ID": "1", "RANK_SIZE": "2"}, (1, 2, 1, "msrun")),
        (
            {**WORKER, "SLURM_PROCID": "5", "SLURM_NTASKS": "6", "SLURM_LOCALID": "1"},
            (5, 6, 1, "slurm"),
        ),
        (STEP, (3, 4, 1, "slurm")),
        ({**STEP, "PMIX_RANK": "3", "PMIX_NAMESPACE": "slurm.pmix.7.0"}, (3, 4, 1, "mpi")),
        ({**STEP, "PMI_RANK": "3", "PMI_SIZE": "4"}, (3, 4, 1, "mpi")),
        ({"PMI_RANK": "1", "PMI_SIZE": "4"}, (1, 4, 1, "mpi")),
        ({"PMI_RANK": "5", "PMI_SIZE": "8", "MPI_LOCALRANKID": "1"}, (5, 8, 1, "mpi")),
        (
            {
                "OMPI_COMM_WORLD_RANK": "2",
                "OMPI_COMM_WORLD_SIZE": "4",
                "OMPI_COMM_WORLD_LOCAL_RANK": "0",
                "PMIX_RANK": "2",
            },
            (2, 4, 0, "mpi"),
        ),
        (
            {
                "MV2_COMM_WORLD_RANK": "6",
                "MV2_COMM_WORLD_SIZE": "8",
                "MV2_COMM_WORLD_LOCAL_RANK": "2",
            },
            (6, 8, 2, "mpi"),
        ),
        (
            {
                "MVP_COMM_WORLD_RANK": "6",
                "MVP_COMM_WORLD_SIZE": "8",
                "MVP_COMM_WORLD_LOCAL_RANK": "2",
            },
            (6, 8, 2, "mpi"),
        ),
    ],
)
def test_each_launcher_is_recognised(environ, expected):
    place = discover(environ)
    assert (place.rank, place.size, place.local_rank, place.launcher) == expected
    assert place.has_collectives == ("MS_ROLE" in environ)


@pytest.mark.parametrize(
    "environ",
    [
        ALLOCATION,
        INTERACTIVE,
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "16", "RANK_ID": "2", "RANK_SIZE": "4"},
        {"RANK_TABLE_FILE": "/x/hccl.json", "RANK_SIZE": "8", "RANK_ID": "3", "DEVICE_ID": "3"},
        {**STEP, "SLURM_TASK_PID": "2147483646"},
        {**INTERACTIVE, "PMIX_RANK": "0"},
    ],
)
def test_what_an_allocation_or_a_script_left_over_makes_no_ranks(environ):
    assert discover(environ).size == 1


def test_the_task_of_a_step_and_what_it_starts_are_its_rank():
    for task in (os.getpid(), os.getppid()):
        assert discover({**STEP, "SLURM_TASK_PID": str(task)}).rank == 3


@pytest.mark.parametrize(("rank", "size"), [("4", "4"), ("-1", "4"), ("x", "4")])
def test_a_rank_outside_of_its_job_is_refused(rank, size):
    with pytest.raises(UserError, match="RANK_ID"):
        discover({**WORKER, "RANK_ID": rank, "RANK_SIZE": size})


def test_a_rank_of_nobody_knows_how_many_is_refused():
    with pytest.raises(UserError, match="PMIX_RANK=1 names a rank"):
        discover({"PMIX_RANK": "1"})


def test_the_scheduler_of_msrun_is_no_rank_and_a_plain_process_neither():
    assert is_scheduler({"MS_ROLE": "MS_SCHED", "RANK_ID": "0"})
    assert is_worker(WORKER)
    for environ in ({}, {"RANK_ID": "0"}):
        assert not is_scheduler(environ)
        assert not is_worker(environ)
