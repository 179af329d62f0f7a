"""Ancestral sampling, as published: Ho et al. 2020, algorithm 2."""

import numpy as np

from prediff.diffusion.noise_schedule import NoiseSchedule
from prediff.diffusion.samplers.plan import SamplingPlan
from prediff.diffusion.time_steps import check_step_count


def ddpm(*, schedule: NoiseSchedule, steps: int, spacing: str = "uniform") -> SamplingPlan:
    """Return the chain over ``steps`` of the time steps; with all of them, the published one.

    Fewer steps are respaced: the betas are those of the longer jumps (Nichol and Dhariwal 2021,
    section 4).
    """
    respaced, visited = schedule.respaced(steps, spacing=spacing)
    return _ancestral(respaced, visited)


def ddpm_truncated(*, schedule: NoiseSchedule, steps: int) -> SamplingPlan:
    """Return the last ``steps`` steps of the full chain: t = steps-1 .. 0, starting from noise.

    This is what ``timesteps=k`` means in the reference code. It starts at a noise level where
    the network expects to see most of the picture, so it is for comparison only.
    """
    check_step_count(num_steps=schedule.num_steps, steps=steps)
    return _ancestral(schedule, np.arange(steps))


def _ancestral(schedule: NoiseSchedule, visited: np.ndarray) -> SamplingPlan:
    """The posterior steps of the first ``len(visited)`` entries of a schedule."""
    rows = np.arange(len(visited))
    deviation = np.exp(0.5 * schedule.posterior_log_variance_clipped[rows])
    deviation[0] = 0
    return SamplingPlan(
        steps=visited[::-1].astype(np.int32),
        noisy=schedule.posterior_mean_coef2[rows][::-1],
        clean=schedule.posterior_mean_coef1[rows][::-1],
        noise=deviation[::-1],
    )
