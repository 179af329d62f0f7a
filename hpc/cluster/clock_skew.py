"""Whether the hosts of a job agree on the time of day.

What ranks decide together does not depend on it: one of them keeps the time limit
(`hpc.cluster.stop`), and heartbeats promise seconds, not times (`hpc.cluster.heartbeat`). But times
in logs and files do, and so does which checkpoint, stop file or log is the newer one.
"""

import time
from collections.abc import Callable, Sequence

from hpc.cluster.runtime import Runtime

LARGEST_DIFFERENCE = 5.0
"""Seconds; hosts that are synchronised differ by milliseconds."""
MOST_NAMED = 4


def clock_warning(
    runtime: Runtime,
    *,
    clock: Callable[[], float] = time.time,
    largest: float = LARGEST_DIFFERENCE,
) -> str | None:
    """Return a line that names the ranks whose clocks differ from rank 0's; all ranks call it.

    Every rank reads its clock after rank 0's first reading and before its last, so that a rank that
    comes late is not taken for one whose clock differs.

    Args:
        runtime: the ranks.
        clock: seconds since 1970.
        largest: difference in seconds that is still accepted.

    Returns:
        the line on rank 0 if there is one to warn of; else None.
    """
    before = clock()
    runtime.barrier()
    readings = runtime.all_gather_object((runtime.place.host, clock()))
    after = clock()
    if not runtime.is_first:
        return None
    return _warning(readings, before=before, after=after, largest=largest)


def _warning(
    readings: Sequence[tuple[str, float]], *, before: float, after: float, largest: float
) -> str | None:
    apart = [
        (rank, host, max(0.0, reading - after) - max(0.0, before - reading))
        for rank, (host, reading) in enumerate(readings)
    ]
    named = [
        f"rank {rank} on {host} is {abs(seconds):.0f} s {'ahead' if seconds > 0 else 'behind'}"
        for rank, host, seconds in apart
        if abs(seconds) > largest
    ]
    if not named:
        return None
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    return (
        f"clocks differ: compared with rank 0 on {readings[0][0]}, {', '.join(named[:MOST_NAMED])}"
        f"{more}: times in logs and files mislead until the hosts are synchronised"
    )
