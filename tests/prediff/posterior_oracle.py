"""The forward process, the loss and one reverse step of DDPM, as functions of arrays.

Every function takes and returns MindSpore tensors; x is ``[B, ...]``, ``step`` is int ``[B]``.
Source: Ho et al. 2020, eq. 4 (q_sample), 6-7 (posterior) and algorithm 2 (one step).
"""

import mindspore as ms
import numpy as np
from mindspore import ops

from prediff.diffusion.diffusion_loss import bound_weights, weighted_losses
from prediff.diffusion.noise_schedule import NoiseSchedule
from prediff.diffusion.parameterization import ForwardProcess, predict_clean, target_weights
from prediff.diffusion.tables import at_step, float_tensor


def q_sample(
    *, schedule: ForwardProcess, clean: ms.Tensor, step: ms.Tensor, noise: ms.Tensor
) -> ms.Tensor:
    """Return x_t, a sample of q(x_t | x_0) (or the point of the straight path) at ``step``."""
    return (
        at_step(float_tensor(schedule.signal), step, clean) * clean
        + at_step(float_tensor(schedule.noise_level), step, clean) * noise
    )


def posterior_mean(
    *,
    schedule: NoiseSchedule,
    noisy: ms.Tensor,
    step: ms.Tensor,
    prediction: ms.Tensor,
    parameterization: str = "eps",
) -> ms.Tensor:
    """Return the mean of p(x_{t-1} | x_t), without guidance and without clipping x_0."""
    clean = predict_clean(
        path=schedule,
        noisy=noisy,
        step=step,
        prediction=prediction,
        parameterization=parameterization,
    )
    return (
        at_step(schedule.tensor("posterior_mean_coef1"), step, noisy) * clean
        + at_step(schedule.tensor("posterior_mean_coef2"), step, noisy) * noisy
    )


def posterior_step(
    *,
    schedule: NoiseSchedule,
    noisy: ms.Tensor,
    step: ms.Tensor,
    prediction: ms.Tensor,
    noise: ms.Tensor,
    guidance_gradient: ms.Tensor | None = None,
    parameterization: str = "eps",
) -> ms.Tensor:
    """Return x_{t-1}: the posterior mean, shifted by guidance, plus noise where t > 0.

    The shift is -exp(logv_t / 2) g (PreDiff, eq. 9; MODEL 4.5).

    Args:
        noise: unit normals, the shape of ``noisy``.
        guidance_gradient: g at (x_t, t) as :func:`~prediff.diffusion.guidance.guidance_gradient`
            returns it, or None for an unguided step.
    """
    mean = posterior_mean(
        schedule=schedule,
        noisy=noisy,
        step=step,
        prediction=prediction,
        parameterization=parameterization,
    )
    log_variance = at_step(schedule.tensor("posterior_log_variance_clipped"), step, noisy)
    deviation = ops.exp(0.5 * log_variance)
    if guidance_gradient is not None:
        mean = mean - deviation * guidance_gradient
    still_noisy = (step > 0).astype(noisy.dtype).reshape(deviation.shape)
    return mean + still_noisy * deviation * noise


def training_loss(
    *,
    schedule: ForwardProcess,
    prediction: ms.Tensor,
    clean: ms.Tensor,
    noise: ms.Tensor,
    step: ms.Tensor,
    log_variance: ms.Tensor | None = None,
    parameterization: str = "eps",
    vlb_weight: float = 0.0,
) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
    """Return (loss, mean squared error, variational term) of a prediction at x_t.

    The same numbers as :class:`DiffusionLoss`, from a prediction made elsewhere.

    Args:
        prediction: the network's output at ``q_sample(clean, step, noise)``, ``[B, ...]``.
        log_variance: the learned s, ``[n]``; zeros if None.
    """
    of_clean, of_noise = target_weights(path=schedule, parameterization=parameterization)
    target = (
        at_step(float_tensor(of_clean), step, clean) * clean
        + at_step(float_tensor(of_noise), step, clean) * noise
    )
    if log_variance is None:
        log_variance = float_tensor(np.zeros(schedule.num_steps))
    bound = bound_weights(schedule, parameterization)
    return weighted_losses(prediction, target, step, log_variance, bound, vlb_weight)
