"""Where the compiled graphs of all runs are kept between starts."""

from pathlib import Path

import hpc
import prediff
from hpc.compile_cache import CompileCache
from hpc.runtime import Runtime
from prediff.stages.run_folder import RUNS

GRAPHS = ".graphs"
"""Below ``runs/``; no run can be called so, and it can be deleted at any time between runs."""


def graph_cache(runtime: Runtime) -> CompileCache:
    """Return the cache of compiled graphs, shared by the runs and stages of this folder."""
    sources = [Path(package.__file__ or "").parent for package in (hpc, prediff)]
    return CompileCache(RUNS / GRAPHS, runtime=runtime, packages=sources)
