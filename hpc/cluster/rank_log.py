"""One log a rank: what a rank prints, and what its libraries print, goes to ``rank_N.log``.

Each start of a job has a folder with logs of its own; beside it, where people look, stands a link
to the newest. So a rank that outlives its start writes into no other's log.
"""

import os
import re
import socket
import sys
from contextlib import suppress
from pathlib import Path

from hpc.cluster.affinity import describe
from hpc.cluster.job import log_folder

_HEADER = re.compile(rb"rank \d+ pid (\d+) on ")


def rank_log(log_dir: Path, rank: int) -> Path:
    """Return where a rank's log is."""
    return log_dir / f"rank_{rank}.log"


def read_process(log_dir: Path, rank: int) -> int | None:
    """Return the process number in the first line of a rank's log; None before it is there."""
    try:
        with rank_log(log_dir, rank).open("rb") as log:
            header = _HEADER.match(log.readline())
    except FileNotFoundError:
        return None
    return int(header[1]) if header else None


def redirect_to_rank_log(log_dir: Path, rank: int) -> None:
    """Send this process's standard output and error, C++ libraries included, to its own log.

    Args:
        log_dir: of the run; under a supervisor the log is in the folder of this start, which lies
            in it, and `log_dir` gets a link.
        rank: who am I.
    """
    folder = log_folder() or log_dir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    path = rank_log(folder, rank)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    header = f"rank {rank} pid {os.getpid()} on {socket.gethostname()}\n{describe()}\n"
    os.write(descriptor, header.encode())
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
    os.close(descriptor)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    if folder.parent == log_dir.resolve():
        _link(rank_log(log_dir, rank), Path(folder.name) / path.name)


def remove_links(log_dir: Path) -> None:
    """Forget which logs were the newest."""
    for path in log_dir.glob("rank_*.log"):
        path.unlink(missing_ok=True)


def _link(link: Path, target: Path) -> None:
    with suppress(OSError):  # a file system without links: the log itself is there
        link.unlink(missing_ok=True)
        link.symlink_to(target)
