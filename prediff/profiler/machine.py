"""What the numbers of a report were measured on."""

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import psutil

from hpc.environment import NPU_DEVICES

ROOT = Path(__file__).parents[2]


def describe_machine() -> dict[str, str]:
    """Return host, processor, load, versions and commit, by name."""
    cores = len(os.sched_getaffinity(0))
    npus = len(list(NPU_DEVICES.glob("davinci[0-9]*")))
    return {
        "host": platform.node(),
        "processor": _processor(),
        "cores": str(cores),
        "NPUs": str(npus),
        "memory": f"{psutil.virtual_memory().total / 1e9:.1f} GB",
        "load before": ", ".join(f"{load:.1f}" for load in os.getloadavg()),
        "threads a rank": os.environ.get("OMP_NUM_THREADS", "not set"),
        "system": platform.platform(),
        "Python": sys.version.split()[0],
        "MindSpore": version("mindspore"),
        "NumPy": version("numpy"),
        "commit": commit(),
    }


def commit() -> str:
    """Return the commit of these sources, marked where files differ from it."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return f"{head} with changes" if _git("status", "--porcelain", "-uno") else head
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )
