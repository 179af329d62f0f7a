"""One log a rank: what a rank prints, and what its libraries print, goes to ``rank_N.log``."""

import os
import re
import socket
import sys
from pathlib import Path

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
    """Send this process's standard output and error, C++ libraries included, to its own log."""
    log_dir.mkdir(parents=True, exist_ok=True)
    path = rank_log(log_dir, rank)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    header = f"rank {rank} pid {os.getpid()} on {socket.gethostname()}\n"
    os.write(descriptor, header.encode())
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
    os.close(descriptor)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
