"""Which cores of its host a rank works on.

MindSpore's threads spin while they wait. Ranks that may run anywhere take each other's cores away:
two of them on two cores took 0.74 s per step, pinned to a core each 0.59 s (docs/benchmarks). So
ranks share the cores of their host in blocks, as long as there is a core for each. A user who sets
threads or places has decided, and nothing is pinned.
"""

import os
from collections.abc import Mapping, Sequence

PLACES = ("OMP_PLACES", "OMP_PROC_BIND", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")
"""By these users pin threads themselves."""
USER_THREADS = "HPC_USER_THREADS"
"""What the user had set as OMP_NUM_THREADS when the job was started; not there if nothing."""

_pinned = False


def share_of_cores(cores: Sequence[int], *, local_rank: int, local_size: int) -> list[int]:
    """Return one rank's block of a host's cores; all of them where there are too few for all.

    The blocks of all ranks are disjoint, cover all cores, and differ in size by one at the most.
    """
    if local_size > len(cores) or not 0 <= local_rank < local_size:
        return list(cores)
    ordered = sorted(cores)
    start = len(ordered) * local_rank // local_size
    end = len(ordered) * (local_rank + 1) // local_size
    return ordered[start:end]


def threads_per_rank(cores: int, ranks: int) -> int:
    """Return how many OpenMP threads a rank of a host gets."""
    return max(1, cores // max(1, ranks))


def pin_rank(*, local_rank: int, local_size: int, environ: Mapping[str, str] | None = None) -> None:
    """Keep this process to its share of the cores that it may use, unless the user decided."""
    global _pinned
    environ = os.environ if environ is None else environ
    cores = sorted(os.sched_getaffinity(0))
    share = share_of_cores(cores, local_rank=local_rank, local_size=local_size)
    if len(share) == len(cores) or user_decides(environ, share=len(share)):
        return
    os.sched_setaffinity(0, share)
    _pinned = True


def user_decides(environ: Mapping[str, str], *, share: int) -> bool:
    """Return whether the user has placed threads, or asked for more than fit on a rank's share."""
    asked = environ.get(USER_THREADS, "")
    return any(name in environ for name in PLACES) or (asked.isdigit() and int(asked) > share)


def is_pinned() -> bool:
    """Return whether this rank keeps to its own cores, which no other rank of the host uses."""
    return _pinned


def describe(environ: Mapping[str, str] | None = None) -> str:
    """Return a line on this process's cores and threads, for its log."""
    environ = os.environ if environ is None else environ
    cores = sorted(os.sched_getaffinity(0))
    threads = environ.get("OMP_NUM_THREADS", "1 (MindSpore's choice)")
    where = f"core {cores[0]}" if len(cores) == 1 else f"cores {_ranges(cores)}"
    how = "its own" if _pinned else "shared with the other ranks"
    return f"{where} ({how}), OMP_NUM_THREADS {threads}"


def _ranges(cores: Sequence[int]) -> str:
    parts: list[list[int]] = []
    for core in cores:
        if parts and core == parts[-1][-1] + 1:
            parts[-1].append(core)
        else:
            parts.append([core])
    return ",".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)
