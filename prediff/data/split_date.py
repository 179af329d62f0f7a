"""Where the test set begins when nobody says it: the widest gap in time."""

from collections.abc import Sequence
from datetime import datetime

from hpc.errors import UserError

SMALLEST_SHARE, LARGEST_SHARE = 0.1, 0.5


def widest_gap(times: Sequence[datetime]) -> datetime:
    """Return the time before the widest gap that leaves 10 to 50 % of the events for the test.

    Weather of neighbouring days is alike, so a boundary in the widest gap keeps the test set
    independent of what was trained on.

    Args:
        times: of all usable events, in any order.

    Raises:
        UserError: all events are of one time, or no boundary leaves such a share.
    """
    ordered = sorted(times)
    count = len(ordered)
    candidates = [
        (ordered[cut] - ordered[cut - 1], ordered[cut - 1])
        for cut in range(1, count)
        if SMALLEST_SHARE <= (count - cut) / count <= LARGEST_SHARE
        and ordered[cut] > ordered[cut - 1]
    ]
    if not candidates:
        raise UserError(
            f"data.test_from auto: {count} usable events leave no later "
            f"{SMALLEST_SHARE:.0%} to {LARGEST_SHARE:.0%} for the test; set data.test_from"
        )
    return max(candidates)[1]
