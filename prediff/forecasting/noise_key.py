"""Which noise a forecast draws: one rule for test windows and for frames that are handed in."""

import numpy as np


def noise_key(init_time: np.datetime64 | None) -> int:
    """Return the number that keys the members' noise: another time, another noise.

    Minutes since 1970 to the nearest, of the last context frame; 0 where it has no time.
    """
    if init_time is None:
        return 0
    nearest = init_time.astype("datetime64[s]") + np.timedelta64(30, "s")
    return abs(int(nearest.astype("datetime64[m]").astype(np.int64)))
