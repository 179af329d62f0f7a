"""Where the compiled graphs of all runs are kept between starts."""

from pathlib import Path

import hpc
import prediff
from hpc.cluster.runtime import Runtime
from hpc.train.compile_cache import CompileCache
from prediff.run_folder import RUNS

GRAPHS = ".graphs"
"""Below ``runs/``; no run can be called so, and it can be deleted at any time between runs."""


def graph_cache(runtime: Runtime, *, folder: Path = RUNS / GRAPHS) -> CompileCache:
    """Return the cache of compiled graphs, by default that of all runs and stages here."""
    sources = [Path(package.__file__ or "").parent for package in (hpc, prediff)]
    return CompileCache(folder, runtime=runtime, packages=sources)
