"""DDIM: Song et al. 2021."""

import numpy as np

from hpc.errors import UserError
from prediff.diffusion.noise_schedule import NoiseSchedule
from prediff.diffusion.samplers.plan import SamplingPlan
from prediff.diffusion.time_steps import visited_time_steps


def ddim(
    *, schedule: NoiseSchedule, steps: int, spacing: str = "uniform", eta: float = 0.0
) -> SamplingPlan:
    """Return the implicit chain; first order on the probability-flow ODE at ``eta`` 0.

    With abar' the next abar and s = eta sqrt((1-abar')/(1-abar)) sqrt(1-abar/abar'),
    x' = sqrt(abar') x_0 + sqrt(1 - abar' - s^2) eps + s noise (eq. 12 and 16). ``eta`` 1 is
    respaced DDPM.

    Raises:
        UserError: ``eta`` is not in [0, 1].
    """
    if not 0 <= eta <= 1:
        raise UserError(f"DDIM's eta must be in [0, 1], not {eta}")
    visited = visited_time_steps(num_steps=schedule.num_steps, steps=steps, spacing=spacing)
    kept = schedule.alphas_cumprod[visited]
    following = np.append(kept[1:], 1.0)
    variance = eta**2 * (1 - following) / (1 - kept) * (1 - kept / following)
    of_eps = np.sqrt(np.maximum(1 - following - variance, 0))
    of_noisy = of_eps / np.sqrt(1 - kept)
    of_clean = np.sqrt(following) - of_noisy * np.sqrt(kept)
    return SamplingPlan(steps=visited, noisy=of_noisy, clean=of_clean, noise=np.sqrt(variance))
