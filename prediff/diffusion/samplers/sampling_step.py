"""The compiled heart of every sampler: one network call and one linear update.

B batch, T time, H, W space, C channel; K network calls.
"""

import mindspore as ms
from mindspore import nn, ops

from prediff.diffusion.guidance import GuidanceGradient

COEFFICIENTS = (
    "clean_from_noisy",
    "clean_from_prediction",
    "noisy",
    "clean",
    "previous",
    "noise",
    "guidance",
    "guidance_input",
)
"""The numbers of a network call, by name."""
(
    CLEAN_FROM_NOISY,
    CLEAN_FROM_PREDICTION,
    NOISY,
    CLEAN,
    PREVIOUS,
    NOISE,
    GUIDANCE,
    GUIDANCE_INPUT,
) = range(len(COEFFICIENTS))


class SamplingStep(nn.Cell):
    """x, D_before -> x', D: denoise, guide, update.

    Everything that changes from step to step arrives as a tensor, so the graph is compiled once
    for a batch shape, whatever the solver and the number of steps.

    Args:
        denoiser: Cell ``(noisy, step, condition) -> prediction``.
        guidance: the gradient Cell, or None to sample without guidance.
    """

    def __init__(self, denoiser: nn.Cell, guidance: GuidanceGradient | None):
        super().__init__()
        self.denoiser = denoiser
        self.guidance = guidance

    def construct(self, noisy, previous, steps, coefficients, noise, condition, target):
        """Return the next noisy sample and the estimate of the clean one, ``[B, T, H, W, C]``.

        Args:
            noisy, previous: x and the D of the call before, ``[B, T, H, W, C]``.
            steps: int32 ``[2]``: the denoiser's time step and the alignment network's.
            coefficients: float32 ``[8]``, in the order of :data:`COEFFICIENTS`.
            noise: unit normals, ``[B, T, H, W, C]``; not read where their coefficient is 0.
            condition: ``[B, T_in, H, W, C]``.
            target: requested mean intensity ``[B]``; not read without guidance.
        """
        batch = (noisy.shape[0],)
        step = ops.broadcast_to(steps[0:1], batch)
        prediction = self.denoiser(noisy, step, condition).astype(ms.float32)
        clean = (
            coefficients[CLEAN_FROM_NOISY] * noisy
            + coefficients[CLEAN_FROM_PREDICTION] * prediction
        )
        if self.guidance is not None:
            guidance_step = ops.broadcast_to(steps[1:2], batch)
            gradient = self.guidance(coefficients[GUIDANCE_INPUT] * noisy, guidance_step, target)
            clean = clean - coefficients[GUIDANCE] * gradient
        updated = (
            coefficients[NOISY] * noisy
            + coefficients[CLEAN] * clean
            + coefficients[PREVIOUS] * previous
            + coefficients[NOISE] * noise
        )
        return updated, clean
