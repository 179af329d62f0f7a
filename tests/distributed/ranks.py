"""Start a Python script in several real ranks under msrun, for the tests in this folder."""

import contextlib
import os
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import psutil

from hpc.cluster.job import JOB, LOG


def run_ranks(script: Path, *arguments: str, ranks: int, folder: Path, timeout: float) -> None:
    """Run ``python script arguments`` in `ranks` ranks and wait; one rank runs without msrun.

    Args:
        script: shares the rest of the work between the ranks that it finds.
        folder: gets one log a rank.
        timeout: seconds after which every process is killed.

    Raises:
        AssertionError: a rank failed or the time is over; shows the end of every log.
    """
    command = [str(script), *arguments]
    if ranks == 1:
        command = [sys.executable, *command]
    else:
        options = {
            "worker_num": ranks,
            "local_worker_num": ranks,
            "master_addr": "127.0.0.1",
            "master_port": _free_port(),
            "join": True,
            "log_dir": folder / "log",
            "cluster_time_out": 120,
        }
        command = ["msrun", *(f"--{name}={value}" for name, value in options.items()), *command]
    # msrun starts the `python` that it finds on the path.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    # A busy machine may let a rank wait for a minute; MS_NODE_TIMEOUT of the outside wins.
    environ = {"MS_NODE_TIMEOUT": "60", **os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    if ranks > 1:  # where they meet, as under the launcher: one may compile for minutes
        environ |= {JOB: uuid.uuid4().hex, LOG: str(folder.resolve())}
    with (folder / f"{ranks}_ranks.log").open("wb") as log:
        job = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environ)
    try:
        code = job.wait(timeout)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        _kill_tree(job)
    assert code == 0, f"exit code {code} of {ranks} ranks\n{_logs(folder)}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _kill_tree(job: subprocess.Popen) -> None:
    """Kill msrun's children too: each has a session of its own."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(job.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    job.kill()
    job.wait()


def _logs(folder: Path) -> str:
    return "\n".join(
        f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}"
        for log in sorted(folder.rglob("*.log"))
    )
