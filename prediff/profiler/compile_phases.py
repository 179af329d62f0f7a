"""What a compilation takes its time for, as MindSpore's runtime prints it.

With `ENVIRONMENT` set before MindSpore is imported, its backend prints the seconds of its phases
to standard output as long as the process lives; 2.8 does not divide the frontend.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ENVIRONMENT = {"MS_DEV_RUNTIME_CONF": "compile_statistics:true"}
_LINE = re.compile(r"\[PROF\](\w+) costs ([\d.e+-]+) msec")
_BACKEND = "compile_backend_graph"
_WHOLE = "compile_graph"
_PHASES = ("OptimizeGraph", "CreateKernel", "CreateDeviceAddress", "GraphScheduler")


@contextmanager
def output_to(path: Path) -> Iterator[None]:
    """Send standard output, C++ libraries included, to a file."""
    sys.stdout.flush()
    saved = os.dup(1)
    with path.open("ab") as file:
        os.dup2(file.fileno(), 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)


def read_phases(text: str) -> dict[str, float]:
    """Return seconds by phase, summed over the graphs; empty if nothing was printed."""
    sums: dict[str, float] = {}
    for name, milliseconds in _LINE.findall(text):
        sums[name] = sums.get(name, 0.0) + float(milliseconds) / 1e3
    if _WHOLE not in sums:
        return {}
    clean, backend = sums.get("CleanCompileRes", 0.0), sums.get(_BACKEND, 0.0)
    known = {name: sums[name] for name in _PHASES if name in sums}
    return {
        "frontend: parsing, types, gradients, optimisation": sums[_WHOLE] - backend - clean,
        **{f"backend: {name}": seconds for name, seconds in known.items()},
        "backend: other": backend - sum(known.values()),
        "cleaning up": clean,
    }
