"""Where the compiled graphs of all runs are kept between starts."""

import os
from pathlib import Path

import hpc
import prediff
from hpc.cluster.runtime import Runtime
from hpc.train.compile_cache import CompileCache
from prediff.run_folder import RUNS

GRAPHS = ".graphs"
"""Below ``runs/``; no run can be called so, and it can be deleted at any time between runs."""

GRAPHS_VARIABLE = "PREDIFF_GRAPHS"
"""A site's setting: another folder for all graphs, seen by all ranks, such as a faster disk."""


def graph_cache(runtime: Runtime, *, folder: Path | None = None) -> CompileCache:
    """Return the cache of compiled graphs, by default that of all runs and tasks here."""
    sources = [Path(package.__file__ or "").parent for package in (hpc, prediff)]
    folder = folder or Path(os.environ.get(GRAPHS_VARIABLE) or RUNS / GRAPHS)
    return CompileCache(folder, runtime=runtime, packages=sources)
