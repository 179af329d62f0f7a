"""Euler's method on the straight path of flow matching."""

import numpy as np

from prediff.diffusion.samplers.plan import SamplingPlan
from prediff.diffusion.straight_path import StraightPath
from prediff.diffusion.time_steps import visited_time_steps


def euler(*, schedule: StraightPath, steps: int) -> SamplingPlan:
    """Return ``steps`` equal steps of dx/ds = (x - D) / s from noise, s = 1, to data, s = 0."""
    visited = visited_time_steps(num_steps=schedule.num_steps, steps=steps)
    s = schedule.noise_level[visited]
    kept = np.append(s[1:], 0.0) / s
    return SamplingPlan(steps=visited, noisy=kept, clean=1 - kept)
