"""One log a rank: what a rank prints, and what its libraries print, goes to ``rank_N.log``."""

import os
import socket
import sys
from pathlib import Path


def redirect_to_rank_log(log_dir: Path, rank: int) -> None:
    """Send this process's standard output and error, C++ libraries included, to its own log."""
    log_dir.mkdir(parents=True, exist_ok=True)
    path = log_dir / f"rank_{rank}.log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    header = f"rank {rank} pid {os.getpid()} on {socket.gethostname()}\n"
    os.write(descriptor, header.encode())
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
    os.close(descriptor)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
