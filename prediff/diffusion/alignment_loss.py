"""The training loss of the knowledge-alignment network.

B batch, T time, H, W space, C channel.
"""

import mindspore as ms
from mindspore import nn, ops

from prediff.diffusion.noise_schedule import NoiseSchedule
from prediff.diffusion.tables import at_step, float_tensor


class AlignmentLoss(nn.Cell):
    """Mean squared error between U(z_t, t) and the mean intensity of each clean future frame.

    Args:
        alignment: Cell ``(noisy, step, dropout_key) -> [B, T, 1]``.
        schedule: the schedule whose z_t it learns to read; guidance must use the same.

    Source: PreDiff, section 3.2; MODEL section 5.
    """

    SCALARS = ("absolute_error",)
    """Names of what ``construct`` returns after the loss."""

    def __init__(self, alignment: nn.Cell, *, schedule: NoiseSchedule):
        super().__init__()
        self.alignment = alignment
        self.signal = float_tensor(schedule.signal)
        self.noise_level = float_tensor(schedule.noise_level)

    def construct(self, clean, noise, step, intensity, dropout_key=None):
        """Return (mean squared error, mean absolute error), two scalars.

        Args:
            clean: latents of the future frames, ``[B, T, H, W, C]``.
            noise: unit normals, the shape of ``clean``.
            step: time step of each sample, int32 ``[B]``.
            intensity: mean pixel of each future frame, in [0, 1], ``[B, T, 1]``, as
                :func:`~prediff.diffusion.target_intensity.frame_intensity` computes it.
            dropout_key: int32 ``[B]``, or None for no dropout.
        """
        noisy = (
            at_step(self.signal, step, clean) * clean
            + at_step(self.noise_level, step, clean) * noise
        )
        error = self.alignment(noisy, step, dropout_key).astype(ms.float32) - intensity
        return ops.mean(ops.square(error)), ops.mean(ops.abs(error))
