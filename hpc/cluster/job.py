"""A rank's side of its job: what the supervisor told it, and what it leaves for the supervisor.

The supervisor (`hpc.cluster.supervisor`) gives every start of a job a folder of its own. Ranks find
it in their environment; a process that somebody else started finds nothing, and does without.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from hpc.cluster.affinity import pin_rank
from hpc.cluster.file_barrier import FileBarrier
from hpc.cluster.lifeline import die_with, die_with_parent
from hpc.cluster.process_info import discover, is_scheduler, is_worker
from hpc.cluster.stop import STOPPED_EXIT_CODE
from hpc.process_identity import process_tag

JOB = "HPC_JOB"
"""The mark of one start of a job, in the environment of all that belongs to it."""
LOG = "HPC_LOG"
"""The folder of this start: logs and marks of its ranks."""
NODE = "HPC_NODE"
"""Which node of the job this is, from 0."""
WORKERS = "HPC_WORKERS"
"""Ranks of this node."""
SUPERVISOR = "HPC_SUPERVISOR"
"""The supervisor of this node, as `hpc.process_identity.process_tag` names it."""


def exit_file(folder: Path, rank: int) -> Path:
    """Return where a rank leaves its exit code."""
    return folder / f"rank_{rank}.exit"


def secret_file(folder: Path) -> Path:
    """Return where the supervisor leaves the job's secret, readable to its owner alone."""
    return folder / "secret"


def scheduler_file(folder: Path) -> Path:
    """Return where msrun's scheduler leaves its identity."""
    return folder / "scheduler.process"


def enter_job() -> None:
    """Tie this process to its job, if it is one of a supervisor's; call it before MindSpore loads.

    It ends when msrun or the supervisor ends, keeps to its share of the host's cores, and imports
    nothing from the current folder.
    """
    if JOB not in os.environ or not (is_worker() or is_scheduler()):
        return
    die_with_parent()
    if SUPERVISOR in os.environ:
        die_with(os.environ[SUPERVISOR])
    if is_scheduler():
        folder = log_folder()
        assert folder is not None, "a supervisor names both"
        scheduler_file(folder).write_text(process_tag())
    else:
        pin_rank(local_rank=discover().local_rank, local_size=int(os.environ[WORKERS]))


def in_job() -> bool:
    """Return whether a supervisor started this process, after all checks."""
    return JOB in os.environ


def serve_as_scheduler() -> NoReturn:
    """Let the ranks of msrun find each other over this process, until they have ended."""
    import mindspore as ms
    from mindspore import communication

    ms.set_device("CPU")
    communication.init()
    sys.exit(0)


def log_folder() -> Path | None:
    """Return where this rank's supervisor looks for its log and signs; None without one."""
    folder = os.environ.get(LOG)
    return None if folder is None else Path(folder)


def job_secret() -> bytes:
    """Return what only processes of this job know, which proves that a message is from them.

    Empty in ranks that another launcher started: then whoever reaches their ports can send.
    """
    folder = log_folder()
    if folder is None:
        return b""
    try:
        return secret_file(folder).read_bytes()
    except FileNotFoundError:
        return b""


def barrier_of_job(*, rank: int, size: int) -> FileBarrier | None:
    """Return where the ranks of this job wait for each other; None without a supervisor."""
    folder = log_folder()
    if folder is None:
        return None
    return FileBarrier(folder, job=os.environ[JOB], rank=rank, size=size)


def record_exit_code(code: int) -> int:
    """Leave a rank's exit code where its supervisor finds it; msrun only tells good from bad.

    Returns:
        the code to end with. Under a supervisor a rank that stopped as it was asked to ends with
        0: msrun kills all ranks as soon as one ends otherwise, before they have said why.
    """
    folder = log_folder()
    if folder is None:
        return code
    exit_file(folder, discover().rank).write_text(str(code))
    return 0 if code == STOPPED_EXIT_CODE else code


def safe_python_path(environ: Mapping[str, str]) -> dict[str, str]:
    """Return variables under which Python imports nothing from the current folder."""
    entries = environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = [entry for entry in entries if entry not in ("", ".")]
    found = {"PYTHONSAFEPATH": "1"}
    if "PYTHONPATH" in environ:
        found["PYTHONPATH"] = os.pathsep.join(kept)
    return found
