"""The midpoint method on the straight path of flow matching."""

import numpy as np

from hpc.errors import UserError
from prediff.diffusion.samplers.plan import SamplingPlan
from prediff.diffusion.straight_path import StraightPath
from prediff.diffusion.time_steps import visited_time_steps


def midpoint(*, schedule: StraightPath, steps: int) -> SamplingPlan:
    """Return ``steps`` steps of second order, two network calls each.

    From s to s' by way of the middle m: x1 = x + (m - s) (x - D) / s, then
    x' = x + (s' - s) (x1 - D1) / m.

    Raises:
        UserError: more steps than half the schedule's, which leave no step in the middle.
    """
    if 2 * steps > schedule.num_steps:
        raise UserError(
            f"the midpoint solver can make at most {schedule.num_steps // 2} steps, not {steps}"
        )
    visited = visited_time_steps(num_steps=schedule.num_steps, steps=2 * steps)
    s = schedule.noise_level[visited]
    start, middle = s[::2], s[1::2]
    end = np.append(start[1:], 0.0)
    noisy, clean, previous = np.zeros((3, 2 * steps))
    noisy[::2] = middle / start
    clean[::2] = 1 - middle / start
    # With x = (s/m) x1 - (s/m - 1) D put in:
    noisy[1::2] = end / middle
    clean[1::2] = (start - end) / middle
    previous[1::2] = 1 - start / middle
    return SamplingPlan(steps=visited, noisy=noisy, clean=clean, previous=previous)
