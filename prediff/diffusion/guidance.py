"""Knowledge alignment: pulling samples towards a requested mean intensity.

The alignment network reads the mean intensity P_n of a forecast from its noisy latent z_t. The
energy F grows with the distance of P from the request c, and a DDPM step is shifted against its
gradient g = scale * dF/dz_t:

    m' = m - sigma_t g,   sigma_t = exp(logv_t / 2)                        (MODEL 4.5)

Any other solver needs the same guidance as a change of what it is made of, the estimate of x_0.
The DDPM mean is m = c1 x_0 + c2 z_t, so the shift above is exactly that of

    x_0' = x_0 - w_t g,   w_t = sigma_t / c1_t.

In terms of the score this is eps' = eps + sqrt(1 - abar_t) lambda_t g with lambda_t =
w_t sqrt(abar_t) / (1 - abar_t): the score of the density tilted by exp(-lambda_t * scale * F).
The tilt belongs to the noise level, not to the length of a solver's step, so w_t always comes
from the full schedule of the alignment network. With 1000 DDPM steps the published update
results; every other solver follows the same tilted density.

A denoiser on another path than the alignment network's (flow matching, another schedule) is
guided at the step of the alignment network with the same signal-to-noise ratio, after bringing
x_t to that schedule's scale. x_0' does not depend on the scale of x_t.

B batch, T time, H, W space, C channel; n time steps.
"""

from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from hpc.errors import UserError
from prediff.diffusion.noise_schedule import NoiseSchedule
from prediff.diffusion.parameterization import ForwardProcess

COUPLINGS = ("per_sample", "reference")
REFERENCE_SCALE = 50.0


@dataclass(frozen=True)
class AlignmentGuidance:
    """What a sampler needs to know to guide.

    Attributes:
        alignment: Cell ``(noisy, step) -> [B, T, 1]`` in evaluation mode.
        schedule: the schedule that it was trained on.
        scale: the guidance scale; 50 is the published one.
        coupling: see :class:`GuidanceGradient`.
    """

    alignment: nn.Cell
    schedule: NoiseSchedule
    scale: float = REFERENCE_SCALE
    coupling: str = "per_sample"


class GuidanceGradient(nn.Cell):
    """The guidance gradient g = scale * dF/dz_t as a Cell.

    Args:
        alignment: Cell ``(noisy, step) -> [B, T, 1]`` in evaluation mode.
        scale: the guidance scale.
        coupling: ``per_sample``: F = sum_n |P_n - c_n|, where no sample feels another.
            ``reference``: F = ||P - c||_2 over the batch, as published, where a sample's gradient
            depends on its neighbours. For a batch of one they are equal.

    Raises:
        UserError: the coupling is unknown.

    Source: PreDiff, section 3.2 and algorithm 2; MODEL 4.6.
    """

    def __init__(
        self,
        alignment: nn.Cell,
        *,
        scale: float = REFERENCE_SCALE,
        coupling: str = "per_sample",
    ):
        super().__init__()
        if coupling not in COUPLINGS:
            raise UserError(
                f"guidance coupling '{coupling}' is unknown: choose one of {', '.join(COUPLINGS)}"
            )
        self.pull = _Pull(alignment, coupled=coupling == "reference")
        self.gradient = ops.GradOperation()
        self.scale = scale

    def construct(self, noisy, step, target):
        """Return g, ``[B, T, H, W, C]``.

        Args:
            noisy: z_t before the step, ``[B, T, H, W, C]``.
            step: int32 ``[B]``.
            target: requested mean intensity c of each sample, in [0, 1], ``[B]`` or ``[B, 1]``.
        """
        return self.scale * self.gradient(self.pull)(noisy, step, target.reshape((-1,)))


class _Pull(nn.Cell):
    """A scalar whose gradient is that of F, and is zero, not NaN, where P equals c."""

    def __init__(self, alignment: nn.Cell, *, coupled: bool):
        super().__init__()
        self.alignment = alignment
        self.coupled = coupled

    def construct(self, noisy, step, target):
        obtained = ops.mean(self.alignment(noisy, step).astype(ms.float32), (1, 2))
        distance = ops.stop_gradient(obtained - target)
        if self.coupled:
            direction = distance / (ops.sqrt(ops.sum(ops.square(distance))) + 1e-20)
        else:
            direction = ops.sign(distance)
        return ops.sum(direction * obtained)


def guidance_gradient(
    *,
    alignment: nn.Cell,
    noisy: ms.Tensor,
    step: ms.Tensor,
    target: ms.Tensor,
    scale: float = REFERENCE_SCALE,
    coupling: str = "per_sample",
) -> ms.Tensor:
    """Return g of one batch, ``[B, T, H, W, C]``; see :class:`GuidanceGradient`.

    Builds its Cell anew, so a loop should hold a :class:`GuidanceGradient` instead.
    """
    return GuidanceGradient(alignment, scale=scale, coupling=coupling)(noisy, step, target)


def clean_shift_weights(*, schedule: NoiseSchedule) -> np.ndarray:
    """Return w_t = sigma_t / c1_t, what g weighs in the estimate of x_0. Float64 ``[n]``."""
    deviation = np.exp(0.5 * schedule.posterior_log_variance_clipped)
    return deviation / schedule.posterior_mean_coef1


def matching_steps(*, path: ForwardProcess, schedule: NoiseSchedule) -> np.ndarray:
    """Return, for every step of ``path``, the step of ``schedule`` nearest in noise. Int32 ``[n]``.

    Nearest in atan(noise / signal), which is finite at pure noise. A schedule matches itself.
    """
    wanted = np.arctan2(path.noise_level, path.signal)
    known = np.arctan2(schedule.noise_level, schedule.signal)
    after = np.clip(np.searchsorted(known, wanted), 1, len(known) - 1)
    nearer_before = wanted - known[after - 1] < known[after] - wanted
    return (after - nearer_before).astype(np.int32)
