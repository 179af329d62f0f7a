"""Heun's method on the probability-flow ODE."""

import numpy as np

from prediff.diffusion.noise_schedule import NoiseSchedule
from prediff.diffusion.samplers.plan import SamplingPlan
from prediff.diffusion.time_steps import visited_time_steps


def heun(*, schedule: NoiseSchedule, steps: int, spacing: str = "quadratic") -> SamplingPlan:
    """Return ``steps`` steps of second order, two network calls each but the last, which has one.

    With the angle f of the signal cos f and the noise sin f the ODE is dx/df = v, where
    v = (cos f x - D) / sin f. A step takes the slope at its start to the new angle f', then the
    mean of both ends' slopes from the start: x1 = x + (f' - f) v, x' = x + (f' - f) (v + v1) / 2.
    The last call jumps to D.

    The angle bounds both x and its slope. In Karras's variable, noise / signal, whose values run
    into the tens of thousands on the cosine schedule, the same method fails below some 50 steps.

    Source: Karras et al. 2022, algorithm 1 (Heun); Salimans and Ho 2022, appendix D (the angle).
    """
    visited = visited_time_steps(num_steps=schedule.num_steps, steps=steps, spacing=spacing)
    signal, noise = schedule.signal[visited], schedule.noise_level[visited]
    angle = np.arctan2(noise, signal)
    calls, noisy, clean, previous = np.zeros((4, 2 * steps - 1))
    for i in range(steps - 1):
        turn = angle[i + 1] - angle[i]
        of_noisy = 1 + turn * signal[i] / noise[i]
        of_clean = -turn / noise[i]
        first, second = 2 * i, 2 * i + 1
        calls[first], noisy[first], clean[first], previous[first] = (
            visited[i],
            of_noisy,
            of_clean,
            0,
        )
        # x' = (x + x1 + turn * v1) / 2 with x = (x1 - of_clean * D) / of_noisy put in:
        calls[second] = visited[i + 1]
        noisy[second] = (1 / of_noisy + 1 + turn * signal[i + 1] / noise[i + 1]) / 2
        clean[second] = -turn / noise[i + 1] / 2
        previous[second] = -of_clean / of_noisy / 2
    calls[-1], clean[-1] = visited[-1], 1
    return SamplingPlan(steps=calls.astype(np.int32), noisy=noisy, clean=clean, previous=previous)
