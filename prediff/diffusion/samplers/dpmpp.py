"""DPM-Solver++ of second order, multistep: Lu et al. 2022 (DPM-Solver++), algorithm 2."""

import numpy as np

from prediff.diffusion.noise_schedule import NoiseSchedule
from prediff.diffusion.samplers.plan import SamplingPlan
from prediff.diffusion.time_steps import visited_time_steps


def dpmpp(*, schedule: NoiseSchedule, steps: int, spacing: str = "quadratic") -> SamplingPlan:
    """Return DPM-Solver++(2M) on the probability-flow ODE, one network call a step.

    With l = log(signal / noise), h = l' - l and r = h_before / h,
    x' = (noise'/noise) x + signal' (1 - e^-h) [(1 + 1/2r) D - (1/2r) D_before].
    The first step and the last one, to clean data, are of first order.
    """
    return _multistep(schedule=schedule, steps=steps, spacing=spacing, stochastic=False)


def dpmpp_sde(*, schedule: NoiseSchedule, steps: int, spacing: str = "quadratic") -> SamplingPlan:
    """Return SDE-DPM-Solver++(2M) on the reverse diffusion SDE, one network call a step.

    x' = (noise'/noise) e^-h x + signal' (1 - e^-2h) [(1 + 1/2r) D - (1/2r) D_before]
    + noise' sqrt(1 - e^-2h) unit_normal. Its first-order step is DDIM with eta 1.
    """
    return _multistep(schedule=schedule, steps=steps, spacing=spacing, stochastic=True)


def _multistep(
    *, schedule: NoiseSchedule, steps: int, spacing: str, stochastic: bool
) -> SamplingPlan:
    log_snr = np.log(schedule.signal / schedule.noise_level)
    visited = visited_time_steps(num_steps=schedule.num_steps, steps=steps, spacing=spacing)
    signal = schedule.signal[visited]
    noise = schedule.noise_level[visited]
    of_noisy, of_clean, of_previous, of_noise = np.zeros((4, steps))
    jump_before = None
    for i in range(steps - 1):
        jump = log_snr[visited[i + 1]] - log_snr[visited[i]]
        decay = np.exp(-jump)
        shrink = decay if stochastic else 1.0
        gain = signal[i + 1] * (1 - decay * shrink)
        extrapolation = 0.0 if jump_before is None else jump / (2 * jump_before)
        of_noisy[i] = noise[i + 1] / noise[i] * shrink
        of_clean[i] = gain * (1 + extrapolation)
        of_previous[i] = -gain * extrapolation
        of_noise[i] = noise[i + 1] * np.sqrt(1 - decay**2) if stochastic else 0.0
        jump_before = jump
    of_clean[-1] = 1
    return SamplingPlan(
        steps=visited, noisy=of_noisy, clean=of_clean, previous=of_previous, noise=of_noise
    )
