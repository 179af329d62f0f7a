"""Who this process is among the processes of its job: one table for all launchers.

Every launcher tells its processes their rank in environment variables of its own, and shells
inherit them: a plain start inside of an allocation finds the numbers of something else. So a row
counts only when all of its variables are there, and Slurm's only inside of a job step of several
tasks that this process descends from.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hpc.errors import UserError

ROLE = "MS_ROLE"
"""MindSpore's variable; it stands only in processes that are meant to communicate."""
SCHEDULER, WORKER = "MS_SCHED", "MS_WORKER"


@dataclass(frozen=True)
class ProcessInfo:
    """Where this process stands among the processes of the job."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    launcher: str = "single"
    """``msrun``, ``slurm``, ``mpi`` or ``single``."""
    has_collectives: bool = False
    """Whether MindSpore's communication can be started: the launcher gave this process a role."""
    host: str = field(default_factory=socket.gethostname)


@dataclass(frozen=True)
class _Variables:
    """What one launcher tells its processes; of several names the first that is there counts."""

    launcher: str
    rank: str
    size: tuple[str, ...]
    local_rank: tuple[str, ...]
    for_mindspore: bool = False
    """Whether the row counts only with a role of MindSpore's."""


_SLURM_SIZE = ("SLURM_STEP_NUM_TASKS",)
_TABLE = (
    # msrun, and scripts that start MindSpore's dynamic cluster by hand
    _Variables("msrun", "RANK_ID", ("RANK_SIZE", "MS_WORKER_NUM"), ("DEVICE_ID",), True),
    _Variables("slurm", "SLURM_PROCID", (*_SLURM_SIZE, "SLURM_NTASKS"), ("SLURM_LOCALID",), True),
    # Open MPI (its processes have PMIx's rank as well, without a size)
    _Variables(
        "mpi", "OMPI_COMM_WORLD_RANK", ("OMPI_COMM_WORLD_SIZE",), ("OMPI_COMM_WORLD_LOCAL_RANK",)
    ),
    # MVAPICH2, and MVAPICH 3 and later
    _Variables(
        "mpi", "MV2_COMM_WORLD_RANK", ("MV2_COMM_WORLD_SIZE",), ("MV2_COMM_WORLD_LOCAL_RANK",)
    ),
    _Variables(
        "mpi", "MVP_COMM_WORLD_RANK", ("MVP_COMM_WORLD_SIZE",), ("MVP_COMM_WORLD_LOCAL_RANK",)
    ),
    # MPICH's Hydra, Intel MPI, `srun --mpi=pmi2`
    _Variables("mpi", "PMI_RANK", ("PMI_SIZE",), ("MPI_LOCALRANKID", "SLURM_LOCALID")),
    # PMIx names no size: `srun --mpi=pmix` has Slurm's, others their own
    _Variables(
        "mpi", "PMIX_RANK", ("PMIX_SIZE", *_SLURM_SIZE), ("PMIX_LOCAL_RANK", "SLURM_LOCALID")
    ),
)
_SLURM_STEP = _Variables("slurm", "SLURM_PROCID", _SLURM_SIZE, ("SLURM_LOCALID",))
"""Bare `srun`: the tasks of a step, which cannot talk to each other."""

VARIABLES = frozenset(
    name for row in (*_TABLE, _SLURM_STEP) for name in (row.rank, *row.size, *row.local_rank)
)
"""All that is looked at, beside `ROLE` and ``SLURM_TASK_PID``."""


def discover(environ: Mapping[str, str] | None = None) -> ProcessInfo:
    """Return this process's place, read from the environment that its launcher made.

    Raises:
        UserError: a rank outside of its job's size or without one, or a variable that is no number.
    """
    environ = os.environ if environ is None else environ
    has_role = ROLE in environ
    rows = [row for row in _TABLE if row.for_mindspore == has_role]
    if not has_role and _is_task_of_step(environ):
        rows.append(_SLURM_STEP)
    for row in rows:
        size_name = next((name for name in row.size if name in environ), None)
        if row.rank not in environ or (size_name is None and has_role):
            continue
        if size_name is None:
            raise UserError(
                f"{row.rank}={environ[row.rank]} names a rank, and none of {', '.join(row.size)} "
                f"how many there are: start with mpirun or srun, or unset {row.rank}"
            )
        rank, size = _number(environ, row.rank), _number(environ, size_name)
        if not 0 <= rank < size:
            raise UserError(
                f"{row.rank}={rank} is outside of {size_name}={size}: "
                "start the job with msrun, srun or mpirun, which set both"
            )
        local_name = next((name for name in row.local_rank if name in environ), row.rank)
        return ProcessInfo(
            rank=rank,
            size=size,
            local_rank=_number(environ, local_name),
            launcher=row.launcher,
            has_collectives=has_role,
        )
    return ProcessInfo()


def is_scheduler(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether this is the process over which msrun's ranks meet, which is no rank."""
    return (os.environ if environ is None else environ).get(ROLE) == SCHEDULER


def is_worker(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether this is a rank that communicates through MindSpore."""
    return (os.environ if environ is None else environ).get(ROLE) == WORKER


def _is_task_of_step(environ: Mapping[str, str]) -> bool:
    """Whether this process belongs to a task of a Slurm job step, not to a shell beside it."""
    if "SLURM_PROCID" not in environ or environ.get("SLURM_STEP_NUM_TASKS", "1") == "1":
        return False
    task = environ.get("SLURM_TASK_PID", "")
    return not task.isdigit() or int(task) in _own_line(os.getpid())


def _own_line(process: int) -> list[int]:
    """Return a process, its parent, its parent's parent and so on."""
    line = []
    while process > 0:
        line.append(process)
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            break
        process = int(fields[1])
    return line


def _number(environ: Mapping[str, str], name: str) -> int:
    try:
        return int(environ[name])
    except ValueError:
        raise UserError(
            f"environment variable {name}={environ[name]!r} is not a number: unset it or start "
            "the job with msrun"
        ) from None
